"""The few labels of the target that a user gives: who is named, and which emotion.

These labels are trained on. They are kept apart from the labels that a target's manifest may have,
which serve for scoring only.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from jdann.corpora import EMOTIONS, load, manifest
from jdann.corpora.index import Place, Utterance, place
from jdann.errors import InputError


def read_target_labels(
    spec: str,
    target: Sequence[Utterance],
    emotions: Sequence[str],
    data_dir: Path | None = None,
) -> np.ndarray:
    """Reads the labels of some utterances of the target.

    Args:
      spec: a table with the columns `file` and `emotion`, and with `start` and `end` where the
        target has them; rows without an emotion are ignored. Files are named by paths relative to
        the table, or as in the column `file` of the target. Or a folder whose clips are among
        those of the target, with emotions in its layout.
      target: all n utterances of the target.
      emotions: the emotions of the run. Labels of other emotions are ignored.
      data_dir: as for `jdann.corpora.load`.

    Returns:
      [n] int32, index into the emotions, -1 for an utterance without a label.

    Raises:
      InputError: the labels cannot be read, or `match_labels` refuses them.
    """
    return match_labels(_read_clips(spec, data_dir), spec, target, emotions)


def _read_clips(spec: str, data_dir: Path | None) -> Iterator[tuple[str, Utterance]]:
    """Yields where each utterance is named, for messages, and the utterance."""
    path = Path(spec).expanduser()
    if path.suffix.lower() in manifest.SUFFIXES and path.is_file():
        table = manifest.read_table(path)
        for line, utterance in manifest.read_utterances(path, table):
            yield f"{spec}: line {line}", utterance
    else:
        for utterance in load(spec, EMOTIONS, data_dir).utterances:
            yield f"{spec}: {utterance.file}", utterance


def match_labels(
    clips: Iterable[tuple[str, Utterance]],
    name: str,
    target: Sequence[Utterance],
    emotions: Sequence[str],
) -> np.ndarray:
    """Finds the utterances of the target that labelled clips name.

    Args:
      clips: where each clip is named, for messages, and the clip.
      name: of all labels, for messages.
      target: all n utterances of the target.
      emotions: the emotions of the run. Labels of other emotions are ignored.

    Returns:
      [n] int32, index into the emotions, -1 for an utterance without a label.

    Raises:
      InputError: a clip is not in the target or has two labels, no utterance has a label, or none
        is left without one.
    """
    number = {emotion: i for i, emotion in enumerate(emotions)}
    by_place, by_file = _index_utterances(target)
    labels = np.full(len(target), -1, np.int32)
    first: dict[int, str] = {}  # where an utterance got its label
    for where, clip in clips:
        if clip.emotion not in number:
            continue
        written = Place(clip.file, clip.start_s, clip.end_s)
        rows = by_place.get(place(clip)) or by_file.get(written, [])
        if len(rows) != 1:
            matches = f"is the name of {len(rows)} clips" if rows else "is no usable clip"
            raise InputError(
                f"{where}: {clip.file} {matches} of config.target; name each clip by its path, or "
                "as the target's list does, with start and end where the list has them"
            )
        (row,) = rows
        label = number[clip.emotion]
        if labels[row] not in (-1, label):
            raise InputError(
                f"{where}: labels {clip.file} {clip.emotion}, and {first[row]} labels it "
                f"{emotions[labels[row]]}; keep one of the two"
            )
        labels[row] = label
        first.setdefault(row, where)
    if not first:
        raise InputError(
            f"{name}: has no label among {', '.join(emotions)}; fill in the column `emotion` of "
            "some clips of the target"
        )
    if len(first) == len(labels):
        raise InputError(
            f"{name}: labels all {len(labels)} utterances of config.target; leave some without a "
            "label, or give all as config.source"
        )
    return labels


def _index_utterances(
    target: Sequence[Utterance],
) -> tuple[dict[Place, list[int]], dict[Place, list[int]]]:
    """The rows of the target by where the audio is, and by the file name as written."""
    by_place: dict[Place, list[int]] = defaultdict(list)
    by_file: dict[Place, list[int]] = defaultdict(list)
    for row, utterance in enumerate(target):
        by_place[place(utterance)].append(row)
        by_file[Place(utterance.file, utterance.start_s, utterance.end_s)].append(row)
    return by_place, by_file
