"""The features of a huge corpus, computed in shards by processes that do not know each other.

The shards stand beside the finished folder, each in a folder of its own. When all are there, they
are merged into the folder that `extract` would have written, with the same bytes.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from jdann import folders
from jdann.cluster.shards import Shard, all_shards, check_same_count, finished_shards, numbers
from jdann.errors import InputError
from jdann.features.feature_set import (
    DamagedError,
    FeatureSet,
    Part,
    read_features,
    read_part,
    write_features,
)
from jdann.features.store import Extraction, find_or_write, write_computed
from jdann.progress import track

log = logging.getLogger("jdann")


def shards_folder(extraction: Extraction, cache: Path) -> Path:
    """Where the shards of a corpus stand until they are merged."""
    return cache / f"{extraction.name}.shards"


def find_merged(extraction: Extraction, cache: Path) -> FeatureSet | None:
    """The features of the whole corpus; None if they are not finished, or damaged."""
    try:
        features = read_features(
            cache / extraction.name, extraction.corpus, extraction.bins, extraction.dtype
        )
    except DamagedError:
        return None
    if features is not None:  # a killed merge may have left them
        folders.remove(shards_folder(extraction, cache))
    return features


def part_of(extraction: Extraction, shard: Shard) -> Extraction:
    """What is computed for a shard."""
    corpus = extraction.corpus
    rows = shard.rows(len(corpus.utterances))
    part = corpus._replace(
        name=f"{corpus.name}, shard {shard}",
        utterances=corpus.utterances[rows.start : rows.stop],
        skipped=(),
    )
    return extraction._replace(corpus=part, name=shard.name)


def compute_shard(extraction: Extraction, shard: Shard, cache: Path) -> FeatureSet | None:
    """Computes the features of a shard if they are missing. The last shard merges all.

    While another process computes the same shard, this one waits.

    Args:
      extraction: of the whole corpus.
      shard: which part of it.
      cache: as for `jdann.features.store.extract`.

    Returns:
      The features of the corpus if they are finished; None: shards are missing.

    Raises:
      InputError: there are shards of another number.
    """
    features = find_merged(extraction, cache)
    if features is not None:
        return features
    folder = shards_folder(extraction, cache)
    check_same_count(finished_shards(folder), shard.count, folder)

    def is_merged() -> bool:
        return find_merged(extraction, cache) is not None

    try:
        compute_part(part_of(extraction, shard), folder, is_merged)
        # In this order, because a merge removes the shards when its result is in place.
        is_last = not missing_shards(extraction, shard.count, cache)
        features = find_merged(extraction, cache)
        if features is None and is_last:
            features = merge_shards(extraction, shard.count, cache)
        return features
    except FileNotFoundError:  # another process has merged the shards and removed them
        features = find_merged(extraction, cache)
        if features is None:
            raise
        return features


def compute_part(
    part: Extraction, folder: Path, is_merged: Callable[[], bool] = lambda: False
) -> None:
    """Computes a shard, which `part_of` describes, if it is missing.

    Raises:
      FileNotFoundError: while this process waited, another one has merged the shards.
    """

    def write(unfinished: Path, finished: Path) -> None:
        if is_merged():
            raise FileNotFoundError(folder)
        write_computed(unfinished, finished, part)

    find_or_write(part, folder, write)


def missing_shards(extraction: Extraction, count: int, cache: Path) -> list[Shard]:
    """The shards that are not finished, in order."""
    present = finished_shards(shards_folder(extraction, cache))
    return [shard for shard in all_shards(count) if shard not in present]


def merge_shards(extraction: Extraction, count: int, cache: Path) -> FeatureSet:
    """Merges the shards of a corpus, and removes them.

    Args:
      extraction: of the whole corpus.
      count: how many shards there have to be.
      cache: as for `jdann.features.store.extract`.

    Returns:
      The features of the corpus, also if they have been merged before.

    Raises:
      InputError: names the shards that are missing or damaged.
    """
    folder, name = shards_folder(extraction, cache), extraction.corpus.name
    present = finished_shards(folder)
    features = find_merged(extraction, cache)  # afterwards, because a merge removes the shards
    if features is not None:
        return features
    check_same_count(present, count, folder)
    missing = [shard for shard in all_shards(count) if shard not in present]
    if len(missing) == count:
        raise InputError(
            f"{name}: there are no shards in {folder}; compute them by --shard 1/{count} and so "
            "on, with the same corpus, --config and --data-dir"
        )
    if missing:
        raise InputError(
            f"{name}: {len(missing)} of {count} shards are missing: {numbers(missing)}; compute "
            f"each by --shard, e.g. --shard {missing[0]}"
        )

    def write(unfinished: Path, finished: Path) -> None:
        del unfinished  # nothing of a merge is worth keeping
        parts = _parts(extraction, count, folder)
        write_features(finished, parts, extraction.bins, extraction.dtype)

    features = find_or_write(extraction, cache, write)
    folders.remove(folder)
    return features


def _parts(extraction: Extraction, count: int, folder: Path) -> Iterator[Part]:
    """The content of each shard; only one of them is open at a time."""
    shards = all_shards(count)
    total = len(extraction.corpus.utterances)
    for shard in track(shards, f"Merging {extraction.corpus.name}", unit="shards"):
        rows, place = shard.rows(total), folder / shard.name
        try:
            yield read_part(place, len(rows), extraction.bins, rows.start, extraction.dtype)
        except FileNotFoundError:
            raise
        except Exception as error:  # foreign content causes errors of many types
            folders.remove(place)
            raise InputError(
                f"{extraction.corpus.name}: shard {shard} was damaged ({error}) and has been "
                f"removed; compute it again by --shard {shard}"
            ) from error
