"""Reads predictions.csv of a run: what each method predicts for each utterance of a target."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jdann.corpora.index import Place
from jdann.errors import InputError
from jdann.evaluation.metrics import UNLABELLED
from jdann.files import without_apostrophe

_NAMES = ("source", "target", "file", "speaker")  # columns that the user has named


class MethodPredictions(NamedTuple):
    """What one method predicts for one target."""

    source: str
    target: str
    method: str
    encoder: str
    emotion: np.ndarray  # [n] int, UNLABELLED where there is no label
    probability: np.ndarray  # [n, classes] float, the mean over seeds
    places: tuple[Place, ...]  # n, with files as the target's list writes them
    speaker: tuple[str, ...]  # n, "" where unknown


def read_predictions(path: Path, emotions: Sequence[str]) -> list[MethodPredictions]:
    """The predictions of each method for each target.

    Args:
      path: predictions.csv.
      emotions: the classes of the run.

    Returns:
      One entry for each method, encoder and direction, in the order of the file; none if the file
      is missing.

    Raises:
      InputError: the file is damaged.
    """
    if not path.exists():
        return []
    index = {name: i for i, name in enumerate(emotions)}
    groups: dict[tuple[str, str, str, str], list[tuple[int, list[float], Place, str]]] = {}
    try:
        with path.open(newline="", encoding="utf-8", errors="backslashreplace") as file:
            for row in csv.DictReader(file):
                row |= {name: without_apostrophe(row[name]) for name in _NAMES}
                end_s = float(row["end"]) if row["end"] else None
                place = Place(row["file"], float(row["start"] or 0), end_s)
                probability = [float(row[f"p_{name}"]) for name in emotions]
                group = (row["source"], row["target"], row["method"], row["encoder"])
                emotion = index.get(row["emotion"], UNLABELLED)
                groups.setdefault(group, []).append((emotion, probability, place, row["speaker"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: is damaged ({error!r}); write it anew by jdann evaluate {path.parent}"
        ) from error
    return [
        MethodPredictions(
            *group,
            emotion=np.array([row[0] for row in rows]),
            probability=np.array([row[1] for row in rows]),
            places=tuple(row[2] for row in rows),
            speaker=tuple(row[3] for row in rows),
        )
        for group, rows in groups.items()
    ]
