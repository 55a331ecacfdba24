"""The accuracy on an unlabelled target, estimated from the probabilities of its utterances.

One estimate is for co-training, whose labels are less certain where its evidence is weak
(`jdann.methods.co_training`). The other one was fitted to recognisers of the source alone, and is
used for all other methods: docs/trust.md says how well they fit.
"""

from typing import NamedTuple

import numpy as np

# Fitted by benchmarks/trust.py to all of its tasks. docs/trust.md has the errors for target corpora
# that were left out of the fit. The first coefficient is the constant.
OF_CO_TRAINING = (-0.3238, 0.378, 2.5227, 0.0368)
OF_OTHERS = (0.291, 0.0252, 0.6767, 0.0027)
HALF_WIDTH = 0.19  # of the interval that contains the accuracy of about 90 of 100 tasks
_RIDGE = 3.0
_MOST_CLIPS = 250.0  # of a speaker, in the tasks; what more of them would bring was not measured


class Estimate(NamedTuple):
    """An accuracy, 0 to 1, and a 90 % interval."""

    accuracy: float
    low: float
    high: float


def evidence(probabilities: np.ndarray, clips_per_speaker: float) -> np.ndarray:
    """What the accuracy is estimated from.

    Args:
      probabilities: [n, classes] of the target's utterances.
      clips_per_speaker: how many clips each speaker, or group of voices, has in the mean, if the
        target is normalised by speaker; 0 if it is not.

    Returns:
      [3]: the share of the rarest predicted class, relative to an even share; the accuracy by
      chance; and log(1 + clips_per_speaker), of 250 clips at most. Labels that are wrong together
      often give one class to few utterances. A speaker with many clips is normalised well, and is
      adapted to.
    """
    chance, clips = 1 / probabilities.shape[1], min(clips_per_speaker, _MOST_CLIPS)
    return np.array([rarest_share(probabilities), chance, np.log1p(clips)])


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


def estimate(probabilities: np.ndarray, clips_per_speaker: float, by_co_training: bool) -> Estimate:
    """Estimates the accuracy of the most probable classes. It is at least that of chance.

    Args:
      probabilities: [n, classes] of the target's utterances.
      clips_per_speaker: as for `evidence`.
      by_co_training: whether co-training has labelled or adapted to these utterances.
    """
    features = evidence(probabilities, clips_per_speaker)
    coefficients = np.array(OF_CO_TRAINING if by_co_training else OF_OTHERS)
    accuracy = float(apply(coefficients, features[None])[0])
    accuracy = max(accuracy, 1 / probabilities.shape[1])
    return Estimate(accuracy, max(accuracy - HALF_WIDTH, 0.0), min(accuracy + HALF_WIDTH, 1.0))
