"""Calibration: how far probabilities can be trusted, and a temperature without target labels."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jdann.evaluation.metrics import mean_probabilities

BINS = 15
RANGE = (0.25, 10.0)  # of a temperature
GRID = 41  # temperatures that are tried before the search between two of them
THRESHOLDED = "thresholded_confidence"
ESTIMATED = "estimated_accuracy"  # the rule that is used, see `jdann.selection.accuracy`


class Reliability(NamedTuple):
    """Confidence and accuracy of predictions, in bins of equal width over the confidence."""

    edges: np.ndarray  # [bins + 1]
    count: np.ndarray  # [bins] int
    confidence: np.ndarray  # [bins] mean, NaN where a bin is empty
    accuracy: np.ndarray  # [bins] mean, NaN where a bin is empty


def reliability(probabilities: np.ndarray, emotion: np.ndarray, bins: int = BINS) -> Reliability:
    """Returns the numbers of a reliability diagram.

    Args:
      probabilities: [n, classes] float.
      emotion: [n] int; -1 is unlabelled, and such rows are ignored.
      bins: number of bins. A confidence on an edge belongs to the lower bin.

    Returns:
      The Reliability.
    """
    labelled = emotion >= 0
    probabilities, emotion = probabilities[labelled], emotion[labelled]
    confidence, correct = probabilities.max(-1), probabilities.argmax(-1) == emotion
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # of the bin
    count = np.bincount(index, minlength=bins)

    def mean(values: np.ndarray) -> np.ndarray:
        total = np.bincount(index, values, minlength=bins)
        return np.divide(total, count, out=np.full(bins, np.nan), where=count > 0)

    return Reliability(edges, count, mean(confidence), mean(correct.astype(float)))


def expected_calibration_error(
    probabilities: np.ndarray, emotion: np.ndarray, bins: int = BINS
) -> float | None:
    """Returns the mean difference of confidence and accuracy over bins, weighted by their counts.

    Guo et al. 2017, "On calibration of modern neural networks", ICML, equation 3.

    Args:
      probabilities: [n, classes] float.
      emotion: [n] int; -1 is unlabelled, and such rows are ignored.
      bins: number of bins of equal width.

    Returns:
      The error, 0 to 1, or None if no row is labelled.
    """
    diagram = reliability(probabilities, emotion, bins)
    total = diagram.count.sum()
    if not total:
        return None
    difference = np.abs(diagram.confidence - diagram.accuracy)
    return float(np.nansum(diagram.count * difference) / total)


def fit_temperature(
    logits: np.ndarray, emotion: np.ndarray, weight: np.ndarray | None = None
) -> float:
    """Returns the temperature with the smallest weighted negative log-likelihood of an ensemble.

    argmin_T sum_i w_i -log p_i(T), with p of `mean_probabilities`.

    Source: without weights and with one member, the temperature scaling of Guo et al. 2017, "On
    calibration of modern neural networks", ICML, section 4.2. With density ratios as weights, Park
    et al. 2020, "Calibrated prediction with covariate shift via unsupervised domain adaptation",
    AISTATS.

    Args:
      logits: [members, n, classes].
      emotion: [n] int; -1 is unlabelled, and such rows are ignored.
      weight: [n], above 0; None: all rows have the same weight.

    Returns:
      The temperature, within RANGE; 1 if no row is labelled.
    """
    labelled = emotion >= 0
    if not labelled.any():
        return 1.0
    logits, emotion = logits[:, labelled], emotion[labelled]
    weight = np.ones(len(emotion)) if weight is None else np.asarray(weight, np.float64)[labelled]

    def risk(temperature: float) -> float:
        probabilities = mean_probabilities(logits, temperature)
        likelihood = np.maximum(probabilities[np.arange(len(emotion)), emotion], 1e-300)
        return float(-(weight * np.log(likelihood)).sum())

    return _best_temperature(risk)


def estimated_accuracy(source: np.ndarray, emotion: np.ndarray, target: np.ndarray) -> float:
    """Estimates the accuracy on the target by its average thresholded confidence.

    The threshold t is chosen so that the part of the held-out source with a confidence below t is
    as large as the part that is recognised wrongly. The estimate is the part of the target with a
    confidence of at least t.

    Source: Garg et al. 2022, "Leveraging unlabeled data to predict out-of-distribution
    performance", ICLR.

    Args:
      source: [n, classes] probabilities of held-out labelled source.
      emotion: [n] int, its labels.
      target: [m, classes] probabilities.

    Returns:
      The estimate, 0 to 1.
    """
    wrong = source.argmax(-1) != emotion
    threshold = np.quantile(source.max(-1), wrong.mean(), method="higher")
    return float((target.max(-1) >= threshold).mean())


def match_confidence(logits: Sequence[np.ndarray], accuracy: float) -> float:
    """Returns the temperature at which the mean confidence of ensembles equals an accuracy.

    The accuracy can be an estimate without labels. Confidence decreases with the temperature.

    Args:
      logits: of each ensemble, [members, n, classes].
      accuracy: 0 to 1.

    Returns:
      The temperature, within RANGE.
    """

    def distance(temperature: float) -> float:
        rows = [mean_probabilities(values, temperature).max(-1) for values in logits]
        return abs(float(np.concatenate(rows).mean()) - accuracy)

    return _best_temperature(distance)


class Evidence(NamedTuple):
    """The outputs of the members of one training for speech that they were not trained on."""

    source: np.ndarray  # [members, n, classes] logits of held-out source
    emotion: np.ndarray  # [n] int, its labels
    weight: np.ndarray  # [n] density ratios, target over source
    target: np.ndarray  # [members, m, classes] logits of the target of the adaptation


def temperatures(evidence: Evidence) -> dict[str, float]:
    """Returns the temperature of each rule that needs no target label.

    Returns:
      "none" is 1.
      "source" is fitted to the held-out source.
      "importance_weighted" is fitted to it too, with the density ratios as weights.
      THRESHOLDED makes the mean confidence on the target equal to its
      `estimated_accuracy`. It is at least 1: labels of another domain are no reason to be more
      confident than after training.
    """
    source = mean_probabilities(evidence.source, 1.0)
    target = mean_probabilities(evidence.target, 1.0)
    accuracy = estimated_accuracy(source, evidence.emotion, target)
    return {
        "none": 1.0,
        "source": fit_temperature(evidence.source, evidence.emotion),
        "importance_weighted": fit_temperature(evidence.source, evidence.emotion, evidence.weight),
        THRESHOLDED: max(1.0, match_confidence([evidence.target], accuracy)),
    }


def _best_temperature(cost: Callable[[float], float]) -> float:
    """Returns the temperature within RANGE with the smallest cost.

    It searches on a logarithmic scale: first a grid, since the cost may have several minima, then
    Brent's method between the neighbours of the best grid point.
    """
    # SciPy's optimisers take half a second to import, and the report, which imports this module,
    # fits no temperature.
    from scipy.optimize import minimize_scalar

    def log_cost(log_temperature: float) -> float:
        return cost(float(np.exp(log_temperature)))

    low, high = np.log(RANGE)
    grid = np.linspace(low, high, GRID)
    best = int(np.argmin([log_cost(x) for x in grid]))
    bounds = grid[max(0, best - 1)], grid[min(GRID - 1, best + 1)]
    options = {"xatol": 1e-7}
    result = minimize_scalar(log_cost, bounds=bounds, method="bounded", options=options)
    return float(np.exp(result.x))
