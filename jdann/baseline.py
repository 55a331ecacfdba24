"""The row to beat: a support vector machine on each utterance's statistics. It needs no label of the target."""

from collections.abc import Sequence

import numpy as np

from jdann.normalise import apply, fit
from jdann.progress import track

_PERCENTILES = (10, 90)


def statistics(frames: np.ndarray, start: np.ndarray, length: np.ndarray, bins: Sequence[int]) -> np.ndarray:
    """Describes each utterance by a fixed number of statistics of its frames.

    Args:
      frames: [total frames, bins] float, the utterances one after the other.
      start: [n] int, each utterance's first row of `frames`.
      length: [n] int, its number of rows, at least 1.
      bins: the columns of `frames` to describe.

    Returns:
      [n, 5 * len(bins) + 1] float32: means of all bins, then standard deviations, 10th percentiles, 90th percentiles,
      standard deviations of the difference between neighbouring frames (0 where there is one frame), and the length in
      frames.
    """
    columns = np.asarray(bins)
    rows = np.empty((len(start), 5 * len(bins) + 1), np.float32)
    utterances = zip(rows, start, length, strict=True)
    for row, begin, count in track(utterances, "Utterance statistics", len(start), "utterances"):
        values = np.ascontiguousarray(frames[begin : begin + count, columns].T)  # [bins, frames]
        change = np.diff(values).std(1) if count > 1 else np.zeros(len(bins))
        low, high = np.percentile(values, _PERCENTILES, axis=1)
        row[:] = np.concatenate([values.mean(1), values.std(1), low, high, change, [count]])
    return rows


def normalise(stats: np.ndarray, group: Sequence[str]) -> np.ndarray:
    """Z-scores each statistic over the utterances of each group.

    Args:
      stats: [n, statistics] float, of one corpus.
      group: [n] names, from `jdann.normalise.grouping` by "speaker" or "corpus".

    Returns:
      [n, statistics] float32; 0 where a statistic is constant within the group, so also for a group of one utterance.
    """
    # An utterance's statistics are to `fit` an utterance of one frame.
    rows, one = np.arange(len(stats)), np.ones(len(stats), int)
    return apply(fit(stats, rows, one, group), stats, rows, one, group, window=0).astype(np.float32)


def svm_predict(source: np.ndarray, emotion: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Predicts the target's emotions by a support vector machine (RBF kernel, C = 1) trained on the source.

    Args:
      source: [n, statistics] float.
      emotion: [n] int, the source's labels; entries of -1 are unlabelled and left out.
      target: [m, statistics] float.

    Returns:
      [m] int, predicted labels of the target. Both domains are scaled by the source's mean and standard deviation, so
      that statistics which have not gone through `normalise` are normalised by the source.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    emotion = np.asarray(emotion)
    labelled = emotion >= 0
    model = make_pipeline(StandardScaler(), SVC(C=1.0, kernel="rbf"))
    return model.fit(source[labelled], emotion[labelled]).predict(target)
