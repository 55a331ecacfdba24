"""The features of a corpus in a finished folder of the cache: written once, and checked when read.

`values.f32` holds rows of float32. `index.npz` says which rows belong to which utterance, and
`skipped.json` why an utterance has none.
"""

import errno
import hashlib
import json
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jdann.corpora.index import Corpus, Skipped, Utterance
from jdann.errors import InputError
from jdann.features.journal import VALUES, Entry

_INDEX, _SKIPPED = "index.npz", "skipped.json"
# A digest of all values would read gigabytes at each start. Some blocks of the file tell it from
# the values of another corpus.
_BLOCKS, _BLOCK_BYTES = 256, 4096
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

    def read(self, rows: Iterable[int] | None = None) -> Iterator[np.ndarray]:
        """Yields the features [frames, bins] float32 of these utterances, by default of all."""
        values = self.values or OpenFile(self.path)
        for row in range(len(self.length)) if rows is None else rows:
            features = np.empty((int(self.length[row]), self.bins), np.float32)
            values.read_into(features, 4 * self.bins * int(self.start[row]))
            yield features


def read_features(folder: Path, corpus: Corpus, bins: int) -> FeatureSet | None:
    """The features of a corpus in a finished folder; None if the folder is missing.

    Args:
      folder: of the cache.
      corpus: whose features they are.
      bins: columns of the features.

    Raises:
      DamagedError: the folder does not hold them.
      OSError: the folder cannot be read at the moment, whatever it holds.
    """
    try:
        before = folder.stat()
        features = _read(folder, corpus, bins)
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


def _read(folder: Path, corpus: Corpus, bins: int) -> FeatureSet:
    values = OpenFile(folder / VALUES)
    index = _read_index(folder / _INDEX)
    reasons = json.loads((folder / _SKIPPED).read_text(encoding="utf-8"))
    _check(index, reasons, values, len(corpus.utterances), bins)
    skipped = tuple(Skipped(corpus.utterances[i].file, *reason) for i, *reason in reasons)
    return FeatureSet(
        utterances=tuple(corpus.utterances[i] for i in index["kept"]),
        path=folder / VALUES,
        bins=bins,
        start=index["start"],
        length=index["length"],
        duration_s=index["duration_s"],
        cut=int(index["cut"]),
        skipped=(*corpus.skipped, *skipped),
        values=values,
    )


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
    index: Mapping[str, np.ndarray], reasons: object, values: OpenFile, count: int, bins: int
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
    if values.size != 4 * bins * rows:
        raise ValueError(f"{VALUES} is not as long as the index says")
    # Earlier versions wrote no digest.
    if "digest" in index and index["digest"].tobytes() != _digest(values):
        raise ValueError(f"{VALUES} holds other values than the index says")


def write_index(folder: Path, entries: Mapping[int, Entry]) -> None:
    """Writes what belongs to the values in a folder that is not in its place yet.

    Args:
      folder: holds the file of values.
      entries: of each utterance of the corpus.
    """
    listed = sorted(entries.items())
    usable = [(i, entry) for i, entry in listed if entry.length]
    skipped = [(i, entry.reason, entry.no_speech) for i, entry in listed if not entry.length]
    (folder / _SKIPPED).write_text(json.dumps(skipped), encoding="utf-8")
    np.savez(
        folder / _INDEX,
        kept=np.array([i for i, _ in usable], np.int64),
        start=np.array([entry.start for _, entry in usable], np.int64),
        length=np.array([entry.length for _, entry in usable], np.int32),
        duration_s=np.array([entry.duration_s for _, entry in usable], np.float32),
        cut=sum(entry.cut for _, entry in usable),
        digest=np.frombuffer(_digest(OpenFile(folder / VALUES)), np.uint8),
    )


def _digest(values: OpenFile) -> bytes:
    """A digest of blocks that are spread over a file; of all of it if it is short."""
    digest = hashlib.blake2b(str(values.size).encode(), digest_size=16)
    last = max(0, values.size - _BLOCK_BYTES)
    for offset in np.unique(np.linspace(0, last, _BLOCKS).astype(np.int64)):
        block = np.empty(min(_BLOCK_BYTES, values.size - int(offset)), np.uint8)
        values.read_into(block, int(offset))
        digest.update(block.tobytes())
    return digest.digest()
