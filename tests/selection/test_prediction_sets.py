"""Prediction sets: what they hold, and how often they hold the right emotion."""

import numpy as np
import pytest

from jdann.selection.prediction_sets import conformal_level, make_sets


def test_a_set_has_the_most_probable_classes_up_to_a_level():
    rows = np.array([[0.5, 0.2, 0.3], [0.05, 0.9, 0.05], [np.nan] * 3])
    expected = {
        0.4: [[1, 0, 0], [0, 1, 0], [0, 0, 0]],
        0.5: [[1, 0, 0], [0, 1, 0], [0, 0, 0]],
        0.6: [[1, 0, 1], [0, 1, 0], [0, 0, 0]],
        0.92: [[1, 1, 1], [1, 1, 0], [0, 0, 0]],
        1.0: [[1, 1, 1], [1, 1, 1], [0, 0, 0]],
    }
    for level, sets in expected.items():
        np.testing.assert_array_equal(make_sets(rows, level), np.array(sets, bool))


def test_level_1_has_impossible_classes_too():
    assert make_sets(np.array([[1.0, 0.0, 0.0]]), 1.0).all()


def draw(random, count, sharpness):
    """Clips with true probabilities, their emotions, and probabilities that are too confident."""
    logits = random.normal(size=(count, 5)) * 1.5
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    emotion = (true.cumsum(1) > random.uniform(size=(count, 1))).argmax(1)
    shown = np.exp(sharpness * logits)
    return shown / shown.sum(1, keepdims=True), emotion


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 4.0])
def test_the_level_keeps_its_coverage_whatever_the_probabilities(sharpness):
    random, coverage, sizes = np.random.default_rng(0), [], []
    for _ in range(200):
        level = conformal_level(*draw(random, 40, sharpness), 0.8)
        probabilities, emotion = draw(random, 200, sharpness)
        sets = make_sets(probabilities, level)
        coverage.append(sets[np.arange(200), emotion].mean())
        sizes.append(sets.sum(1).mean())
    assert 0.79 < np.mean(coverage) < 0.88 and np.mean(sizes) < 4.0


def test_weights_count_clips_as_often_as_they_stand_for():
    probabilities = np.repeat([[0.6, 0.3, 0.1]], 40, 0)
    emotion = np.array([0] * 20 + [1] * 20)  # in the second half, the second guess is right
    even = conformal_level(probabilities, emotion, 0.45)
    mostly_first = conformal_level(probabilities, emotion, 0.8, np.array([9.0] * 20 + [1.0] * 20))
    assert even == mostly_first == 0.001  # the best class alone
    assert conformal_level(probabilities, emotion, 0.8) == pytest.approx(0.6, abs=0.0011)


def test_a_few_labels_promise_little():
    probabilities, emotion = np.repeat([[0.7, 0.2, 0.1]], 8, 0), np.zeros(8, int)
    assert conformal_level(probabilities, emotion, 0.9) == 1.0
    assert conformal_level(np.repeat(probabilities, 2, 0), np.zeros(16, int), 0.9) == 0.001
