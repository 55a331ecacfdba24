"""The baseline that a method has to beat: a support vector machine on utterance statistics.

It needs no target labels.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from jdann.data.normalise import VoicePositions, apply, fit_speakers
from jdann.progress import track

_PERCENTILES = (10, 90)


def statistics(utterances: Iterable[np.ndarray], n: int, bins: Sequence[int]) -> np.ndarray:
    """Describes each utterance by a fixed number of statistics of its frames.

    Args:
      utterances: n arrays [frames, bins] float, each with at least one frame.
      n: number of utterances.
      bins: the columns to describe.

    Returns:
      [n, 5 * len(bins) + 1] float32. The columns are the means of all bins, their standard
      deviations, their 10th percentiles, their 90th percentiles, the standard deviations of the
      differences between neighbouring frames (0 for a single frame), and the number of frames.
    """
    rows = np.empty((n, 5 * len(bins) + 1), np.float32)
    for row, frames in track(
        zip(rows, utterances, strict=True), "Utterance statistics", n, "utterances"
    ):
        values = np.ascontiguousarray(frames[:, np.asarray(bins)].T)
        change = np.diff(values).std(1) if len(frames) > 1 else np.zeros(len(bins))
        low, high = np.percentile(values, _PERCENTILES, axis=1)
        row[:] = np.concatenate([values.mean(1), values.std(1), low, high, change, [len(frames)]])
    return rows


def normalise(
    utterance_statistics: np.ndarray, group: Sequence[str], voices: VoicePositions | None = None
) -> np.ndarray:
    """Z-scores each statistic over the utterances of each group.

    Args:
      utterance_statistics: [n, statistics] float, of one corpus.
      group: [n] names, from `jdann.data.normalise.grouping` by "speaker", "voice" or "corpus".
      voices: the voices of the utterances, if groups are normalised with similar voices.

    Returns:
      [n, statistics] float32. A statistic that is constant within its group becomes 0, and so do
      all statistics of a group with a single utterance.
    """
    # `fit_speakers` expects utterances of several frames: each row becomes an utterance of one.
    frames = utterance_statistics[:, None]  # [n, 1, statistics]
    fitted = fit_speakers(lambda: frames, group, voices)
    return np.concatenate(list(apply(fitted, frames, group))).astype(np.float32)


def svm_predict(source: np.ndarray, emotion: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Trains a support vector machine (RBF kernel, C = 1) on the source and labels the target.

    Both domains are scaled by the mean and the standard deviation of the source. Statistics that
    `normalise` has not seen are thereby normalised by the source.

    Args:
      source: [n, statistics] float.
      emotion: [n] int, the labels of the source; entries of -1 are unlabelled and left out.
      target: [m, statistics] float.

    Returns:
      [m] int, the predicted labels of the target.
    """
    emotion = np.asarray(emotion)
    labelled = emotion >= 0
    model = make_pipeline(StandardScaler(), SVC(C=1.0, kernel="rbf"))
    return model.fit(source[labelled], emotion[labelled]).predict(target)
