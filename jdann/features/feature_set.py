"""The features of a corpus in a finished folder of the cache: written once, and checked when read.

`values.f32` holds rows of float32, or `values.f16` rows of float16, in the order of the utterances.
`index.npz` says which rows belong to which utterance, and `skipped.json` why an utterance has none.
Equal features are equal files, whoever computed them and in whatever order.
"""

import errno
import hashlib
import json
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from jdann.corpora.index import Corpus, Skipped, Utterance
from jdann.errors import InputError
from jdann.features.journal import Entry, values_name

_INDEX, _SKIPPED = "index.npz", "skipped.json"
# A digest of all values would read gigabytes at each start. Some blocks of the file tell it from
# the values of another corpus.
_BLOCKS, _BLOCK_BYTES = 256, 4096
_COPY_BYTES = 2**23  # are in memory at a time when values are copied
# Errors that a folder causes which is missing or holds other things than expected. Others, such as
# too many open files, say nothing about its content.
_WRONG_CONTENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)


class DamagedError(Exception):
    """A folder does not hold the features that it should hold. The message says why."""


class OpenFile:
    """A file that stays the same for its reader when another process replaces it."""

    def __init__(self, path: Path):
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self._descriptor).st_size

    def read_into(self, rows: np.ndarray, offset: int) -> None:
        """Fills a contiguous array with the file's bytes from an offset on. Any thread may call it.

        Raises:
          InputError: the file ends before, because somebody has changed it.
        """
        buffer, done = rows.reshape(-1).view(np.uint8).data, 0
        while done < len(buffer):
            count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            if not count:
                raise InputError(
                    f"{self.path}: has become shorter while it was read; start the command again"
                )
            done += count


class Columns(NamedTuple):
    """Some columns of the features of a vector recipe."""

    features: "FeatureSet"
    row: np.ndarray  # [utterances] int64, the position of each one in `features`
    spans: tuple[tuple[int, int], ...]  # first and last (exclusive) column of each stretch

    def read(self, utterance: int) -> list[np.ndarray]:
        """The values [1, columns] float32 of each stretch."""
        features = self.features
        values, row = features.values or OpenFile(features.path), int(self.row[utterance])
        stretches = []
        for start, stop in self.spans:
            stretch = np.empty((1, stop - start), features.dtype)
            first = int(features.start[row]) * features.bins + start
            values.read_into(stretch, stretch.itemsize * first)
            stretches.append(stretch.astype(np.float32, copy=False))
        return stretches


class FeatureSet(NamedTuple):
    """Features of the usable utterances of a corpus, not normalised.

    A vector recipe gives one row of values per utterance.
    """

    utterances: tuple[Utterance, ...]
    path: Path  # the file of values
    bins: int
    start: np.ndarray  # [utterances] int64, first row of each utterance
    length: np.ndarray  # [utterances] int32, frames
    duration_s: np.ndarray  # [utterances] float32, after trimming and cutting
    cut: int  # number of utterances longer than the maximum duration
    skipped: tuple[Skipped, ...]  # those of the corpus, and files that could not be decoded
    values: OpenFile | None = None  # `path`, open; None: it is opened at each reading
    dtype: str = "float32"  # of the values in the file
    columns: tuple[Columns, ...] = ()  # the features are these, side by side, and not in `path`

    def read(self, rows: Iterable[int] | None = None) -> Iterator[np.ndarray]:
        """Yields the features [frames, bins] float32 of these utterances, by default of all."""
        rows = range(len(self.length)) if rows is None else rows
        if self.columns:
            for row in rows:
                yield np.concatenate([x for part in self.columns for x in part.read(row)], axis=1)
            return
        values = self.values or OpenFile(self.path)
        for row in rows:
            features = np.empty((int(self.length[row]), self.bins), self.dtype)
            values.read_into(features, features.itemsize * self.bins * int(self.start[row]))
            yield features.astype(np.float32, copy=False)


def join(parts: Sequence[FeatureSet], spans: Sequence[tuple[int, int]]) -> FeatureSet:
    """The features of several vector recipes side by side, of the utterances that all of them have.

    Args:
      parts: of one corpus.
      spans: first and last (exclusive) column that is taken of the last part. All columns are
        taken of the others.
    """
    usable = set.intersection(*(set(part.utterances) for part in parts))
    columns = []
    for part in parts:
        row = [i for i, utterance in enumerate(part.utterances) if utterance in usable]
        columns.append(Columns(part, np.array(row, np.int64), ((0, part.bins),)))
    columns[-1] = columns[-1]._replace(spans=tuple(spans))
    last = parts[-1]
    row = columns[-1].row
    return last._replace(
        utterances=tuple(last.utterances[i] for i in row),
        bins=sum(stop - start for part in columns for start, stop in part.spans),
        start=last.start[row],
        length=last.length[row],
        duration_s=last.duration_s[row],
        skipped=tuple(dict.fromkeys(clip for part in parts for clip in part.skipped)),
        columns=tuple(columns),
    )


def with_last_columns(features: FeatureSet, spans: Sequence[tuple[int, int]]) -> FeatureSet:
    """Other columns of the last recipe in `join`, alone.

    Args:
      features: from `join`.
      spans: first and last (exclusive) column that is taken of the last recipe.
    """
    columns = features.columns[-1]._replace(spans=tuple(spans))
    return features._replace(bins=sum(stop - start for start, stop in spans), columns=(columns,))


def read_features(
    folder: Path, corpus: Corpus, bins: int, dtype: str = "float32"
) -> FeatureSet | None:
    """The features of a corpus in a finished folder; None if the folder is missing.

    Args:
      folder: of the cache.
      corpus: whose features they are.
      bins: columns of the features.
      dtype: of the values in the file.

    Raises:
      DamagedError: the folder does not hold them.
      OSError: the folder cannot be read at the moment, whatever it holds.
    """
    try:
        before = folder.stat()
        features = _read(folder, corpus, bins, dtype)
        if not os.path.samestat(before, folder.stat()):
            return None  # another process has replaced it meanwhile
        return features
    except OSError as error:
        if error.errno == errno.ENOENT and not folder.exists():
            return None
        if error.errno is not None and error.errno not in _WRONG_CONTENT:
            raise
        raise DamagedError(str(error)) from error
    except MemoryError:
        raise
    except Exception as error:  # foreign content causes errors of many types
        raise DamagedError(str(error) or type(error).__name__) from error


class Index(NamedTuple):
    """Which rows belong to which utterance, and why an utterance has none."""

    kept: np.ndarray  # [usable] int64, positions of the utterances that have features, ascending
    start: np.ndarray  # [usable] int64, first row of each
    length: np.ndarray  # [usable] int32, rows of each
    duration_s: np.ndarray  # [usable] float32, after trimming and cutting
    cut: int  # number of utterances longer than the maximum duration
    skipped: list[tuple[int, str, bool]]  # position, reason, whether it is the lack of speech


class Part(NamedTuple):
    """The features of utterances that follow each other in a corpus."""

    first: int  # position of the first one in the corpus
    index: Index  # positions are relative to `first`
    values: OpenFile


def _read(folder: Path, corpus: Corpus, bins: int, dtype: str) -> FeatureSet:
    _, index, values = read_part(folder, len(corpus.utterances), bins, dtype=dtype)
    skipped = tuple(
        Skipped(corpus.utterances[i].file, reason, no_speech)
        for i, reason, no_speech in index.skipped
    )
    return FeatureSet(
        utterances=tuple(corpus.utterances[i] for i in index.kept),
        path=values.path,
        bins=bins,
        start=index.start,
        length=index.length,
        duration_s=index.duration_s,
        cut=index.cut,
        skipped=(*corpus.skipped, *skipped),
        values=values,
        dtype=dtype,
    )


def read_part(folder: Path, count: int, bins: int, first: int = 0, dtype: str = "float32") -> Part:
    """The content of a finished folder.

    Args:
      folder: of the cache.
      count: utterances whose features it should hold.
      bins: columns of the features.
      first: position of the first utterance in the corpus.
      dtype: of the values in the file.

    Raises:
      ValueError, TypeError, KeyError, OSError: the folder does not hold them.
    """
    values = OpenFile(folder / values_name(dtype))
    arrays = _read_index(folder / _INDEX)
    reasons = json.loads((folder / _SKIPPED).read_text(encoding="utf-8"))
    _check(arrays, reasons, values, count, np.dtype(dtype).itemsize * bins)
    index = Index(
        *(arrays[name] for name in ("kept", "start", "length", "duration_s")),
        cut=int(arrays["cut"]),
        skipped=[(i, reason, no_speech == [True]) for i, reason, *no_speech in reasons],
    )
    return Part(first, index, values)


def _read_index(path: Path) -> dict[str, np.ndarray]:
    # Opened here, because NumPy leaves a damaged file open.
    with path.open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # a foreign file makes NumPy raise errors of many types
            raise ValueError(f"{_INDEX} holds no arrays") from error


def _check(
    index: Mapping[str, np.ndarray], reasons: object, values: OpenFile, count: int, row_bytes: int
) -> None:
    """Raises ValueError for an index that is not that of these values and of `count` utterances."""
    kept, start, length = index["kept"], index["start"], index["length"]
    types = {"kept": np.int64, "start": np.int64, "length": np.int32, "duration_s": np.float32}
    for name, kind in types.items():
        if index[name].dtype != kind or index[name].shape != (len(kept),):
            raise ValueError(f"{_INDEX} holds something else as {name}")
    if index["cut"].shape != ():
        raise ValueError(f"{_INDEX} holds something else as cut")
    if not isinstance(reasons, list):
        raise ValueError(f"{_SKIPPED} is no list")
    for i, reason, *no_speech in reasons:
        # Earlier versions wrote no third value.
        is_flag = no_speech in ([], [True], [False])
        if type(i) is not int or not isinstance(reason, str) or not is_flag:
            raise ValueError(f"{_SKIPPED} holds something else than reasons")
    if sorted([*kept.tolist(), *(i for i, *_ in reasons)]) != list(range(count)):
        raise ValueError(f"{_INDEX} and {_SKIPPED} are not about the utterances of the corpus")
    rows = length.sum(dtype=np.int64)
    order = np.argsort(start)
    follow = start[order] == np.cumsum(np.r_[0, length[order][:-1]], dtype=np.int64)[: len(start)]
    if (length < 1).any() or not follow.all():
        raise ValueError(f"the rows in {_INDEX} do not follow each other")
    if values.size != row_bytes * rows:
        raise ValueError(f"{values.path.name} is not as long as the index says")
    # Earlier versions wrote no digest.
    if "digest" in index and index["digest"].tobytes() != _digest(values):
        raise ValueError(f"{values.path.name} holds other values than the index says")


def index_of(entries: Mapping[int, Entry]) -> Index:
    """The index of what a journal holds: an entry for each utterance."""
    listed = sorted(entries.items())
    usable = [(i, entry) for i, entry in listed if entry.length]
    return Index(
        kept=np.array([i for i, _ in usable], np.int64),
        start=np.array([entry.start for _, entry in usable], np.int64),
        length=np.array([entry.length for _, entry in usable], np.int32),
        duration_s=np.array([entry.duration_s for _, entry in usable], np.float32),
        cut=sum(entry.cut for _, entry in usable),
        skipped=[(i, entry.reason, entry.no_speech) for i, entry in listed if not entry.length],
    )


def write_features(folder: Path, parts: Iterable[Part], bins: int, dtype: str = "float32") -> None:
    """Writes the features of a corpus, or of a part of it, in the order of the utterances.

    Args:
      folder: is made here; it is not in its place yet.
      parts: in the order of the corpus. A few megabytes of values are in memory at a time.
      bins: columns of the features.
      dtype: of the values.
    """
    row_bytes, path = np.dtype(dtype).itemsize * bins, folder / values_name(dtype)
    folder.mkdir()
    indices: list[Index] = []
    with path.open("wb") as file:
        for first, index, values in parts:
            _copy_rows(index, values, row_bytes, file)
            skipped = [(first + i, *reason) for i, *reason in index.skipped]
            indices.append(index._replace(kept=first + index.kept, skipped=skipped))
        file.flush()
        os.fsync(file.fileno())
    skipped = [reason for index in indices for reason in index.skipped]
    (folder / _SKIPPED).write_text(json.dumps(skipped), encoding="utf-8")
    length = np.concatenate([index.length for index in indices])
    np.savez(
        folder / _INDEX,
        kept=np.concatenate([index.kept for index in indices]),
        start=np.cumsum(length, dtype=np.int64) - length,
        length=length,
        duration_s=np.concatenate([index.duration_s for index in indices]),
        cut=sum(index.cut for index in indices),
        digest=np.frombuffer(_digest(OpenFile(path)), np.uint8),
    )


def _copy_rows(index: Index, values: OpenFile, row_bytes: int, file: BinaryIO) -> None:
    """Appends the rows of each utterance to a file; rows that follow each other in one go."""
    if not len(index.start):
        return
    ends = index.start + index.length
    breaks = np.flatnonzero(index.start[1:] != ends[:-1])
    begins, ends = index.start[np.r_[0, breaks + 1]], ends[np.r_[breaks, -1]]
    for begin, end in zip((begins * row_bytes).tolist(), (ends * row_bytes).tolist(), strict=True):
        for offset in range(begin, end, _COPY_BYTES):
            block = np.empty(min(_COPY_BYTES, end - offset), np.uint8)
            values.read_into(block, offset)
            file.write(block.data)


def _digest(values: OpenFile) -> bytes:
    """A digest of blocks that are spread over a file; of all of it if it is short."""
    digest = hashlib.blake2b(str(values.size).encode(), digest_size=16)
    last = max(0, values.size - _BLOCK_BYTES)
    for offset in np.unique(np.linspace(0, last, _BLOCKS).astype(np.int64)):
        block = np.empty(min(_BLOCK_BYTES, values.size - int(offset)), np.uint8)
        values.read_into(block, int(offset))
        digest.update(block.tobytes())
    return digest.digest()
