"""Waveforms and vectors in memory: the identity of their samples, and missing values."""

import numpy as np
import pytest

from jdann.corpora import fingerprint
from jdann.experiments.memory import Vectors, Waveforms, classes_of, corpus_of_waveforms

SAMPLES = np.arange(8, dtype=np.int16)


def fingerprint_of(*clips):
    return fingerprint(corpus_of_waveforms(Waveforms(clips, 16000), ("happy", "sad")))


@pytest.mark.parametrize(
    "clips",
    [
        (SAMPLES[:2], SAMPLES[2:]),  # the same samples, cut at another place
        (SAMPLES[:4].reshape(2, 2), SAMPLES[4:]),  # two channels
        (SAMPLES[:4].view(np.uint16), SAMPLES[4:]),  # another type
    ],
)
def test_the_same_bytes_in_other_clips_have_another_fingerprint(clips):
    reference = (SAMPLES[:4], SAMPLES[4:])
    assert fingerprint_of(*reference) == fingerprint_of(*(clip.copy() for clip in reference))
    assert fingerprint_of(*clips) != fingerprint_of(*reference)


class NotAvailable:
    """Behaves as `pandas.NA` does."""

    def __ne__(self, value):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


@pytest.mark.parametrize(
    "missing", [None, float("nan"), np.float32("nan"), np.datetime64("NaT"), NotAvailable()]
)
def test_missing_values_are_unknown(missing):
    clips = [np.zeros(1600, np.float32)] * 3
    waveforms = Waveforms(clips, 16000, ["sad", missing, "happy"], ["ann", missing, missing])
    utterances = corpus_of_waveforms(waveforms, ("happy", "sad")).utterances
    assert [u.emotion for u in utterances] == ["sad", None, "happy"]
    assert [u.speaker for u in utterances] == ["ann", None, None]
    assert classes_of(Vectors(np.zeros((3, 2)), ["b", missing, "a"])) == ("a", "b")
