"""Features on disk while they are computed, so that the next run can continue a killed one.

One file holds the values, another says which rows belong to which utterance.
"""

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

_FLUSH_S = 10.0  # a killed run loses at most the features of this time


class Entry(NamedTuple):
    """The result for one utterance."""

    start: int = 0  # first row of its values
    length: int = 0  # rows; 0: the utterance was skipped
    duration_s: float = 0.0
    cut: bool = False  # True: it was longer than the maximum duration
    reason: str = ""  # why it was skipped
    no_speech: bool = False  # it was skipped because nobody speaks in it


class Journal:
    """The values and the entries of the utterances that are finished.

    `values.f32` holds rows of float32, and `journal.jsonl` one line [utterance, *Entry] per
    utterance. Values reach the disk before their lines. When a journal is opened again, it cuts
    off all lines from the first one that is damaged or lacks its values, and all values without a
    line.
    """

    def __init__(self, folder: Path, bins: int):
        self.entries: dict[int, Entry] = {}
        self._row_bytes, self._rows = 4 * bins, 0
        values, lines = folder / "values.f32", folder / "journal.jsonl"
        values.touch()
        lines.touch()
        intact_bytes = self._recover(lines, values.stat().st_size)
        os.truncate(lines, intact_bytes)
        os.truncate(values, self._rows * self._row_bytes)
        self._values, self._lines = values.open("ab"), lines.open("a")
        self._waiting: list[str] = []
        self._flushed_at = time.monotonic()

    def _recover(self, lines: Path, size: int) -> int:
        """Reads the entries of an earlier run; returns the size of the intact lines."""
        intact_bytes = 0
        with lines.open("rb") as file:
            for line in file:
                try:
                    i, *values = json.loads(line)
                    entry = Entry(*values)
                    end = (entry.start + entry.length) * self._row_bytes
                    if not line.endswith(b"\n") or end > size:
                        break
                except (ValueError, TypeError):
                    break
                self.entries[int(i)] = entry
                self._rows = max(self._rows, entry.start + entry.length)
                intact_bytes += len(line)
        return intact_bytes

    def add(self, i: int, values: np.ndarray, duration_s: float, cut: bool) -> None:
        """Appends the values [rows, bins] of utterance `i`."""
        self._values.write(np.ascontiguousarray(values, np.float32).tobytes())
        self._note(i, Entry(self._rows, len(values), duration_s, cut))
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
            if kind is None or issubclass(kind, KeyboardInterrupt):
                self.flush()
        finally:
            self._values.close()
            self._lines.close()
