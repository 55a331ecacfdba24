"""Features as they are computed: values in one file, what they are in another, so that a killed run can be continued."""

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

_DURABLE_S = 10.0  # a killed run loses at most what was computed in this time


class Entry(NamedTuple):
    """What became of an utterance."""

    start: int = 0  # its first row of values
    length: int = 0  # rows; none where it was skipped
    duration_s: float = 0.0
    cut: bool = False
    reason: str = ""  # why it was skipped


class Journal:
    """`values.f32`, rows of float32, and `journal.jsonl`, a line of [utterance, *Entry] for each utterance that is done.

    Values reach the disk before the lines that speak of them. What a killed run left beyond its last line is cut off, and so
    is everything from the first line that is damaged or speaks of values that are not there.
    """

    def __init__(self, folder: Path, bins: int):
        self.entries: dict[int, Entry] = {}
        self._row_bytes, self._rows = 4 * bins, 0
        values, lines = folder / "values.f32", folder / "journal.jsonl"
        values.touch()
        lines.touch()
        kept = self._recover(lines, values.stat().st_size)
        os.truncate(lines, kept)
        os.truncate(values, self._rows * self._row_bytes)
        self._values, self._lines = values.open("ab"), lines.open("a")
        self._waiting: list[str] = []
        self._durable_at = time.monotonic()

    def _recover(self, lines: Path, size: int) -> int:
        """Reads the entries of an earlier run; returns the bytes of the lines that hold."""
        kept = 0
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
                kept += len(line)
        return kept

    def add(self, i: int, values: np.ndarray, duration_s: float, cut: bool) -> None:
        """Appends the values [rows, bins] of utterance `i`."""
        self._values.write(np.ascontiguousarray(values, np.float32).tobytes())
        self._note(i, Entry(self._rows, len(values), duration_s, cut))
        self._rows += len(values)

    def skip(self, i: int, reason: str) -> None:
        """Notes why there is nothing of utterance `i`."""
        self._note(i, Entry(reason=reason))

    def _note(self, i: int, entry: Entry) -> None:
        self.entries[i] = entry
        self._waiting.append(json.dumps([i, *entry]) + "\n")
        if time.monotonic() - self._durable_at > _DURABLE_S:
            self.flush()

    def flush(self) -> None:
        """Brings everything to the disk, values first."""
        self._values.flush()
        os.fsync(self._values.fileno())
        self._lines.writelines(self._waiting)
        self._lines.flush()
        os.fsync(self._lines.fileno())
        self._waiting, self._durable_at = [], time.monotonic()

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
