"""The accuracy on an unlabelled target, estimated from the probabilities of its utterances.

The estimate was fitted to co-training, whose labels are less certain where its evidence is weak
(`jdann.methods.co_training`), and it is used for all methods: docs/trust.md says how well it fits.
"""

from typing import NamedTuple

import numpy as np

# Fitted by benchmarks/trust.py to all of its tasks. docs/trust.md has the errors for target corpora
# that were left out of the fit. The first coefficient is the constant.
COEFFICIENTS = (-0.1259, -0.0176, 0.334, 1.9496, 0.0458, 0.0239)
HALF_WIDTH = 0.26  # of the interval that contains the accuracy of about 90 of 100 tasks
_RIDGE = 3.0
_LARGEST_CONFIDENCE = 0.99


class Estimate(NamedTuple):
    """An accuracy, 0 to 1, and a 90 % interval."""

    accuracy: float
    low: float
    high: float


def evidence(probabilities: np.ndarray, by_speaker: bool) -> np.ndarray:
    """What the accuracy is estimated from.

    Args:
      probabilities: [n, classes] of the target's utterances, not calibrated.
      by_speaker: whether the target is normalised by speaker: by ids, or by groups of voices.

    Returns:
      [5]: the log odds of the mean confidence; the share of the rarest predicted class, relative to
      an even share; the accuracy by chance; whether it is normalised by speaker; and the first
      one again, zero if it is not. Labels that are wrong together often give one class to few
      utterances. Confidence tells little where it is not normalised by speaker.
    """
    confidence = min(float(probabilities.max(1).mean()), _LARGEST_CONFIDENCE)
    log_odds = np.log(confidence / (1 - confidence))
    chance, known = 1 / probabilities.shape[1], float(by_speaker)
    return np.array([log_odds, rarest_share(probabilities), chance, known, known * log_odds])


def rarest_share(probabilities: np.ndarray) -> float:
    """The share of the rarest predicted class, relative to an even share.

    Args:
      probabilities: [n, classes].
    """
    n, classes = probabilities.shape
    count = np.bincount(probabilities.argmax(1), minlength=classes)
    return float(count.min() * classes / n)


def fit(features: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Ridge regression of the accuracy on standardised features.

    Args:
      features: [tasks, features].
      truth: [tasks], the accuracy of each.

    Returns:
      [1 + features]: the constant, and the coefficient of each feature.
    """
    mean, std = features.mean(0), features.std(0)
    scores = (features - mean) / np.where(std > 0, std, 1)
    gram = scores.T @ scores + _RIDGE * np.eye(scores.shape[1])
    slope = np.linalg.solve(gram, scores.T @ (truth - truth.mean())) / np.where(std > 0, std, 1)
    return np.concatenate([[truth.mean() - mean @ slope], slope])


def apply(coefficients: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Estimates [tasks], within 0 to 1, from features [tasks, features]."""
    return np.clip(coefficients[0] + features @ coefficients[1:], 0, 1)


def estimate(probabilities: np.ndarray, by_speaker: bool) -> Estimate:
    """Estimates the accuracy of the most probable classes. It is at least that of chance.

    Args:
      probabilities: [n, classes] of the target's utterances, not calibrated.
      by_speaker: whether the target is normalised by speaker: by ids, or by groups of voices.
    """
    features = evidence(probabilities, by_speaker)
    accuracy = float(apply(np.array(COEFFICIENTS), features[None])[0])
    accuracy = max(accuracy, 1 / probabilities.shape[1])
    return Estimate(accuracy, max(accuracy - HALF_WIDTH, 0.0), min(accuracy + HALF_WIDTH, 1.0))
