"""How far the probabilities of predictions can be taken at their word: reliability in bins of confidence."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BINS = 10


class Bin(NamedTuple):
    """The predictions whose confidence lies between `low` (left out, but for 0) and `high`."""

    low: float
    high: float
    n: int
    confidence: float | None  # mean; None where the bin is empty
    accuracy: float | None


class Reliability(NamedTuple):
    """Confidence against accuracy."""

    n: int
    accuracy: float
    confidence: float  # mean
    ece: float
    bins: tuple[Bin, ...]


def reliability(probability: np.ndarray, emotion: np.ndarray, bins: int = BINS) -> Reliability | None:
    """Compares the probability of the predicted class with how often it is right.

    The expected calibration error is sum_b n_b / n |accuracy_b - confidence_b| over bins of equal width of the largest
    probability: Guo et al., "On calibration of modern neural networks" (ICML 2017), equation 3.

    Args:
      probability: [n, classes] float, rows that sum to 1.
      emotion: [n] int, labels from 0 to classes - 1; entries of -1 are unlabelled and left out.
      bins: how many.

    Returns:
      The comparison, or None where nothing is labelled.
    """
    labelled = np.asarray(emotion) >= 0
    probability, emotion = np.asarray(probability, np.float64)[labelled], np.asarray(emotion)[labelled]
    if not len(emotion):
        return None
    confidence = probability.max(-1)  # [n]
    right = probability.argmax(-1) == emotion
    edges = np.linspace(0, 1, bins + 1)
    number = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    found = [_bin(edges[b], edges[b + 1], confidence[number == b], right[number == b]) for b in range(bins)]
    gaps: Sequence[float] = [
        b.n * abs(b.accuracy - b.confidence) for b in found if b.accuracy is not None and b.confidence is not None
    ]
    return Reliability(len(emotion), float(right.mean()), float(confidence.mean()), sum(gaps) / len(emotion), tuple(found))


def _bin(low: float, high: float, confidence: np.ndarray, right: np.ndarray) -> Bin:
    if not len(confidence):
        return Bin(float(low), float(high), 0, None, None)
    return Bin(float(low), float(high), len(confidence), float(confidence.mean()), float(right.mean()))
