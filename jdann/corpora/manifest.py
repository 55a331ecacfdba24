"""The manifest: a corpus as a table.

Each row of the table is one utterance. It says where the audio is and what is known about it.
"""

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from jdann import remote
from jdann.corpora.cells import audio_path, parse_seconds
from jdann.corpora.index import Corpus, Skipped, Utterance
from jdann.corpora.labels import (
    EMOTIONS,
    canonical_gender,
    canonical_language,
    suggest_spelling,
)
from jdann.corpora.naming import AS_USUAL, Naming
from jdann.corpora.no_person import is_missing, known
from jdann.corpora.tables import COLUMNS, Table, read_table
from jdann.errors import InputError
from jdann.terminal import counted, listed


def load_manifest(path: Path, naming: Naming = AS_USUAL, folder: str | None = None) -> Corpus:
    """Reads a manifest.

    Args:
      path: a table as `read_table` takes it. It may have any of the `COLUMNS`. `start` and `end`
        are in seconds. A blank cell means that the value is not known; an utterance without an
        emotion is unlabelled.
      naming: what the labels mean.
      folder: to which paths in the column `file` are relative, also a URL; None: that of the table.

    Returns:
      All utterances in the order of the rows, whatever their emotion. Rows whose audio file is
      missing are skipped.

    Raises:
      InputError: the manifest cannot be used; the message names the line.
    """
    return make_corpus(path, [(path, read_table(path))], naming, folder)


def make_corpus(
    path: Path, tables: Sequence[tuple[Path, Table]], naming: Naming, folder: str | None = None
) -> Corpus:
    """The utterances of one or several tables as a corpus.

    Args:
      path: of the corpus.
      tables: each with its path, for messages.
      naming: what the labels mean.
      folder: as for `load_manifest`.

    Returns:
      As `load_manifest`.

    Raises:
      InputError: a row cannot be read, or no audio file exists.
    """
    utterances: list[Utterance] = []
    skipped: list[Skipped] = []
    emotion_of_span: dict[tuple[str, float, float | None], str | None] = {}
    repeated = contradicting = 0
    rows = (
        (table_path, line, utterance)
        for table_path, table in tables
        for line, utterance in read_utterances(table_path, table, naming, folder)
    )
    for table_path, line, utterance in rows:
        span = (utterance.path, utterance.start_s, utterance.end_s)
        if span in emotion_of_span:
            repeated += 1
            contradicting += emotion_of_span[span] != utterance.emotion
            continue
        emotion_of_span[span] = utterance.emotion
        # A missing file at a URL is found when it is read: to ask before would take as long.
        if not remote.is_url(utterance.path) and not os.path.isfile(utterance.path):  # noqa: PTH113
            is_folder = os.path.isdir(utterance.path)  # noqa: PTH112
            reason = "is a folder, not an audio file" if is_folder else "no such file"
            skipped.append(Skipped(utterance.file, f"{reason} (line {line} of {table_path.name})"))
            continue
        utterances.append(utterance)
    if not utterances:
        raise InputError(
            f"{path}: no audio file exists, of {counted(len(skipped), 'row')}, e.g. "
            f"{skipped[0].file}; "
            f"paths are relative to {tables[0][0].absolute().parent}: move the table or correct "
            "the column file"
        )
    return Corpus(
        name=path.name,
        description=path.name,
        synthetic=False,
        utterances=tuple(utterances),
        skipped=tuple(skipped),
        notes=tuple(_notes([table for _, table in tables], repeated, contradicting)),
    )


def read_utterances(
    path: Path, table: Table, naming: Naming = AS_USUAL, folder: str | None = None
) -> Iterator[tuple[int, Utterance]]:
    """Yields the line and the utterance of each row, also where the audio file is missing.

    Args:
      path: the file of the table.
      table: what `read_table` returned.
      naming: what the labels mean.
      folder: as for `load_manifest`.

    Raises:
      InputError: a label or a span cannot be read; the message names the line.
    """
    emotions = read_emotions(path, table, naming)
    folder = folder or os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
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


def _notes(tables: Sequence[Table], repeated: int, contradicting: int) -> Iterator[str]:
    """What the user should know about a manifest that could be read."""
    columns = dict.fromkeys(name for table in tables for name in table.columns)
    ignored = [name for name in columns if name and name not in COLUMNS]
    if ignored:
        yield f"columns that mean nothing here and are ignored: {listed(ignored)}"
    if repeated:
        conflict = f", {contradicting:,} of them with another emotion" if contradicting else ""
        verb = "repeats" if repeated == 1 else "repeat"
        yield f"{counted(repeated, 'row')} {verb} an earlier one{conflict}; the first was kept"


def read_emotions(path: Path, table: Table, naming: Naming = AS_USUAL) -> dict[str, str | None]:
    """Maps each label of a table to a name in `EMOTIONS`, and a blank label to None.

    Args:
      path: of the table, for the message.
      table: from `read_table`; without a column `emotion` all labels are blank.
      naming: what the labels mean.

    Raises:
      InputError: a label names no known emotion; the message has the line.
    """
    labels = [row.get("emotion", "") for row in table.rows]
    counts = Counter(labels)
    emotions = {label: naming.emotion(label) for label in counts}
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
        f"use one of {', '.join(EMOTIONS)}, say what a word means by "
        f"{naming.labels_option}=WORD=EMOTION, or leave the cell blank where there is no label"
    )


def _unknown_label(label: str, count: int) -> str:
    suggestion = suggest_spelling(label)
    question = f", did you mean {suggestion}?" if suggestion else ""
    return f"{label[:40]} ({counted(count, 'row')}{question})"


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
