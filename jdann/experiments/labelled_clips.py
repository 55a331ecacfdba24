"""Reads a csv of a few labelled clips, and finds them in the target of a run."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jdann.corpora import Naming, Utterance
from jdann.corpora.cells import audio_path
from jdann.corpora.index import Place, place
from jdann.corpora.manifest import read_emotions, read_span
from jdann.corpora.naming import AS_USUAL
from jdann.corpora.no_person import known
from jdann.corpora.tables import read_table
from jdann.errors import InputError

WEIGHT = "weight"  # column of a csv that `jdann evaluate --suggest` wrote


class Label(NamedTuple):
    """A row of a csv of clips."""

    line: int
    place: Place
    path: str  # of the audio, if `place.file` is relative to the csv
    emotion: str | None  # None: not labelled
    speaker: str | None
    weight: float | None  # how many clips of the target it represents; None: not known


def read_labels(path: Path, naming: Naming = AS_USUAL) -> list[Label]:
    """Reads a csv of clips; some of them or all are labelled.

    Args:
      path: a table with the column `file` and any of `emotion`, `speaker`, `start`, `end` and
        `weight`, as `jdann evaluate --suggest` writes it.
      naming: what the labels mean.

    Returns:
      The clips in the order of the rows. If a clip is listed twice, it is returned once.

    Raises:
      InputError: the table cannot be read, a label is unknown, or a clip has two labels.
    """
    table = read_table(path)
    emotions = read_emotions(path, table, naming)
    labels: dict[Place, Label] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        place = Place(row["file"], *read_span(path, line, row))
        label = Label(
            line,
            place,
            os.path.realpath(audio_path(os.path.abspath(path.parent), row["file"])),  # noqa: PTH100
            emotions[row.get("emotion", "")],
            known(row.get("speaker", "")) or None,
            _read_weight(path, line, row.get(WEIGHT, "")),
        )
        first = labels.setdefault(place, label)
        if first.emotion != label.emotion:
            raise InputError(
                f"{path}: line {line} labels {place.file} as {label.emotion or 'nothing'} and line "
                f"{first.line} as {first.emotion or 'nothing'}; keep one of the two"
            )
    return list(labels.values())


def _read_weight(path: Path, line: int, text: str) -> float | None:
    if not text:
        return None
    try:
        weight = float(text)
    except ValueError:
        weight = float("nan")
    if not 0 < weight < float("inf"):
        raise InputError(
            f"{path}: line {line} has {text[:40]!r} in the column `{WEIGHT}`; expected a number "
            "above 0 as jdann evaluate --suggest wrote it, or delete the column"
        )
    return weight


def keep_labelled(
    path: Path, labels: Sequence[Label], emotions: Sequence[str]
) -> tuple[list[Label], int]:
    """The clips that can be scored.

    Args:
      path: the csv, for messages.
      labels: its clips.
      emotions: the classes of the run.

    Returns:
      The clips that are labelled with one of the classes, and how many clips have another label.

    Raises:
      InputError: nothing is labelled, or all labels are the same.
    """
    labelled = [label for label in labels if label.emotion is not None]
    if not labelled:
        raise InputError(
            f"{path}: no row has an emotion; write what you hear into the column emotion, one of "
            f"{', '.join(emotions)}"
        )
    kept = [label for label in labelled if label.emotion in emotions]
    if not kept:
        raise InputError(
            f"{path}: no label is an emotion of this run ({', '.join(emotions)}); the first, in "
            f"line {labelled[0].line}, is {labelled[0].emotion}"
        )
    names = {label.emotion for label in kept}
    if len(names) == 1:
        raise InputError(
            f"{path}: all {len(kept)} labels are {names.pop()}, which says nothing about the "
            "other emotions; label clips of at least two emotions"
        )
    return kept, len(labelled) - len(kept)


def find_rows(
    path: Path,
    labels: Sequence[Label],
    places: Sequence[Place],
    target: Sequence[Utterance] | None,
    run: Path,
) -> list[int]:
    """The position of each labelled clip among the clips of a run's target.

    Clips are compared by the path of their audio. If there is no file at this path, or if the
    target cannot be read any more, they are compared by their names in predictions.csv.

    Args:
      path: the csv, for the message.
      labels: the labelled clips.
      places: those of the target's clips, as in predictions.csv.
      target: its utterances; None: they cannot be read.
      run: the work directory, for the message.

    Returns:
      One index into `places` for each label.

    Raises:
      InputError: a clip is not in the target.
    """
    row_of_name = {name: row for row, name in enumerate(places)}
    row_of_audio: Mapping[Place, int] = {}
    if target is not None:
        audio = {Place(u.file, u.start_s, u.end_s): place(u) for u in target}
        row_of_audio = {audio[name]: row for name, row in row_of_name.items() if name in audio}
    rows: list[int | None] = []
    for label in labels:
        has_audio = target is not None and Path(label.path).exists()
        audio_place = label.place._replace(file=label.path)
        rows.append(row_of_audio.get(audio_place) if has_audio else row_of_name.get(label.place))
    missing = [label for label, row in zip(labels, rows, strict=True) if row is None]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(labels)} clips are not in the target of {run}, the "
            f"first being {missing[0].place.file} (line {missing[0].line}); correct the column "
            f"file, or score clips from elsewhere by jdann evaluate {run} --target {path}"
        )
    return [row for row in rows if row is not None]
