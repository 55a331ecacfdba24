"""The features of corpora, computed before any training needs them: whole, or in shards."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jdann import corpora
from jdann.cluster.shards import Shard
from jdann.experiments.settings import features_folder, make_feature_settings, naming_of
from jdann.features.feature_set import FeatureSet
from jdann.features.shards import compute_shard, merge_shards, missing_shards
from jdann.features.store import Extraction, compute, plan_extraction


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
      way: `whole`, `by_shard`, `by_merging`, or `jdann.experiments.ray_preparation.on_ray`.

    Raises:
      InputError: a corpus cannot be used; nothing has been computed then.
    """
    settings = make_feature_settings(config)
    listed = [
        corpora.load_all(spec, settings.emotions, data_dir, naming_of(config, "source"))
        for spec in specs
    ]
    for corpus in listed:
        extraction = plan_extraction(
            corpus,
            recipe_name=settings.recipe_name,
            settings=settings.recipe_settings,
            audio_settings=settings.audio,
        )
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
