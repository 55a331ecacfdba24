"""Intervals of scores that say how far a score would move with other speakers.

Clips of one speaker resemble each other, so speakers are resampled, not clips (Field & Welsh,
"Bootstrapping clustered data", JRSS B 2007; Ferrer et al., "Confidence intervals for evaluation in
machine learning", 2024). A resample gives each speaker a random weight above 0 (Rubin, "The
Bayesian bootstrap", 1981; Xu et al., "Applications of the fractional-random-weight bootstrap",
2020). If speakers were drawn with replacement instead, an emotion that few speakers have would be
missing in many resamples.

If there are few speakers, percentiles of the resampled scores are too narrow. Therefore half the
width of the interval is the standard deviation of the resampled scores times a quantile of
Student's t. Its degrees of freedom depend on how evenly the clips are spread over the speakers
(Bell & McCaffrey, "Bias reduction in standard errors for linear regression with multi-stage
samples", 2002).
`benchmarks/interval_coverage.py` shows how often such an interval contains the truth.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from jdann.evaluation.metrics import UNLABELLED

LEVEL = 0.95  # probability that an interval contains the truth
SPEAKERS, CLIPS = "speakers", "clips"  # what is resampled
_RESAMPLES = 1000
_LEAST_RESAMPLES = 200
_MOST_WEIGHTS = 20_000_000  # in all resamples together, so that they fit into memory


class Resamples(NamedTuple):
    """The weight of each unit in each resample. All scores of one target share them."""

    unit: str  # SPEAKERS or CLIPS
    unit_of_clip: np.ndarray  # [n] int, index of the unit; -1 for a clip that is not scored
    weight: np.ndarray  # [resamples, units] float32, with the mean 1 in each resample
    stretch: float  # half the width of an interval, in standard deviations of the resamples

    @property
    def units(self) -> int:
        """The number of speakers or clips that were resampled."""
        return self.weight.shape[1]


class Samples(NamedTuple):
    """The scores of each resample as means over seeds, [resamples] float64 each."""

    accuracy: np.ndarray
    macro_f1: np.ndarray
    uar: np.ndarray


def draw_resamples(
    emotion: np.ndarray,
    speaker: Sequence[str | None],
    classes: int,
    weight: np.ndarray | None = None,
    seed: int = 0,
) -> Resamples | None:
    """Draws weights of the speakers, or of the clips where the speakers are not known.

    Speakers are resampled if at least two are known and they spoke more than half of the scored
    clips. The clips without a speaker then count as one more speaker.

    Args:
      emotion: [n] int, labels; UNLABELLED entries are not scored.
      speaker: n speaker ids, or None.
      classes: number of classes.
      weight: [n] float, how many clips each clip stands for; None: 1.
      seed: of the draws.

    Returns:
      The resamples; None if fewer than two units are scored.
    """
    emotion = np.asarray(emotion)
    scored = emotion != UNLABELLED
    names = np.array(["" if name is None else f"speaker {name}" for name in speaker], object)
    known = scored & (names != "")
    by_speaker = len(set(names[known])) >= 2 and known.sum() > scored.sum() / 2
    unit_of_clip = np.full(len(emotion), -1)
    if by_speaker:
        unit_of_clip[scored] = np.unique(names[scored].astype(str), return_inverse=True)[1]
    else:
        unit_of_clip[scored] = np.arange(scored.sum())
    units = int(unit_of_clip.max(initial=-1)) + 1
    if units < 2:
        return None
    count = int(np.clip(_MOST_WEIGHTS // units, _LEAST_RESAMPLES, _RESAMPLES))
    unit_weight = np.random.default_rng(seed).standard_exponential((count, units), np.float32)
    unit_weight /= unit_weight.mean(1, keepdims=True)
    share = unit_shares(emotion, unit_of_clip, units, classes, weight)
    return Resamples(
        SPEAKERS if by_speaker else CLIPS,
        unit_of_clip,
        unit_weight,
        stretch_of_deviation(share),
    )


def unit_shares(
    emotion: np.ndarray,
    unit_of_clip: np.ndarray,
    units: int,
    classes: int,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """How much each unit counts in the UAR: the mean over classes of its share of their clips.

    Args:
      emotion: [n] int, labels.
      unit_of_clip: [n] int, -1 for a clip that is not scored.
      units: number of units.
      classes: number of classes.
      weight: [n] float; None: 1.

    Returns:
      [units] float64, with the sum 1.
    """
    scored = unit_of_clip >= 0
    cell = unit_of_clip[scored] * classes + emotion[scored]
    weights = None if weight is None else np.asarray(weight)[scored]
    clips = np.bincount(cell, weights, units * classes).reshape(units, classes)
    clips = clips[:, clips.sum(0) > 0]
    return (clips / clips.sum(0)).mean(1)


def stretch_of_deviation(share: np.ndarray, level: float = LEVEL) -> float:
    """Half the width of an interval, in standard deviations of the resampled score.

    A score is about sum_s p_s u_s, where u_s is the score of unit s of n and p_s its share. The
    variance of its resamples is n / (n + 1) V with V = sum_s p_s^2 (u_s - sum_t p_t u_t)^2, which
    is a quadratic form u' A u. If the u_s are independent with variance v, then V has the mean
    v tr(A), which is less than the true variance v sum_s p_s^2, and about (tr A)^2 / tr(A^2)
    degrees of freedom (Satterthwaite). For n equal shares these are n - 1.

    Args:
      share: [units] float, above 0, with the sum 1; at least two units.
      level: probability that an interval contains the truth, between 0 and 1.
    """
    # With R = I - 1 p' and D = diag(p^2), A = R' D R, tr(A) = tr(D R R') and so on. The sums
    # below are these traces, without a [units, units] matrix.
    square = share**2
    total = square.sum()
    # (R R')_st = [s = t] - p_s - p_t + total
    trace = (square * (1 - 2 * share + total)).sum()
    # tr(A^2) = sum_st p_s^2 p_t^2 (R R')_st^2
    diagonal = (share**4 * (1 + 2 * (total - 2 * share))).sum()
    pairs = (
        2 * (share**4).sum() * total  # of p_s^2 + p_t^2
        + 2 * (share**3).sum() ** 2  # of 2 p_s p_t
        + total**4
        - 4 * (share**3).sum() * total**2
    )
    freedom = trace**2 / (diagonal + pairs)
    quantile = stats.t.ppf((1 + level) / 2, freedom)
    units = len(share)
    return float(quantile * np.sqrt((units + 1) / units * total / trace))


def resample_scores(
    resamples: Resamples,
    emotion: np.ndarray,
    predicted: Sequence[np.ndarray],
    classes: int,
    weight: np.ndarray | None = None,
) -> Samples:
    """The scores of predictions in each resample.

    Args:
      resamples: those of the same clips.
      emotion: [n] int, labels.
      predicted: one [n] int for each seed, predicted classes.
      classes: number of classes.
      weight: [n] float, how many clips each clip stands for; None: 1.

    Returns:
      The scores, which are means over the seeds.
    """
    scored = resamples.unit_of_clip >= 0
    unit, label = resamples.unit_of_clip[scored], np.asarray(emotion)[scored]
    weights = None if weight is None else np.asarray(weight)[scored]
    per_seed = []
    for labels in predicted:
        cell = (unit * classes + label) * classes + np.asarray(labels)[scored]
        counts = np.bincount(cell, weights, resamples.units * classes**2)
        counts = counts.reshape(resamples.units, classes**2).astype(np.float32)
        confusion = (resamples.weight @ counts).astype(np.float64)
        per_seed.append(scores_of_confusions(confusion.reshape(-1, classes, classes)))
    return Samples(*(np.mean(values, axis=0) for values in zip(*per_seed, strict=True)))


def scores_of_confusions(confusion: np.ndarray) -> Samples:
    """Accuracy, macro-F1 and UAR of many confusion matrices.

    Args:
      confusion: [m, classes, classes] counts or sums of weights, rows: label, columns: prediction.

    Returns:
      Three arrays [m]; the means are over the classes that have a label.
    """
    correct = np.diagonal(confusion, axis1=1, axis2=2)  # [m, classes]
    labels, predictions = confusion.sum(2), confusion.sum(1)
    present = labels > 0
    recall = np.divide(correct, labels, out=np.zeros_like(correct), where=present)
    f1 = np.divide(2 * correct, labels + predictions, out=np.zeros_like(correct), where=present)
    count = present.sum(1)
    return Samples(correct.sum(1) / labels.sum(1), f1.sum(1) / count, recall.sum(1) / count)


def least_half_width(recall: np.ndarray, clips: np.ndarray, level: float = LEVEL) -> float:
    """Half the width that an interval of UAR would have if speakers did not differ at all.

    An interval should not be narrower than that. If there are few clips, all of them may happen to
    be recognised, and then the resamples vary too little or not at all. The variance of a recall p
    of n clips is p (1 - p) / n. To estimate p, z^2 / 2 hits and as many misses are added, where z
    is the quantile of the normal distribution (Agresti & Coull, "Approximate is better than exact",
    1998).

    Args:
      recall: [classes] float, NaN for a class without clips.
      clips: [classes] float, how many clips have this label.
      level: probability that an interval contains the truth, between 0 and 1.
    """
    present = clips > 0
    recall, clips = recall[present], clips[present]
    quantile = stats.norm.ppf((1 + level) / 2)
    adjusted_recall = (recall * clips + quantile**2 / 2) / (clips + quantile**2)
    variance = adjusted_recall * (1 - adjusted_recall) / clips
    return float(quantile * np.sqrt(variance.sum()) / present.sum())


def clips_of_classes(
    emotion: np.ndarray, classes: int, weight: np.ndarray | None = None
) -> np.ndarray:
    """How many clips each class has; if clips are weighted, Kish's effective number of them.

    Args:
      emotion: [n] int, labels; UNLABELLED entries are left out.
      classes: number of classes.
      weight: [n] float; None: 1.

    Returns:
      [classes] float64.
    """
    labelled = emotion != UNLABELLED
    weights = np.ones(labelled.sum()) if weight is None else np.asarray(weight, float)[labelled]
    total = np.bincount(emotion[labelled], weights, classes)
    total_of_squares = np.bincount(emotion[labelled], weights**2, classes)
    zeros = np.zeros(classes)
    return np.divide(total**2, total_of_squares, out=zeros, where=total_of_squares > 0)


def half_width(samples: np.ndarray, resamples: Resamples) -> float:
    """Half the width of the interval of a score, before it is cut at 0 and 1.

    Args:
      samples: [resamples] float, the score of each resample, or the difference of two scores.
      resamples: the resamples in which the scores were computed.
    """
    return resamples.stretch * float(np.std(samples))


def interval(estimate: float, half: float, lowest: float = 0.0) -> list[float]:
    """The interval of a score, or of the difference between two scores of the same resamples.

    Args:
      estimate: the score of all clips.
      half: half the width, 0 or more.
      lowest: the smallest value that is possible: 0, or -1 for a difference.

    Returns:
      The lower and the upper end, between `lowest` and 1.
    """
    return [max(lowest, estimate - half), min(1.0, estimate + half)]


def units_for(half: float, units: int, wanted: float, level: float = LEVEL) -> int:
    """How many speakers or clips are needed for an interval of a given width.

    Half the width is t(m - 1) s / sqrt(m) for m units, where s is their standard deviation. It is
    assumed that further units have the same standard deviation.

    Args:
      half: half the width with the present units.
      units: number of present units, at least 2.
      wanted: half the width that is wanted, above 0.
      level: probability that the interval contains the truth, between 0 and 1.

    Returns:
      The smallest number that suffices; at least `units`.
    """

    def quantile(count: np.ndarray) -> np.ndarray:
        return stats.t.ppf((1 + level) / 2, count - 1)

    deviation = half / quantile(np.array(units)) * np.sqrt(units)
    # The normal quantile is smaller than those of Student's t, so fewer units never suffice.
    least = int((stats.norm.ppf((1 + level) / 2) * deviation / wanted) ** 2)
    counts = np.arange(max(least, units), max(least, units) + 20)
    return int(counts[np.argmax(quantile(counts) * deviation / np.sqrt(counts) <= wanted)])
