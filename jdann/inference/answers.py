"""What a recogniser says about a clip: probabilities, and a reason to doubt them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

UNFAMILIAR = "unlike the speech that the model adapted to"
_CLOSE = 0.1  # the difference of two probabilities below which both emotions are nearly as likely


class Answer(NamedTuple):
    """The answer for a clip, or for a window of a recording."""

    probabilities: np.ndarray  # [classes] float32; NaN if there is no speech
    doubt: str  # a short reason to doubt the answer; empty if there is none


def find_doubt(
    labels: Sequence[str], probabilities: np.ndarray, is_unfamiliar: bool = False
) -> str:
    """A short reason to doubt an answer; empty if there is none.

    Args:
      labels: the emotions.
      probabilities: [classes], calibrated; NaN if there is no speech.
      is_unfamiliar: whether the speech is unlike any that the model has adapted to.
    """
    if np.isnan(probabilities).any():
        return ""
    if is_unfamiliar:
        return UNFAMILIAR
    first, second = np.argsort(-probabilities, kind="stable")[:2]
    if probabilities[first] - probabilities[second] < _CLOSE:
        return f"{labels[second]} is nearly as likely"
    return ""
