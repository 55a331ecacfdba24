"""How far probabilities can be believed: the expected calibration error, and a temperature fitted without target labels."""

from typing import Any, NamedTuple

import numpy as np

from jdann.evaluation.metrics import UNLABELLED

BINS = 15
RANGE = (0.25, 10.0)  # of a temperature
# Of the ways in `temperatures`. A fit to the source sharpens what is already too sure of itself on another corpus
# (docs/predict.md has the measured errors of all of them).
CHOSEN = "thresholded_confidence"
_GOLDEN = (np.sqrt(5) - 1) / 2


class Reliability(NamedTuple):
    """Confidence and accuracy of predictions, in bins of equal width over the confidence."""

    edges: np.ndarray  # [bins + 1]
    count: np.ndarray  # [bins] int
    confidence: np.ndarray  # [bins] mean, NaN where a bin is empty
    accuracy: np.ndarray  # [bins] mean, NaN where a bin is empty


def reliability(probabilities: np.ndarray, emotion: np.ndarray, bins: int = BINS) -> Reliability:
    """What a reliability diagram shows.

    Args:
      probabilities: [n, classes] float.
      emotion: [n] int, -1 where unlabelled, which counts for nothing.
      bins: of equal width; a confidence on an edge belongs to the lower one.

    Returns:
      The Reliability.
    """
    labelled = emotion != UNLABELLED
    probabilities, emotion = probabilities[labelled], emotion[labelled]
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == emotion
    edges = np.linspace(0, 1, bins + 1)
    of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(of, minlength=bins)

    def mean(values: np.ndarray) -> np.ndarray:
        total = np.bincount(of, values, minlength=bins)
        return np.divide(total, count, out=np.full(bins, np.nan), where=count > 0)

    return Reliability(edges, count, mean(confidence), mean(right.astype(float)))


def expected_calibration_error(
    probabilities: np.ndarray, emotion: np.ndarray, bins: int = BINS
) -> float | None:
    """Mean distance of confidence and accuracy over the bins, each weighted by its count.

    Guo et al. 2017, "On calibration of modern neural networks", ICML, equation 3.

    Args:
      probabilities: [n, classes] float.
      emotion: [n] int, -1 where unlabelled.
      bins: of equal width.

    Returns:
      The error, 0 to 1; None where nothing is labelled.
    """
    found = reliability(probabilities, emotion, bins)
    if not found.count.sum():
        return None
    return float(
        np.nansum(found.count * np.abs(found.confidence - found.accuracy)) / found.count.sum()
    )


def ensemble_probability(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [n, classes] of logits [members, n, classes]: the mean over members of softmax(logits / temperature)."""
    scaled = np.asarray(logits, np.float64) / temperature
    exponential = np.exp(scaled - scaled.max(-1, keepdims=True))
    return (exponential / exponential.sum(-1, keepdims=True)).mean(0)


def fit_temperature(
    logits: np.ndarray, emotion: np.ndarray, weight: np.ndarray | None = None
) -> float:
    """The temperature of the least weighted negative log-likelihood of an ensemble.

    argmin_T sum_i w_i -log p_i(T), p = `ensemble_probability`. Without weights and with one member it is the temperature
    scaling of Guo et al. 2017, "On calibration of modern neural networks", ICML, section 4.2; with density ratios as weights
    that of Park et al. 2020, "Calibrated prediction with covariate shift via unsupervised domain adaptation", AISTATS.

    Args:
      logits: [members, n, classes].
      emotion: [n] int, -1 where unlabelled, which counts for nothing.
      weight: [n], above 0; None: all equal.

    Returns:
      The temperature, within RANGE; 1 where nothing is labelled.
    """
    labelled = emotion != UNLABELLED
    if not labelled.any():
        return 1.0
    logits, emotion = logits[:, labelled], emotion[labelled]
    weight = np.ones(len(emotion)) if weight is None else np.asarray(weight, np.float64)[labelled]

    def risk(log_temperature: float) -> float:
        chances = ensemble_probability(logits, np.exp(log_temperature))
        return float(
            -(weight * np.log(np.maximum(chances[np.arange(len(emotion)), emotion], 1e-300))).sum()
        )

    return float(np.exp(_least(risk, *np.log(RANGE))))


def estimated_accuracy(source: np.ndarray, emotion: np.ndarray, target: np.ndarray) -> float:
    """The accuracy on the target by its average thresholded confidence.

    The part of the target whose confidence is at least t, where as large a part of the held-out source lies below t as is
    recognised wrongly there. Garg et al. 2022, "Leveraging unlabeled data to predict out-of-distribution performance", ICLR.

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


def match_confidence(logits: np.ndarray, accuracy: float) -> float:
    """The temperature at which an ensemble's mean confidence is an accuracy that was estimated without labels.

    Args:
      logits: [members, n, classes].
      accuracy: 0 to 1.

    Returns:
      The temperature, within RANGE: confidence falls as it rises.
    """

    def distance(log_temperature: float) -> float:
        return abs(
            float(ensemble_probability(logits, np.exp(log_temperature)).max(-1).mean()) - accuracy
        )

    return float(np.exp(_least(distance, *np.log(RANGE))))


class Evidence(NamedTuple):
    """What one training's members say of speech that they were not fitted to."""

    source: np.ndarray  # [members, n, classes] logits of held-out source
    emotion: np.ndarray  # [n] int, its labels
    weight: np.ndarray  # [n] density ratios, target over source
    target: np.ndarray  # [members, m, classes] logits of the target that was adapted to


def temperatures(evidence: Evidence) -> dict[str, float]:
    """The temperature by each of the ways that need no target label.

    Returns:
      "none" is 1; "source" fits the held-out source; "importance_weighted" too, weighted towards the target;
      "thresholded_confidence" matches the target's mean confidence with its `estimated_accuracy`, and is at least 1: what
      was learnt elsewhere gives no reason to be surer than training made it.
    """
    source, target = (
        ensemble_probability(logits, 1.0) for logits in (evidence.source, evidence.target)
    )
    accuracy = estimated_accuracy(source, evidence.emotion, target)
    return {
        "none": 1.0,
        "source": fit_temperature(evidence.source, evidence.emotion),
        "importance_weighted": fit_temperature(evidence.source, evidence.emotion, evidence.weight),
        CHOSEN: max(1.0, match_confidence(evidence.target, accuracy)),
    }


def _least(function: Any, low: float, high: float) -> float:
    """Where `function` is least: the best of a grid, then golden section beside it."""
    grid = np.linspace(low, high, 41)
    best = int(np.argmin([function(x) for x in grid]))
    low, high = grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)]
    while high - low > 1e-7:
        width = _GOLDEN * (high - low)
        if function(high - width) <= function(low + width):
            high = low + width
        else:
            low = high - width
    return float((low + high) / 2)
