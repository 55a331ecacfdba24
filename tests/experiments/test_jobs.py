"""What a job's training is given."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jdann.data.batches import Frames
from jdann.data.pairs import NO_LABELS
from jdann.data.splits import Split
from jdann.experiments.job_training import make_task
from jdann.experiments.jobs import Job
from jdann.training.task import labelled_rows, target_labels


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
        voices=None,
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


def make_labelled_task(labels, labelled):
    """The task of a target of four utterances with these labels, of which a split uses some."""
    domain = SimpleNamespace(
        features=SimpleNamespace(utterances=[utterance("a.csv", "en")] * 4),
        emotion=np.array([0, 1, 0, 1], np.int32),
        speaker=("s", "t", None, "t"),
        group=("s", "t", "utterance 2", "t"),
        voices=SimpleNamespace(speaker_known=np.array([True, True, False, True])),
        target_labels=np.array(labels, np.int32),
    )
    source, target = (
        Frames(jnp.full((4, 2), value, jnp.float16), np.arange(4), np.ones(4, np.int32))
        for value in (0, 1)
    )
    direction = SimpleNamespace(
        name="a -> b", source=domain, target=domain, source_frames=source, target_frames=target
    )
    rows = np.arange(4)
    split = Split("all", rows, rows[:0], rows, rows, np.array(labelled, int))
    return make_task(Job(0, "conv1d", "dann", (split,)), split, direction)


def test_labelled_utterances_of_the_target_are_one_more_corpus_of_the_source():
    task = make_labelled_task([-1, 1, 1, -1], [1, 2])
    np.testing.assert_array_equal(task.data.emotion, [0, 1, 0, 1, 1, 1])
    np.testing.assert_array_equal(task.group, [0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(task.data.source.length, np.ones(6))
    features = np.asarray(task.data.source.values)[np.asarray(task.data.source.start), 0]
    np.testing.assert_array_equal(features, [0, 0, 0, 0, 1, 1])  # normalised as the target
    np.testing.assert_array_equal(labelled_rows(task), [4, 5])
    np.testing.assert_array_equal(target_labels(task, 3), [[0, 1, 0]] * 2)


def test_only_the_labels_that_a_split_uses_belong_to_what_a_checkpoint_is_of():
    used = make_labelled_task([-1, 1, 1, -1], [1])
    assert make_labelled_task([-1, 0, 1, -1], [1]).identity != used.identity
    assert make_labelled_task([-1, 1, 0, 0], [1]).identity == used.identity  # of a test speaker
    assert make_labelled_task([-1, 1, 1, -1], []).data.source.length.shape == (4,)


def test_a_task_knows_by_which_speaker_each_target_utterance_is_normalised():
    task = make_labelled_task([-1] * 4, [])
    np.testing.assert_array_equal(task.target_speaker, [0, 1, -1, 1])
