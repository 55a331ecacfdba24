"""Reads tables of utterances: csv, tsv and JSON lines, in the dialects that people have."""

import codecs
import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jdann.corpora import json_lines, meld
from jdann.corpora.suffixes import AUDIO, OTHER_AUDIO
from jdann.errors import InputError
from jdann.files import without_apostrophe

COLUMNS = (
    "file",
    "emotion",
    "speaker",
    "language",
    "start",
    "end",
    "gender",
    "sentence",
    "corpus",
    "split",
)
# Other names of columns, in lower case. The first one in a table counts if it lacks the usual name.
ALIASES = {
    "filename": "file",
    "file_name": "file",
    "path": "file",
    "filepath": "file",
    "file_path": "file",
    "wav": "file",
    "audio": "file",
    "audio_file": "file",
    "label": "emotion",
    "emo": "emotion",
    "speaker_id": "speaker",
    "spk": "speaker",
    "lang": "language",
    "sex": "gender",
    "start_s": "start",
    "start_time": "start",
    "end_s": "end",
    "end_time": "end",
}
JSON_LINES = ".jsonl"
SUFFIXES = (".csv", ".tsv", JSON_LINES)
_SPLIT = re.compile(r"[,;\t\r\n]")
_EXAMPLE = "the first line names the columns, e.g. file,emotion,speaker,language"


class Table(NamedTuple):
    """A table of utterances as text, with no blank cell of the column `file`."""

    columns: tuple[str, ...]  # names; those of `COLUMNS` are in lower case
    rows: tuple[dict[str, str], ...]  # each has all columns; a cell without a value is ""
    lines: tuple[int, ...]  # the line of the file in which each row begins; the first line is 1


def read_table(path: Path) -> Table:
    """Reads a table of utterances and checks its form.

    Args:
      path: text in UTF-8 or UTF-16. The first line that is not blank names the columns, one of
        which is `file`, or another name in ALIASES. Commas, semicolons or tabs separate the cells.
        Spaces around a cell are removed, and rows whose cells are all blank are left out. A
        `.jsonl` file has an object with these names in each line. The tables of MELD have no
        column `file`; their clips are found by their names.

    Returns:
      The table, with at least one row.

    Raises:
      InputError: the file cannot be read, or it is not such a table; the message names the line.
    """
    names, lines, cells = read_cells(path)
    if meld.is_table(names):
        names, cells = meld.with_files(path, names, cells)
    columns = _columns(path, names)
    rows = [dict(zip(columns, row, strict=True)) for row in cells]
    for line, row in zip(lines, rows, strict=True):
        if not row["file"]:
            raise InputError(
                f"{path}: line {line} has no file; fill in the cell in the column "
                f"`{names[columns.index('file')]}`, or delete the line"
            )
        if "\0" in row["file"]:  # JSON can hold it
            raise InputError(
                f"{path}: line {line} has a null character in the column `file`; correct the name"
            )
        if not _can_be_a_path(row["file"]):
            raise InputError(
                f"{path}: line {line} has half a character in the column `file`, which no file has "
                "in its name; correct the name"
            )
        if "\n" in row["file"] or "\r" in row["file"]:
            raise InputError(
                f"{path}: line {line} has a line break in the column `file`; "
                f"look for a double quote without its partner"
            )
    if not rows:
        raise InputError(
            f"{path}: has no rows below the names of the columns; add one for each utterance"
        )
    return Table(columns, tuple(rows), tuple(lines))


def _can_be_a_path(text: str) -> bool:
    """Whether the system can look for a text; JSON can hold the half of a surrogate pair."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def read_cells(path: Path) -> tuple[list[str], list[int], list[list[str]]]:
    """Reads any table as text, in the dialects of `read_table`.

    Returns:
      The names of the columns as they are written, the line of each row, and its cells: one for
      each column, "" where it has no value.

    Raises:
      InputError: the file cannot be read, or a row has more cells than there are columns, or a
        cell holds other rows.
    """
    text = _text(path)
    if path.suffix.lower() == JSON_LINES:
        return json_lines.read(path, text)
    delimiter, text = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    parsed_rows = _parsed_rows(path, reader)
    _, header = next(parsed_rows, (1, []))
    names = [name.strip() for name in header]
    lines, rows = [], []
    for line, cells in parsed_rows:
        if len(cells) > len(names):
            raise InputError(
                f"{path}: line {line} has {len(cells)} cells, the first line names "
                f"{len(names)} columns; put double quotes around cells that contain the separator"
            )
        for name, cell in zip(names, cells, strict=False):
            if ("\n" in cell or "\r" in cell) and _holds_row(cell):
                raise InputError(
                    f"{path}: line {line} has other rows in the column `{name[:40]}`; "
                    "look for a double quote without its partner"
                )
        texts = [without_apostrophe(cell.strip()) for cell in cells]
        lines.append(line)
        rows.append(texts + [""] * (len(names) - len(texts)))
    return names, lines, rows


def _holds_row(cell: str) -> bool:
    """Whether a cell of several lines names an audio file as a row does.

    If one double quote is missing, the next cell in quotes may end the text that it should begin.
    The rows between them would then be a part of one cell.
    """
    _, *pieces = _SPLIT.split(cell)
    return any(Path(piece.strip(' "')).suffix.lower() in AUDIO | OTHER_AUDIO for piece in pieces)


def _delimiter(text: str) -> tuple[str, str]:
    """What separates the cells, and the text without a first line `sep=;` by which Excel says it.

    That line is made blank, so that the numbers of the lines stay the same.
    """
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    first_line = lines[first].rstrip("\r")
    if len(first_line) == 5 and first_line.lower().startswith("sep="):
        lines[first] = ""
        return first_line[-1], "\n".join(lines)
    return max(",;\t", key=first_line.count), text


def _columns(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """The names in the first line, checked; the known ones in lower case."""
    folded = [name.casefold().replace(" ", "_") for name in names]
    taken = set(folded) & set(COLUMNS)
    known_names = []
    for name, text in zip(names, folded, strict=True):
        alias = ALIASES.get(text)
        if alias is not None and alias not in taken:
            taken.add(alias)
            known_names.append(alias)
        else:
            known_names.append(text if text in COLUMNS else name)
    columns = tuple(known_names)
    if not columns:
        raise InputError(f"{path}: is empty; {_EXAMPLE}")
    if "file" not in columns:
        listed = ", ".join(name or "(blank)" for name in names[:20])
        raise InputError(f"{path}: line 1 has no column `file`, only {listed[:300]}; {_EXAMPLE}")
    # Also an alias must not occur twice: nothing says which of the two columns counts.
    meanings = [
        text if text in ALIASES else known_name
        for known_name, text in zip(columns, folded, strict=True)
    ]
    counts = Counter(meanings)
    repeated = next((name for name in meanings if name and counts[name] > 1), None)
    if repeated is not None:
        raise InputError(
            f"{path}: line 1 names the column `{repeated}` more than once; name each column once"
        )
    return columns


def _text(path: Path) -> str:
    """The content of a text file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected a manifest, a table in UTF-8"
        ) from error
    if data.startswith((b"PK", b"\xd0\xcf\x11\xe0")):  # .xlsx and .ods; .xls
        raise InputError(
            f"{path}: is a spreadsheet or an archive, not a text table; save it as CSV (UTF-8)"
        )
    try:
        is_utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: line {line} is not text in UTF-8; save the table as CSV (UTF-8)"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(
            f"{path}: line {line} holds bytes that no text has; "
            f"expected a table, saved as CSV (UTF-8)"
        )
    return text


def _parsed_rows(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """The line number and the cells of each row that is not blank; `reader` is a `csv.reader`."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{path}: line {line} cannot be read as a table ({error}); "
                f"look for a double quote without its partner"
            ) from error
        if any(cell.strip() for cell in cells):
            yield line, cells
