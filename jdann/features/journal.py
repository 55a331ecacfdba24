"""Features on disk while they are computed, so that the next run can continue a killed one.

One file holds the values, another says which rows belong to which utterance.
"""

import json
import os
import shutil
import time
import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

import numpy as np

LINES = "journal.jsonl"
# A killed run loses at most the results of this time, and the batches that it was computing.
_FLUSH_S = 10.0


def values_name(dtype: str) -> str:
    """The name of the file of values: "values.f32" or "values.f16"."""
    return f"values.f{8 * np.dtype(dtype).itemsize}"


class Entry(NamedTuple):
    """The result for one utterance."""

    start: int = 0  # first row of its values
    length: int = 0  # rows; 0: the utterance was skipped
    duration_s: float = 0.0
    cut: bool = False  # True: it was longer than the maximum duration
    reason: str = ""  # why it was skipped
    no_speech: bool = False  # it was skipped because nobody speaks in it
    checksum: int = 0  # CRC-32 of its values


class Journal:
    """The values and the entries of the utterances that are finished.

    One file holds rows of values, and `journal.jsonl` one line [utterance, *Entry] per utterance.
    Values reach the disk before their lines. When a journal is opened again, it cuts off all lines
    from the first one that is damaged, is not by this version or lacks its values, and all values
    without a line.

    Args:
      folder: of the two files, which may be missing.
      bins: columns of the values.
      count: utterances of the corpus.
      dtype: of the values, "float32" or "float16".
    """

    def __init__(self, folder: Path, bins: int, count: int, dtype: str = "float32"):
        self.entries: dict[int, Entry] = {}
        self._dtype = np.dtype(dtype)
        self._row_bytes, self._rows, self._count = self._dtype.itemsize * bins, 0, count
        values, lines = folder / values_name(dtype), folder / LINES
        for path in folder.iterdir():
            if path.is_dir():  # nothing of jdann
                shutil.rmtree(path)
        values.touch()
        lines.touch()
        with values.open("rb") as file:
            intact_bytes = self._recover(lines, file)
        os.truncate(lines, intact_bytes)
        os.truncate(values, self._rows * self._row_bytes)
        self._values, self._lines = values.open("ab"), lines.open("a")
        self._waiting: list[str] = []
        self._flushed_at = time.monotonic()

    def _recover(self, lines: Path, values: BinaryIO) -> int:
        """Reads the entries of an earlier run; returns the size of the intact lines."""
        intact_bytes, rows = 0, os.fstat(values.fileno()).st_size // self._row_bytes
        with lines.open("rb") as file:
            for line in file:
                parsed = self._parse(line)
                if parsed is None or parsed[0] in self.entries:
                    break
                i, entry = parsed
                if entry.length:
                    if entry.start != self._rows or entry.start + entry.length > rows:
                        break
                    if zlib.crc32(values.read(entry.length * self._row_bytes)) != entry.checksum:
                        break
                self.entries[i] = entry
                self._rows += entry.length
                intact_bytes += len(line)
        return intact_bytes

    def _parse(self, line: bytes) -> tuple[int, Entry] | None:
        """The utterance and the entry in a line; None if it is not a whole line of a journal."""
        try:
            i, *fields = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            return None
        kinds = [type(value) for value in Entry()]
        if not line.endswith(b"\n") or type(i) is not int or list(map(type, fields)) != kinds:
            return None
        entry = Entry(*fields)
        return (i, entry) if 0 <= i < self._count and entry.length >= 0 else None

    def add(self, i: int, values: np.ndarray, duration_s: float, cut: bool) -> None:
        """Appends the values [rows, bins] of utterance `i`."""
        data = np.ascontiguousarray(values, self._dtype).tobytes()
        self._values.write(data)
        entry = Entry(self._rows, len(values), duration_s, cut, checksum=zlib.crc32(data))
        self._note(i, entry)
        self._rows += len(values)

    def skip(self, i: int, reason: str, no_speech: bool = False) -> None:
        """Notes why utterance `i` has no values, and whether that is for lack of speech."""
        self._note(i, Entry(reason=reason, no_speech=no_speech))

    def _note(self, i: int, entry: Entry) -> None:
        self.entries[i] = entry
        self._waiting.append(json.dumps([i, *entry]) + "\n")
        if time.monotonic() - self._flushed_at > _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Writes everything to the disk, values first."""
        self._values.flush()
        os.fsync(self._values.fileno())
        self._lines.writelines(self._waiting)
        self._lines.flush()
        os.fsync(self._lines.fileno())
        self._waiting, self._flushed_at = [], time.monotonic()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None or not issubclass(kind, OSError):  # of a disk that is full, for example
                self.flush()
        finally:
            self._values.close()
            self._lines.close()
