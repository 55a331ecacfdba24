"""Reads the few labels of the target that a user gives for training.

They are kept apart from the labels that a target's manifest may have, which are for scoring only.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from jdann.corpora import EMOTIONS, Naming, load, manifest, tables
from jdann.corpora.index import Place, Utterance, place
from jdann.corpora.naming import AS_USUAL, AUTO
from jdann.errors import InputError


def read_target_labels(
    spec: str,
    target: Sequence[Utterance],
    emotions: Sequence[str],
    data_dir: Path | None = None,
    naming: Naming = AS_USUAL,
) -> np.ndarray:
    """Reads the labels of some utterances of the target.

    Args:
      spec: a table, or a folder of clips of the target in a known layout. A table has the columns
        `file` and `emotion`, and also `start` and `end` if the target has them. A file is named by
        a path relative to the table, or as in the column `file` of the target. Rows without an
        emotion are ignored.
      target: all n utterances of the target.
      emotions: the emotions of the run. Labels of other emotions are ignored.
      data_dir: as for `jdann.corpora.load`.
      naming: what the labels mean.

    Returns:
      [n] int32, index into the emotions, -1 for an utterance without a label.

    Raises:
      InputError: the labels cannot be read, or `match_labels` refuses them.
    """
    return match_labels(_read_clips(spec, data_dir, naming), spec, target, emotions)


def _read_clips(
    spec: str, data_dir: Path | None, naming: Naming
) -> Iterator[tuple[str, Utterance]]:
    """Yields each utterance, and before it the line or file that names it, for messages."""
    path = Path(spec).expanduser()
    if path.suffix.lower() in tables.SUFFIXES and path.is_file():
        table = tables.read_table(path)
        for line, utterance in manifest.read_utterances(path, table, naming):
            yield f"{spec}: line {line}", utterance
    else:
        # It is one folder, also if the target is several, each with its layout.
        naming = naming._replace(layout=AUTO) if "," in naming.layout else naming
        for utterance in load(spec, EMOTIONS, data_dir, naming).utterances:
            yield f"{spec}: {utterance.file}", utterance


def match_labels(
    clips: Iterable[tuple[str, Utterance]],
    name: str,
    target: Sequence[Utterance],
    emotions: Sequence[str],
) -> np.ndarray:
    """Finds each labelled clip among the utterances of the target.

    Args:
      clips: the clips, and before each the line or file that names it, for messages.
      name: name of the table or folder, for messages.
      target: all n utterances of the target.
      emotions: the emotions of the run. Labels of other emotions are ignored.

    Returns:
      [n] int32, index into the emotions, -1 for an utterance without a label.

    Raises:
      InputError: a clip is not in the target or has two labels, no utterance has a label, or none
        is left without one.
    """
    emotion_index = {emotion: i for i, emotion in enumerate(emotions)}
    by_place, by_file = _index_utterances(target)
    labels = np.full(len(target), -1, np.int32)
    label_line: dict[int, str] = {}  # of each labelled row: the line that labels it first
    for line, clip in clips:
        if clip.emotion not in emotion_index:
            continue
        name_in_list = Place(clip.file, clip.start_s, clip.end_s)
        rows = by_place.get(place(clip)) or by_file.get(name_in_list, [])
        if len(rows) != 1:
            matches = f"is the name of {len(rows)} clips" if rows else "is no usable clip"
            raise InputError(
                f"{line}: {clip.file} {matches} of config.target; name each clip by its path, or "
                "as the target's list does, with start and end where the list has them"
            )
        (row,) = rows
        label = emotion_index[clip.emotion]
        if labels[row] not in (-1, label):
            raise InputError(
                f"{line}: labels {clip.file} {clip.emotion}, and {label_line[row]} labels it "
                f"{emotions[labels[row]]}; keep one of the two"
            )
        labels[row] = label
        label_line.setdefault(row, line)
    if not label_line:
        raise InputError(
            f"{name}: has no label among {', '.join(emotions)}; fill in the column `emotion` of "
            "some clips of the target"
        )
    if len(label_line) == len(labels):
        raise InputError(
            f"{name}: labels all {len(labels)} utterances of config.target; leave some without a "
            "label, or give all as config.source"
        )
    return labels


def _index_utterances(
    target: Sequence[Utterance],
) -> tuple[dict[Place, list[int]], dict[Place, list[int]]]:
    """The rows of the target by the place of their audio, and by their name in its list."""
    by_place: dict[Place, list[int]] = defaultdict(list)
    by_file: dict[Place, list[int]] = defaultdict(list)
    for row, utterance in enumerate(target):
        by_place[place(utterance)].append(row)
        by_file[Place(utterance.file, utterance.start_s, utterance.end_s)].append(row)
    return by_place, by_file
