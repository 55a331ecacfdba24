"""Speech unlike any that a model has adapted to: another language, a child, a crowd, a bad line.

The features of source and target, not normalised, tell how clips of other speakers vary around the
mean of a corpus. A clip is unfamiliar if it is farther from the target's mean than nearly all
clips of speakers that were left out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FALSE_ALARMS = 0.05  # the part of familiar clips that are called unfamiliar
_DIRECTIONS = 60  # in which the variance is known; it is the same in all others
_PARTS = 5  # of the speakers; each is left out once
_LARGEST_SCORE = 5.0  # standard deviations; larger values are clipped, so that no value decides
_SMALLEST_VARIANCE = 1e-3


class Familiarity(NamedTuple):
    """How familiar speech varies. Features are vectors, not normalised."""

    mean: np.ndarray  # [values], of the target
    std: np.ndarray  # [values], positive
    directions: np.ndarray  # [values, k], of the largest variance
    variance: np.ndarray  # [k], in these directions, of features in units of `std`
    rest: np.ndarray  # [1], the variance in each other direction
    limit: np.ndarray  # [1], the distance above which a clip is unfamiliar


class Speech(NamedTuple):
    """Some utterances of a corpus."""

    features: np.ndarray  # [n, values], not normalised
    speaker: np.ndarray  # [n] int, -1 if unknown


def fit_familiarity(source: Speech, target: Speech) -> Familiarity:
    """Learns how clips vary around the mean of their corpus, and the limit of the distance.

    The distance is that of Mahalanobis, with a covariance that both corpora share, each with the
    same weight. Its largest directions are kept; in the others the variance is the same
    (probabilistic principal components: Tipping and Bishop 1999, "Probabilistic principal component
    analysis"). For the limit, parts of the known speakers are left out, and the distances of their
    clips are measured. If no speaker is known, parts of the clips are left out. That tells less,
    because the speakers of these clips are not new.

    Args:
      source: its utterances, ten or more.
      target: its utterances, ten or more.
    """
    speech = [source, target]
    parts = [_parts(domain) for domain in speech]
    if all((part < 0).all() for part in parts):
        parts = [np.random.default_rng(0).permutation(len(s.features)) % _PARTS for s in speech]
    distances = []
    for number in range(_PARTS):
        kept = [part != number for part in parts]
        if all(rows.all() for rows in kept):
            continue
        rest = [domain.features[rows] for domain, rows in zip(speech, kept, strict=True)]
        fitted = _fit(rest)
        for domain, rows, features in zip(speech, kept, rest, strict=True):
            if not rows.all():
                of_domain = fitted._replace(mean=features.mean(0))
                distances.append(distance(of_domain, domain.features[~rows]))
    fitted = _fit([domain.features for domain in speech])
    limit = np.quantile(np.concatenate(distances), 1 - FALSE_ALARMS)
    return fitted._replace(limit=np.array([limit], np.float32))


def distance(familiarity: Familiarity, features: np.ndarray) -> np.ndarray:
    """The squared distances [n] of vectors [n, values] from familiar speech."""
    scores = (features - familiarity.mean) / familiarity.std
    scores = np.clip(scores, -_LARGEST_SCORE, _LARGEST_SCORE)
    projected = scores @ familiarity.directions
    known = (projected**2 / familiarity.variance).sum(1)
    others = (scores**2).sum(1) - (projected**2).sum(1)
    return known + others / familiarity.rest[0]


def is_unfamiliar(familiarity: Familiarity, features: np.ndarray) -> np.ndarray:
    """Whether each of the vectors [n, values] is unlike the speech that the model adapted to."""
    return distance(familiarity, features) > familiarity.limit[0]


def _parts(speech: Speech) -> np.ndarray:
    """The part [n] to which each utterance's speaker belongs.

    It is -1 if the speaker is unknown or the only one, so that the utterance is never left out.
    """
    known = speech.speaker >= 0
    numbers, part = np.unique(speech.speaker, return_inverse=True)
    if (numbers >= 0).sum() < 2:
        return np.full(len(known), -1)
    return np.where(known, part % _PARTS, -1)


def _fit(corpora: Sequence[np.ndarray]) -> Familiarity:
    """Fits the shared covariance and the mean of the last corpus; the limit is not known yet.

    Args:
      corpora: features [n, values] of each.
    """
    means = [features.mean(0, dtype=np.float64) for features in corpora]
    rows = np.concatenate([x - mean for x, mean in zip(corpora, means, strict=True)])
    weight = np.concatenate([np.full(len(x), 1 / len(x) / len(corpora)) for x in corpora])
    std = np.sqrt((rows**2 * weight[:, None]).sum(0))
    std = np.where(std > 1e-6 * np.abs(means[-1]) + 1e-9, std, 1.0)
    scores = np.clip(rows / std, -_LARGEST_SCORE, _LARGEST_SCORE)
    variance, directions = np.linalg.eigh((scores * weight[:, None]).T @ scores)
    count = min(_DIRECTIONS, len(rows) - 1, len(variance) - 1)
    smallest, largest = np.split(np.maximum(variance, _SMALLEST_VARIANCE), [-count])
    arrays = (means[-1], std, directions[:, -count:], largest, smallest.mean(keepdims=True))
    return Familiarity(
        *(array.astype(np.float32) for array in arrays), limit=np.zeros(1, np.float32)
    )
