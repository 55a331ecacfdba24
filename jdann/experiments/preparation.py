"""The features of corpora, computed before any training needs them: whole, or in shards."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jdann import corpora
from jdann.cluster.ray_pool import work_through
from jdann.cluster.shards import Shard, count_of_shards, numbers
from jdann.errors import InputError
from jdann.experiments.layers import with_encoder
from jdann.experiments.settings import features_folder, make_feature_settings, naming_of
from jdann.features.feature_set import FeatureSet
from jdann.features.pretrained_recipes import AUTO
from jdann.features.shards import (
    compute_part,
    compute_shard,
    find_merged,
    merge_shards,
    missing_shards,
    part_of,
    shards_folder,
)
from jdann.features.store import Extraction, compute, plan_extractions
from jdann.pretrained import PRETRAINED_FRAMES
from jdann.program_cache import keep_programs


class Prepared(NamedTuple):
    """What is there of the features of a corpus."""

    name: str  # of the corpus
    features: FeatureSet | None  # None: shards are missing
    missing: list[Shard]


# From a corpus, how its features are computed, and the folder of all features
Way = Callable[[Extraction, Path], Prepared]


def prepare(config: Any, specs: Sequence[str], data_dir: Path, way: Way) -> Iterator[Prepared]:
    """Computes the features that a training with this config will find.

    Args:
      config: from `jdann.configuration.load_config`. Its emotions, layouts, audio and features
        count.
      specs: corpora, each as `config.source` names it.
      data_dir: where prepared corpora and cached features are kept.
      way: `whole`, or what `by_shard`, `by_merging` or `on_ray` returns.

    Raises:
      InputError: a corpus cannot be used; nothing has been computed then.
    """
    settings = with_encoder(make_feature_settings(config), data_dir)
    values = settings.recipe_settings
    if settings.recipe_name == PRETRAINED_FRAMES and values["layers"] == AUTO:
        raise InputError(
            "features.layers is 'auto', and one corpus alone cannot tell which layer; give "
            "numbers, such as --config.features.layers=6"
        )
    listed = [
        corpora.load_all(spec, settings.emotions, data_dir, naming_of(config, "source"))
        for spec in specs
    ]
    for corpus in listed:
        extractions = plan_extractions(
            corpus,
            recipe_name=settings.recipe_name,
            settings=settings.recipe_settings,
            audio_settings=settings.audio,
        )
        for extraction in extractions:
            yield way(extraction, features_folder(data_dir))


def whole(extraction: Extraction, cache: Path) -> Prepared:
    """Computes all features in this process."""
    return Prepared(extraction.corpus.name, compute(extraction, cache), [])


def by_shard(shard: Shard) -> Way:
    """A way that computes one shard, and merges all if it is the last one."""

    def compute_one(extraction: Extraction, cache: Path) -> Prepared:
        features, missing = compute_shard(extraction, shard, cache), []
        while features is None and not missing:  # a second time if others have finished meanwhile
            missing = missing_shards(extraction, shard.count, cache)
            if not missing:
                features = compute_shard(extraction, shard, cache)
        return Prepared(extraction.corpus.name, features, missing)

    return compute_one


def by_merging(count: int) -> Way:
    """A way that merges so many shards, which have to be there."""

    def merge(extraction: Extraction, cache: Path) -> Prepared:
        return Prepared(extraction.corpus.name, merge_shards(extraction, count, cache), [])

    return merge


def on_ray(address: str | None) -> Way:
    """A way that computes all shards on a Ray cluster, and merges them.

    Shards that are there are not computed again, also if a job array has computed them.

    Args:
      address: as for `jdann.cluster.ray_pool.work_through`.
    """

    def compute_all(extraction: Extraction, cache: Path) -> Prepared:
        features = find_merged(extraction, cache)
        if features is None:
            _compute_on_ray(extraction, cache.absolute(), address)
            count = _shard_count(extraction, cache)
            features = merge_shards(extraction, count, cache)
        return Prepared(extraction.corpus.name, features, [])

    return compute_all


def _shard_count(extraction: Extraction, cache: Path) -> int:
    return count_of_shards(shards_folder(extraction, cache), len(extraction.corpus.utterances))


def _compute_on_ray(extraction: Extraction, cache: Path, address: str | None) -> None:
    """Computes the missing shards.

    Raises:
      InputError: some of them could not be computed.
    """
    folder, count = shards_folder(extraction, cache), _shard_count(extraction, cache)
    sent, name = _to_send(extraction), extraction.corpus.name

    def find_missing() -> list[tuple[Extraction, Path]]:
        missing = missing_shards(extraction, count, cache)
        return [(part_of(sent, shard), folder) for shard in missing]

    reason = work_through(address, _compute_part, find_missing, f"Features of {name}", "shards")
    if reason:
        missing = missing_shards(extraction, count, cache)
        raise InputError(
            f"{name}: {len(missing)} of {count} shards are missing: {numbers(missing)} ({reason}); "
            "the same command computes only these"
        )


def _to_send(extraction: Extraction) -> Extraction:
    """The extraction without the reader of a corpus whose clips are all files of their own."""
    corpus = extraction.corpus
    if all(utterance.path for utterance in corpus.utterances):
        return extraction._replace(corpus=corpus._replace(read=None))
    return extraction


def _compute_part(item: tuple[Extraction, Path]) -> None:
    keep_programs()
    compute_part(*item)
