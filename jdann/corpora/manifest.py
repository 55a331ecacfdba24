"""A manifest: a table of utterances, one a row, that says where the audio is and what is known of it."""

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from jdann.corpora.index import Corpus, Skipped, Utterance
from jdann.corpora.labels import EMOTIONS, canonical, canonical_gender, canonical_language, nearest
from jdann.errors import InputError

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
SUFFIXES = (".csv", ".tsv")
_EXAMPLE = "the first line names the columns, e.g. file,emotion,speaker,language"


def load(path: Path) -> Corpus:
    """Reads a manifest.

    Args:
      path: a table in UTF-8, separated by commas, semicolons or tabs, with the column `file` (paths relative to the
        manifest) and any of the other `COLUMNS`. `start` and `end` are in seconds. A blank cell says that something is
        not known; an utterance without an emotion is unlabelled.

    Returns:
      All utterances in the order of the rows, whatever their emotion; rows without their audio file are skipped.

    Raises:
      InputError: where the manifest cannot be used; the message names the line.
    """
    rows, ignored = _rows(path)
    emotions = _emotions(path, rows)
    folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 - strings: a Path for each row is slow
    utterances: list[Utterance] = []
    skipped: list[Skipped] = []
    known: dict[tuple[str, float, float | None], str | None] = {}
    repeated = contradicting = 0
    for line, row in rows:
        start_s, end_s = _span(path, line, row)
        audio = os.path.normpath(os.path.join(folder, os.path.expanduser(row["file"])))  # noqa: PTH111, PTH118
        emotion = emotions[row["emotion"]]
        if (audio, start_s, end_s) in known:
            repeated += 1
            contradicting += known[audio, start_s, end_s] != emotion
            continue
        known[audio, start_s, end_s] = emotion
        if not os.path.isfile(audio):  # noqa: PTH113
            reason = "is a folder, not an audio file" if os.path.isdir(audio) else "no such file"  # noqa: PTH112
            skipped.append(Skipped(row["file"], f"{reason} (line {line} of {path.name})"))
            continue
        utterances.append(
            Utterance(
                file=row["file"],
                path=audio,
                emotion=emotion,
                speaker=row["speaker"] or None,
                language=canonical_language(row["language"]) if row["language"] else None,
                gender=canonical_gender(row["gender"]) if row["gender"] else None,
                sentence=row["sentence"] or None,
                corpus=row["corpus"] or None,
                split=row["split"] or None,
                start_s=start_s,
                end_s=end_s,
            )
        )
    if not utterances:
        raise InputError(
            f"{path}: none of its {len(skipped):,} audio files exists, e.g. {skipped[0].file}; "
            f"paths are relative to {folder}: move the manifest or correct the column file"
        )
    notes = (
        [f"columns that mean nothing here and are ignored: {', '.join(ignored)}"] if ignored else []
    )
    if repeated:
        other = f", {contradicting:,} of them with another emotion" if contradicting else ""
        notes.append(f"{repeated:,} rows repeat an earlier one{other}; the first was kept")
    return Corpus(
        path.name, path.name, False, tuple(utterances), tuple(skipped), notes=tuple(notes)
    )


def _rows(path: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """The manifest's rows with their line numbers, every known column present, and the columns that are not known."""
    text = _text(path)
    head = text.split("\n", 1)[0]
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True
    )
    lines = _parsed(path, reader)
    _, header = next(lines, (1, []))
    columns = [name.strip().casefold() for name in header]
    if not columns:
        raise InputError(f"{path}: is empty; {_EXAMPLE}")
    if "file" not in columns:
        found = ", ".join(name or "(blank)" for name in columns[:20])
        raise InputError(f"{path}: line 1 has no column `file`, only {found[:300]}; {_EXAMPLE}")
    twice = next((name for name, count in Counter(columns).items() if name and count > 1), None)
    if twice is not None:
        raise InputError(
            f"{path}: line 1 names the column `{twice}` more than once; name each column once"
        )
    blank = dict.fromkeys(COLUMNS, "")
    rows = []
    for line, cells in lines:
        if len(cells) > len(columns):
            raise InputError(
                f"{path}: line {line} has {len(cells)} cells, the first line names {len(columns)} columns; "
                f"put double quotes around cells that contain the separator"
            )
        row = {**blank, **dict(zip(columns, (cell.strip() for cell in cells), strict=False))}
        if not row["file"]:
            raise InputError(
                f"{path}: line {line} has no file; fill in the cell or delete the line"
            )
        rows.append((line, row))
    if not rows:
        raise InputError(
            f"{path}: has no rows below the names of the columns; add one for each utterance"
        )
    return rows, [name for name in columns if name and name not in COLUMNS]


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected a manifest, a table in UTF-8"
        ) from error
    if data.startswith((b"PK", b"\xd0\xcf\x11\xe0")):
        raise InputError(
            f"{path}: is a spreadsheet or an archive, not a text table; save it as CSV (UTF-8)"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: line {line} is not text in UTF-8; save the table as CSV (UTF-8)"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(
            f"{path}: line {line} holds bytes that no text has; expected a table, saved as CSV (UTF-8)"
        )
    return text


def _parsed(path: Path, reader) -> Iterator[tuple[int, list[str]]]:
    """The line number and cells of each row that is not blank."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{path}: line {line} cannot be read as a table ({error}); look for a double quote without its partner"
            ) from error
        if any(cell.strip() for cell in cells):
            yield line, cells


def _emotions(path: Path, rows: Sequence[tuple[int, dict[str, str]]]) -> dict[str, str | None]:
    """What every label of the manifest is called in `EMOTIONS`, None for a blank one."""
    counts = Counter(row["emotion"] for _, row in rows)
    emotions = {label: canonical(label) for label in counts}
    unknown = [label for label in counts if label and emotions[label] is None]
    if not unknown:
        return emotions
    line = next(line for line, row in rows if row["emotion"] in unknown)
    listed = ", ".join(
        f"{label[:40]} ({counts[label]:,} rows"
        + (f", did you mean {meant}?)" if (meant := nearest(label)) else ")")
        for label in sorted(unknown, key=lambda label: -counts[label])[:10]
    )
    more = ", ..." if len(unknown) > 10 else ""
    raise InputError(
        f"{path}: labels that name no known emotion, the first in line {line}: {listed}{more}; "
        f"use one of {', '.join(EMOTIONS)}, or leave the cell blank where there is no label"
    )


def _span(path: Path, line: int, row: dict[str, str]) -> tuple[float, float | None]:
    """Start and end of an utterance in seconds, as the row gives them."""
    start_s = _seconds(path, line, "start", row["start"]) if row["start"] else 0.0
    end_s = _seconds(path, line, "end", row["end"]) if row["end"] else None
    if end_s is not None and end_s <= start_s:
        raise InputError(
            f"{path}: line {line} starts at {start_s:g} s and ends at {end_s:g} s; `end` must be later than `start`"
        )
    return start_s, end_s


def _seconds(path: Path, line: int, column: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(
            f"{path}: line {line} has `{text[:40]}` in the column `{column}`; expected seconds, like 1.25"
        )
    return seconds
