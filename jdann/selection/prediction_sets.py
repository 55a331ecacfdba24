"""Prediction sets: the emotions that a clip may show, instead of the most probable one alone.

Source: Romano et al. 2020, "Classification with valid and adaptive coverage"; with weights,
Tibshirani et al. 2019, "Conformal prediction under covariate shift".
"""

import math

import numpy as np

COVERAGE = 0.9  # the share of clips whose set is to hold their emotion


def make_sets(probabilities: np.ndarray, level: float) -> np.ndarray:
    """The most probable classes, as many as are needed for a total probability of `level`.

    Args:
      probabilities: [n, classes]; each row has the sum 1, or is NaN.
      level: above 0, at most 1; 1: all classes.

    Returns:
      bool [n, classes]; a row of NaN has an empty set, every other row one class or more.
    """
    if level >= 1:  # a class may have the probability 0
        return np.broadcast_to(
            ~np.isnan(probabilities).any(1, keepdims=True), probabilities.shape
        ).copy()
    return more_probable(probabilities) < level


def more_probable(probabilities: np.ndarray) -> np.ndarray:
    """The total probability of the classes that are more probable than each one: [n, classes].

    Of classes with the same probability, the first one counts as more probable.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, 1).astype(np.float64)
    before = np.zeros_like(ranked)
    before[:, 1:] = np.cumsum(ranked, axis=1)[:, :-1]
    before[np.isnan(probabilities).any(1)] = np.nan
    totals = np.empty_like(before)
    np.put_along_axis(totals, order, before, 1)
    return totals


def conformal_level(
    probabilities: np.ndarray,
    emotion: np.ndarray,
    coverage: float = COVERAGE,
    weight: np.ndarray | None = None,
) -> float:
    """The level at which sets hold the emotion of a share `coverage` of clips like these.

    This holds for new clips that are drawn as the labelled ones were, even if the probabilities
    are wrong; with weights it holds approximately. With few clips the sets must be larger: with
    fewer than nine, a coverage of .9 needs all classes.

    Args:
      probabilities: [n, classes] of labelled clips, n >= 1.
      emotion: int [n].
      coverage: 0 to 1.
      weight: [n], for how many clips each labelled one stands; None: the same for all.

    Returns:
      Above 0, at most 1; a multiple of .001.
    """
    scores = more_probable(probabilities)[np.arange(len(emotion)), emotion]
    counted = np.ones(len(emotion)) if weight is None else weight / weight.mean()
    order = np.argsort(scores)
    share = np.cumsum(counted[order]) / (len(emotion) + 1)  # the new clip counts as one more
    enough = np.flatnonzero(share >= coverage - 1e-9)
    if not len(enough):
        return 1.0
    return min(1.0, (math.floor(float(scores[order[enough[0]]]) * 1000) + 1) / 1000)
