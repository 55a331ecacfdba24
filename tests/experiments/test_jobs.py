"""What a job's training is given."""

from types import SimpleNamespace

import numpy as np
import pytest

from jdann.data.batches import Frames
from jdann.data.pairs import NO_LABELS
from jdann.data.splits import Split
from jdann.experiments.jobs import Job, make_task


def utterance(corpus, language):
    return SimpleNamespace(file="a.wav", start_s=0.0, end_s=None, corpus=corpus, language=language)


@pytest.mark.parametrize(
    ("corpora", "groups"),
    [([None] * 4, [-1] * 4), (["b.csv", "a.csv", "a.csv", "b.csv"], [1, 0, 0, 1])],
)
def test_batches_are_balanced_over_sources_and_not_over_languages_within_one(corpora, groups):
    languages = ("en", None, "zh", "en")
    utterances = [utterance(*pair) for pair in zip(corpora, languages, strict=True)]
    domain = SimpleNamespace(
        features=SimpleNamespace(utterances=utterances),
        emotion=np.array([0, 1, 0, 1]),
        speaker=("s",) * 4,
        target_labels=NO_LABELS,
    )
    frames = Frames(np.zeros((8, 2), np.float16), np.arange(4), np.ones(4, np.int32))
    direction = SimpleNamespace(
        name="a -> b", source=domain, target=domain, source_frames=frames, target_frames=frames
    )
    rows = np.arange(4)
    split = Split("all", rows, rows[:0], rows, rows)
    task = make_task(Job(0, "conv1d", "dann", (split,)), split, direction)
    np.testing.assert_array_equal(task.group, groups)
