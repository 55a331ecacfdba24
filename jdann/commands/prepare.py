"""`jdann prepare`."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from jdann.cluster.ray_cluster import parse_address
from jdann.cluster.shards import check_count, numbers, parse_shard
from jdann.commands.reading import data_dir, expanded, overrides
from jdann.configuration import load_config
from jdann.corpora import demo
from jdann.corpora.prepared import prepare_esd
from jdann.errors import InputError
from jdann.experiments.preparation import (
    Prepared,
    Way,
    by_merging,
    by_shard,
    on_ray,
    prepare,
    whole,
)
from jdann.features.feature_set import FeatureSet

_MOST_NAMED = 20  # clips that were left out


def execute(arguments: Namespace) -> int:
    """Prepares ESD from its folder, synthesises the demo corpus, or computes features."""
    first, *more = arguments.corpus
    is_divided = arguments.shard or arguments.merge is not None or arguments.on
    if is_divided or first not in ("esd", "demo"):
        return _prepare_features(arguments)
    if overrides(arguments.overrides):
        raise InputError(f"jdann prepare {first}: --config.KEY=VALUE is for features of corpora")
    data_folder = data_dir(arguments)
    if first == "demo":
        if more:
            raise InputError(f"jdann prepare demo: takes no folder; leave out {more[0]}")
        sentences = 10 if arguments.sentences is None else arguments.sentences
        path = demo.ensure(data_folder, sentences=sentences, force=arguments.force)
        print(f"The demo corpus is in {path}")
        return 0
    if len(more) != 1:
        raise InputError(
            "jdann prepare esd: expected the folder of ESD, as in jdann prepare esd /data/ESD"
        )
    _prepare_esd(expanded(Path(more[0])), data_folder, arguments.force)
    return 0


def _prepare_esd(source: Path, data_folder: Path, force: bool) -> None:
    prepared = prepare_esd(source, data_folder, force=force)
    state = "was prepared before" if prepared.existed_before else "is prepared"
    print(
        f"ESD {state}: {prepared.utterances:,} utterances of {prepared.speakers} speakers, "
        f"{prepared.hours:.2f} h, in {prepared.path}"
    )
    for skipped in prepared.skipped:
        print(f"left out: {skipped.file}: {skipped.reason}")
    for note in prepared.notes:
        print(f"note: {note}")


def _prepare_features(arguments: Namespace) -> int:
    """Computes the features of corpora, or one shard of each."""
    if arguments.force or arguments.sentences is not None:
        raise InputError("jdann prepare: --force and --sentences are for esd and demo only")
    way = _way(arguments)
    config: Any = load_config(arguments.config, overrides(arguments.overrides))
    for prepared in prepare(config, arguments.corpus, data_dir(arguments), way):
        _report(prepared)
    return 0


def _way(arguments: Namespace) -> Way:
    if arguments.shard:
        return by_shard(parse_shard(arguments.shard))
    if arguments.merge is not None:
        check_count(arguments.merge, f"--merge {arguments.merge}")
        return by_merging(arguments.merge)
    return on_ray(parse_address(arguments.on)) if arguments.on else whole


def _report(prepared: Prepared) -> None:
    if prepared.features is None:
        print(
            f"{prepared.name}: this shard is finished; still missing: {numbers(prepared.missing)}"
        )
    else:
        _report_finished(prepared.name, prepared.features)


def _report_finished(name: str, features: FeatureSet) -> None:
    print(f"{name}: {len(features.utterances):,} utterances are ready in {features.path.parent}")
    for clip in features.skipped[:_MOST_NAMED]:
        print(f"left out: {clip.file}: {clip.reason}")
    rest = len(features.skipped) - _MOST_NAMED
    if rest > 0:
        print(f"left out: {rest:,} more, which skipped.json in this folder lists")
