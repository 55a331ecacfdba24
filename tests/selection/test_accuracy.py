"""The estimated accuracy: its evidence by hand, and its fit against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jdann.selection import accuracy


def probabilities(confidence: float, counts: list[int]) -> np.ndarray:
    """Rows [n, classes] of the same confidence; `counts` of them predict each class."""
    classes = len(counts)
    rest = (1 - confidence) / (classes - 1)
    rows = np.repeat(np.eye(classes), counts, axis=0)
    return rest + (confidence - rest) * rows


def test_evidence_by_hand():
    actual = accuracy.evidence(probabilities(0.8, [10, 20, 10, 40]), 31.0)
    np.testing.assert_allclose(actual, [0.5, 0.25, np.log(32)])
    assert accuracy.evidence(probabilities(0.8, [10, 20, 10, 40]), 0.0)[2] == 0


def test_the_fit_is_scikit_learns():
    random = np.random.default_rng(0)
    features = random.normal(size=(40, 3)) * [1, 5, 0.1] + [0, 2, 1]
    truth = features @ [0.1, 0.02, 0.5] + 0.05 * random.normal(size=40)
    reference = make_pipeline(StandardScaler(), Ridge(3.0)).fit(features, truth)
    expected = np.clip(reference.predict(features), 0, 1)
    coefficients = accuracy.fit(features, truth)
    np.testing.assert_allclose(accuracy.apply(coefficients, features), expected)


def test_without_features_the_estimate_is_the_mean():
    coefficients = accuracy.fit(np.zeros((4, 0)), np.array([0.2, 0.4, 0.6, 0.8]))
    np.testing.assert_allclose(accuracy.apply(coefficients, np.zeros((2, 0))), 0.5)


def test_even_predictions_and_speakers_with_many_clips_are_estimated_higher():
    even, uneven = probabilities(0.9, [30] * 5), probabilities(0.9, [2, 40, 40, 40, 28])
    good = accuracy.estimate(even, 40.0, True).accuracy
    assert good > accuracy.estimate(uneven, 40.0, True).accuracy
    assert good > accuracy.estimate(even, 10.0, True).accuracy
    assert good > accuracy.estimate(even, 0.0, True).accuracy
    assert good > accuracy.estimate(even, 40.0, False).accuracy  # without co-training


@pytest.mark.parametrize("confidence", [0.26, 0.5, 0.999999])
@pytest.mark.parametrize("counts", [[1, 0, 0, 0], [5, 5, 5, 5], [1000, 1, 1, 1]])
@pytest.mark.parametrize("by_co_training", [True, False])
def test_an_estimate_is_between_chance_and_one(confidence, counts, by_co_training):
    estimate = accuracy.estimate(probabilities(confidence, counts), 20.0, by_co_training)
    assert 0.25 <= estimate.accuracy <= 1
    assert 0 <= estimate.low <= estimate.accuracy <= estimate.high <= 1
