"""How much of the differences between voices a grouping explains: persons, or emotions?

Groups of persons differ in voice: in the base of the pitch and in the formants. Groups of emotions
differ in expression: in the ranges of pitch and loudness.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

_EXPRESSION = ("pitch/range_20_80", "loudness/range_20_80")  # of a vector recipe
# Expression's share beside that of the formant, at most. It was chosen for names, with RAVDESS,
# CASIA, SAVEE and EmoDB in view, and is used for groups of voices as it is.
_EXPRESSION_RATIO = 0.5


class Voices(NamedTuple):
    """What tells a group of speakers from a group of emotions; one value per utterance."""

    pitch: np.ndarray  # [n] base of the pitch
    formant: np.ndarray  # [n] median third formant
    expression: np.ndarray  # [n, measures], such as the ranges of pitch and loudness

    def select(self, rows: np.ndarray | Sequence[int]) -> "Voices":
        """The same of some utterances."""
        return Voices(*(values[rows] for values in self))


class Shares(NamedTuple):
    """The shares of variance that a grouping explains."""

    pitch: float
    formant: float
    expression: float  # the largest of its measures

    @property
    def are_of_persons(self) -> bool:
        """Whether the groups differ in expression much less than in voice."""
        return self.expression <= _EXPRESSION_RATIO * self.formant


def read_voices(
    positions: np.ndarray | None,
    read_features: Callable[[], Iterable[np.ndarray]],
    bins: Sequence[str],
) -> Voices | None:
    """The voices of n utterances; None if the recipe lacks the third formant or the ranges.

    Args:
      positions: [n, 1 or 2] from `similar_voices.voice_positions`; None: the recipe has no pitch.
      read_features: reads n arrays [frames, bins], or [1, values] of a vector recipe.
      bins: name of each bin.
    """
    if positions is None or positions.shape[1] < 2 or not set(_EXPRESSION) <= set(bins):
        return None
    columns = [bins.index(name) for name in _EXPRESSION]
    expression = np.array([x[0, columns] for x in read_features()], np.float64)
    return Voices(positions[:, 0], positions[:, 1], expression)


def explained(voices: Voices, group: np.ndarray) -> Shares:
    """The shares of variance that n group numbers explain.

    Args:
      voices: of n utterances.
      group: [n] int, from 0 and without gaps.
    """
    return Shares(
        pitch=share(voices.pitch, group),
        formant=share(voices.formant, group),
        expression=max(share(values, group) for values in voices.expression.T),
    )


def share(values: np.ndarray, group: np.ndarray) -> float:
    """The share of the variance of [n] values that n group numbers explain.

    It is omega squared, which is about 0 for random groups of any number: Hays 1963, "Statistics
    for Psychologists". It may be slightly negative.
    """
    n, size = len(values), np.bincount(group)
    centred = values - values.mean()
    total = np.square(centred).sum()
    between = (np.bincount(group, centred) ** 2 / size).sum()
    within_mean_square = (total - between) / max(n - len(size), 1)
    if total <= 0:
        return 0.0
    return float((between - (len(size) - 1) * within_mean_square) / (total + within_mean_square))
