"""Tables of utterances: the only reader of csv input, and the manifest, a corpus as a table.

Each row of a table is one utterance. It says where the audio is and what is known about it.
"""

import codecs
import csv
import io
import itertools
import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jdann.corpora.cells import audio_path, parse_seconds
from jdann.corpora.index import Corpus, Skipped, Utterance
from jdann.corpora.labels import (
    EMOTIONS,
    canonical,
    canonical_gender,
    canonical_language,
    suggest_spelling,
)
from jdann.corpora.no_person import is_missing, known
from jdann.errors import InputError
from jdann.files import without_apostrophe
from jdann.terminal import listed

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
    "speaker_id": "speaker",
    "start_s": "start",
    "start_time": "start",
    "end_s": "end",
    "end_time": "end",
}
SUFFIXES = (".csv", ".tsv")
_EXAMPLE = "the first line names the columns, e.g. file,emotion,speaker,language"


class Table(NamedTuple):
    """A table of utterances as text, with no blank cell of the column `file`."""

    columns: tuple[str, ...]  # names; those of `COLUMNS` are in lower case
    rows: tuple[dict[str, str], ...]  # each has all columns; a cell without a value is ""
    lines: tuple[int, ...]  # the line of the file in which each row begins; the first line is 1


def load_manifest(path: Path) -> Corpus:
    """Reads a manifest.

    Args:
      path: a table as `read_table` takes it. It may have any of the `COLUMNS`. `start` and `end`
        are in seconds. A blank cell means that the value is not known; an utterance without an
        emotion is unlabelled.

    Returns:
      All utterances in the order of the rows, whatever their emotion. Rows whose audio file is
      missing are skipped.

    Raises:
      InputError: the manifest cannot be used; the message names the line.
    """
    table = read_table(path)
    utterances: list[Utterance] = []
    skipped: list[Skipped] = []
    emotion_of_span: dict[tuple[str, float, float | None], str | None] = {}
    repeated = contradicting = 0
    for line, utterance in read_utterances(path, table):
        span = (utterance.path, utterance.start_s, utterance.end_s)
        if span in emotion_of_span:
            repeated += 1
            contradicting += emotion_of_span[span] != utterance.emotion
            continue
        emotion_of_span[span] = utterance.emotion
        if not os.path.isfile(utterance.path):  # noqa: PTH113
            is_folder = os.path.isdir(utterance.path)  # noqa: PTH112
            reason = "is a folder, not an audio file" if is_folder else "no such file"
            skipped.append(Skipped(utterance.file, f"{reason} (line {line} of {path.name})"))
            continue
        utterances.append(utterance)
    if not utterances:
        raise InputError(
            f"{path}: none of its {len(skipped):,} audio files exists, e.g. {skipped[0].file}; "
            f"paths are relative to {path.absolute().parent}: move the manifest or correct the "
            "column file"
        )
    return Corpus(
        name=path.name,
        description=path.name,
        synthetic=False,
        utterances=tuple(utterances),
        skipped=tuple(skipped),
        notes=tuple(_notes(table, repeated, contradicting)),
    )


def read_utterances(path: Path, table: Table) -> Iterator[tuple[int, Utterance]]:
    """Yields the line and the utterance of each row, also where the audio file is missing.

    Args:
      path: the file of the table. Paths in the column `file` are relative to its folder.
      table: what `read_table` returned.

    Raises:
      InputError: a label or a span cannot be read; the message names the line.
    """
    emotions = read_emotions(path, table)
    folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
    for line, cells in zip(table.lines, table.rows, strict=True):
        row = dict.fromkeys(COLUMNS, "") | cells
        start_s, end_s = read_span(path, line, row)
        language, gender = known(row["language"]), known(row["gender"])
        yield (
            line,
            Utterance(
                file=row["file"],
                path=audio_path(folder, row["file"]),
                emotion=emotions[row["emotion"]],
                speaker=known(row["speaker"]) or None,
                language=canonical_language(language) if language else None,
                gender=canonical_gender(gender) if gender else None,
                sentence=known(row["sentence"]) or None,
                corpus=known(row["corpus"]) or None,
                split=known(row["split"]) or None,
                start_s=start_s,
                end_s=end_s,
            ),
        )


def _notes(table: Table, repeated: int, contradicting: int) -> Iterator[str]:
    """What the user should know about a manifest that could be read."""
    ignored = [name for name in table.columns if name and name not in COLUMNS]
    if ignored:
        yield f"columns that mean nothing here and are ignored: {listed(ignored)}"
    if repeated:
        conflict = f", {contradicting:,} of them with another emotion" if contradicting else ""
        yield f"{repeated:,} rows repeat an earlier one{conflict}; the first was kept"


def read_table(path: Path) -> Table:
    """Reads a table of utterances and checks its form.

    Args:
      path: text in UTF-8 or UTF-16. The first line that is not blank names the columns, one of
        which is `file`, or another name in ALIASES. Commas, semicolons or tabs separate the cells.
        Spaces around a cell are removed, and rows whose cells are all blank are left out.

    Returns:
      The table, with at least one row.

    Raises:
      InputError: the file cannot be read, or it is not such a table; the message names the line.
    """
    text = _text(path)
    delimiter, text = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    parsed_rows = _parsed_rows(path, reader)
    _, header = next(parsed_rows, (1, []))
    columns = _columns(path, header)
    rows, lines = [], []
    for line, cells in parsed_rows:
        if len(cells) > len(columns):
            raise InputError(
                f"{path}: line {line} has {len(cells)} cells, the first line names "
                f"{len(columns)} columns; put double quotes around cells that contain the separator"
            )
        texts = (without_apostrophe(cell.strip()) for cell in cells)
        pairs = itertools.zip_longest(columns, texts, fillvalue="")
        row = dict(pairs)
        if not row["file"]:
            raise InputError(
                f"{path}: line {line} has no file; fill in the cell or delete the line"
            )
        if "\n" in row["file"] or "\r" in row["file"]:
            raise InputError(
                f"{path}: line {line} has a line break in the column `file`; "
                f"look for a double quote without its partner"
            )
        rows.append(row)
        lines.append(line)
    if not rows:
        raise InputError(
            f"{path}: has no rows below the names of the columns; add one for each utterance"
        )
    return Table(columns, tuple(rows), tuple(lines))


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


def _columns(path: Path, header: list[str]) -> tuple[str, ...]:
    """The names in the first line, checked; the known ones in lower case."""
    names = [name.strip() for name in header]
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
    counts = Counter(columns)
    repeated = next((name for name in columns if name and counts[name] > 1), None)
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


def read_emotions(path: Path, table: Table) -> dict[str, str | None]:
    """Maps each label of a table to a name in `EMOTIONS`, and a blank label to None.

    Args:
      path: of the table, for the message.
      table: from `read_table`; without a column `emotion` all labels are blank.

    Raises:
      InputError: a label names no known emotion; the message has the line.
    """
    labels = [row.get("emotion", "") for row in table.rows]
    counts = Counter(labels)
    emotions = {label: canonical(label) for label in counts}
    unknown = {
        label: count
        for label, count in counts.items()
        if not is_missing(label) and not emotions[label]
    }
    if not unknown:
        return emotions
    line = next(n for n, label in zip(table.lines, labels, strict=True) if label in unknown)
    most_frequent = sorted(unknown, key=lambda label: -unknown[label])[:10]
    listed = ", ".join(_unknown_label(label, unknown[label]) for label in most_frequent)
    more = ", ..." if len(unknown) > 10 else ""
    raise InputError(
        f"{path}: labels that name no known emotion, the first in line {line}: {listed}{more}; "
        f"use one of {', '.join(EMOTIONS)}, or leave the cell blank where there is no label"
    )


def _unknown_label(label: str, count: int) -> str:
    suggestion = suggest_spelling(label)
    question = f", did you mean {suggestion}?" if suggestion else ""
    return f"{label[:40]} ({count:,} rows{question})"


def read_span(path: Path, line: int, row: dict[str, str]) -> tuple[float, float | None]:
    """The part of its file that an utterance covers.

    Args:
      path: the table, for the message.
      line: the line of the row, for the message.
      row: a row of the table. Its columns `start` and `end` may be absent or blank.

    Returns:
      Start and end in seconds. Without a start it is 0; without an end it is None, the file's end.

    Raises:
      InputError: a cell is not a number of seconds, or the end is not later than the start.
    """
    start, end = known(row.get("start", "")), known(row.get("end", ""))
    start_s = _seconds(path, line, "start", start) if start else 0.0
    end_s = _seconds(path, line, "end", end) if end else None
    if end_s is not None and end_s <= start_s:
        raise InputError(
            f"{path}: line {line} starts at {start_s:g} s and ends at {end_s:g} s; "
            f"`end` must be later than `start`"
        )
    return start_s, end_s


def _seconds(path: Path, line: int, column: str, text: str) -> float:
    seconds = parse_seconds(text)
    if seconds is None or not math.isfinite(seconds):
        raise InputError(
            f"{path}: line {line} has `{text[:40]}` in the column `{column}`; "
            f"expected seconds, like 1.25, or a time, like 00:01:02.5"
        )
    return seconds
