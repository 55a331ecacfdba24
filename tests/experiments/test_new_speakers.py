"""The reference for new speakers: which utterances and which emotions it is made of."""

from types import SimpleNamespace

import numpy as np
import pytest

from jdann.data.batches import Frames
from jdann.data.splits import Split
from jdann.experiments import new_speakers

CLASSES, VALUES = 4, 6
NOTHING = np.zeros(0, int)


def frames(random, count):
    values = np.clip(random.normal(size=(count, VALUES)), -3, 3).astype(np.float16)
    return Frames(values, np.arange(count), np.ones(count, np.int32))


@pytest.fixture
def direction():
    """Twelve source utterances without class 3, and eight of the target, two of them labelled."""
    random = np.random.default_rng(0)
    target = SimpleNamespace(
        emotion=np.full(8, -1), target_labels=np.array([-1, 1, -1, -1, -1, -1, 2, -1])
    )
    return SimpleNamespace(
        source=SimpleNamespace(emotion=np.arange(12) % 3),
        target=target,
        source_frames=frames(random, 12),
        target_frames=frames(random, 8),
    )


def make(monkeypatch, direction, method, splits):
    """The reference if the network gives each target utterance the same probabilities."""
    logits = np.log(np.tile([0.1, 0.2, 0.3, 0.4], (2, 8, 1)))
    monkeypatch.setattr(
        new_speakers, "_target_logits", lambda d, t, split, r: logits[:, split.target]
    )
    fitted = [SimpleNamespace(diverged=(None, None), test_logits=logits[None])] * len(splits)
    return new_speakers.make_ensemble_reference(method, splits, direction, None, fitted)  # pyright: ignore


def class_mean(direction, weights, k):
    """NumPy's weighted mean of class k, of source and target."""
    values = np.concatenate([direction.source_frames.values, direction.target_frames.values])
    source = direction.source.emotion == k
    return np.average(values.astype(float), 0, np.concatenate([source, weights[:, k]]))


def test_source_and_adapted_target_count_alike_and_a_missing_emotion_gets_nothing(
    monkeypatch, direction
):
    rows = np.arange(8)
    # Two folds. Each adapts to half of the target and has one of the user's labels.
    splits = [
        Split("a", np.arange(10), np.arange(10, 12), rows[:4], rows[4:], np.array([1])),
        Split("b", np.arange(10), np.arange(10, 12), rows[4:], rows[:4], np.array([6])),
    ]
    reference = make(monkeypatch, direction, "co_training", splits)
    np.testing.assert_array_equal(reference.present, [True, True, True, False])
    weights = np.tile(np.array([1, 2, 3, 0]) / 6, (8, 1))  # without the missing class
    weights[1], weights[6] = np.eye(CLASSES)[1], np.eye(CLASSES)[2]
    for k in range(3):
        expected = class_mean(direction, weights * 12 / 8, k)
        np.testing.assert_allclose(reference.mean[k], expected, atol=1e-3)


def test_without_adaptation_the_user_s_labels_count_as_source(monkeypatch, direction):
    rows = np.arange(8)
    split = Split("all", np.arange(12), NOTHING, rows, rows, np.array([1, 6]))
    reference = make(monkeypatch, direction, "source_only", [split])
    weights = np.zeros((8, CLASSES))
    weights[1, 1] = weights[6, 2] = 1
    for k in range(3):
        expected = class_mean(direction, weights, k)
        np.testing.assert_allclose(reference.mean[k], expected, atol=1e-3)
