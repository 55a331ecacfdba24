"""Files that are never half written: each is written beside its place, then renamed into it."""

import csv
import io
import json
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PARTIAL = ".partial"  # suffix of a file that is being written


def default_data_dir() -> Path:
    """The folder of prepared corpora and cached features where none is given: that of TFDS.

    `$TFDS_DATA_DIR`, or ~/tensorflow_datasets.
    """
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file so that a reader finds all of the old content or all of the new.

    Several processes may write the same file at the same time; the last of them wins.

    Args:
      path: the file; its folder must exist.
      data: the content.

    Raises:
      OSError: the disk is full or not writable; `path` is then as it was.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file; names that are not valid Unicode are written with backslashes."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Writes JSON; NumPy values become plain ones, and numbers that are not finite become null."""
    text = json.dumps(to_plain(value), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


# Names such as `-1.wav` and `+49123.wav` are none.
_FORMULA = re.compile(r"\s*(?:[=@]|[+-].*[|(!])")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a csv file with a header; None becomes an empty cell.

    A text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_no_formula(cell) for cell in row] for row in rows)
    write_text(path, text.getvalue())


def _no_formula(cell: Any) -> Any:
    """The cell; if it is a text like `=cmd|...`, `@SUM(1)` or `+1+cmd|...`, with an apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def without_apostrophe(cell: str) -> str:
    """A cell of a csv file as it was before `write_csv` made a formula harmless."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def to_plain(value: Any) -> Any:
    """Nested dicts, lists and arrays as what JSON can hold; numbers that are not finite as None."""
    if isinstance(value, dict):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
