"""The row to beat: a support vector machine on each utterance's statistics. It needs no label of the target."""

from collections.abc import Iterable, Sequence

import numpy as np

from jdann.data.normalise import VoicePositions, apply, fit_speakers
from jdann.progress import track

_PERCENTILES = (10, 90)


def statistics(utterances: Iterable[np.ndarray], n: int, bins: Sequence[int]) -> np.ndarray:
    """Describes each utterance by a fixed number of statistics of its frames.

    Args:
      utterances: n arrays [frames, bins] float, each of one frame at least.
      n: how many.
      bins: the columns to describe.

    Returns:
      [n, 5 * len(bins) + 1] float32: means of all bins, then standard deviations, 10th percentiles, 90th percentiles,
      standard deviations of the difference between neighbouring frames (0 where there is one frame), and the length in
      frames.
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
    stats: np.ndarray, group: Sequence[str], voices: VoicePositions | None = None
) -> np.ndarray:
    """Z-scores each statistic over the utterances of each group.

    Args:
      stats: [n, statistics] float, of one corpus.
      group: [n] names, from `jdann.data.normalise.grouping` by "speaker", "voice" or "corpus".
      voices: of the utterances, where groups are drawn towards voices alike.

    Returns:
      [n, statistics] float32; 0 where a statistic is constant within the group, so also for a group of one utterance.
    """
    frames = stats[
        :, None
    ]  # an utterance's statistics are to `fit_speakers` an utterance of one frame
    fitted = fit_speakers(lambda: frames, group, voices)
    return np.concatenate(list(apply(fitted, frames, group))).astype(np.float32)


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
