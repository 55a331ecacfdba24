"""Calibration errors and temperatures against scikit-learn, SciPy and data whose temperature is known."""

import numpy as np
import pytest
import scipy.optimize
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from jdann.selection import calibration


@pytest.fixture
def drawn():
    """Logits [1, n, classes] and labels drawn from their softmax at a temperature of 2.5."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(1, 4000, 5)) * 4
    chances = calibration.ensemble_probability(logits, 2.5)
    emotion = np.array([random.choice(5, p=p) for p in chances])
    return logits, emotion


def test_error_agrees_with_scikit_learn(drawn):
    logits, emotion = drawn
    chances = calibration.ensemble_probability(logits, 1.0)
    confidence, right = chances.max(1), chances.argmax(1) == emotion
    accuracy, mean = calibration_curve(right, confidence, n_bins=15, strategy="uniform")
    found = calibration.reliability(chances, emotion)
    filled = found.count > 0
    np.testing.assert_allclose(found.accuracy[filled], accuracy, atol=1e-12)
    np.testing.assert_allclose(found.confidence[filled], mean, atol=1e-12)
    expected = (found.count[filled] / len(emotion)) @ np.abs(accuracy - mean)
    assert calibration.expected_calibration_error(chances, emotion) == pytest.approx(
        expected, abs=1e-12
    )


def test_error_of_extremes():
    sure = np.array([[1.0, 0.0]] * 4)
    assert calibration.expected_calibration_error(sure, np.array([0, 0, 0, 0])) == 0
    assert calibration.expected_calibration_error(sure, np.array([1, 1, 1, 1])) == 1
    assert calibration.expected_calibration_error(sure, np.array([0, 0, 1, 1])) == 0.5
    assert calibration.expected_calibration_error(sure, np.array([0, -1, -1, -1])) == 0
    assert calibration.expected_calibration_error(sure, np.full(4, -1)) is None


def test_fit_finds_the_temperature_that_made_the_labels(drawn):
    logits, emotion = drawn
    assert calibration.fit_temperature(logits, emotion) == pytest.approx(2.5, rel=0.05)
    chances = calibration.ensemble_probability(logits, calibration.fit_temperature(logits, emotion))
    assert calibration.expected_calibration_error(chances, emotion) < 0.02


def test_fit_agrees_with_another_optimiser_and_scikit_learn(drawn):
    logits, emotion = drawn
    several = np.concatenate([logits, logits + np.random.default_rng(1).normal(size=logits.shape)])
    weight = np.random.default_rng(2).uniform(0.1, 3, len(emotion))

    def risk(temperature):
        chances = calibration.ensemble_probability(several, temperature)
        return log_loss(emotion, chances, sample_weight=weight, labels=range(5))

    other = scipy.optimize.minimize_scalar(
        risk, bounds=calibration.RANGE, method="bounded", options={"xatol": 1e-8}
    )
    assert calibration.fit_temperature(several, emotion, weight) == pytest.approx(other.x, rel=1e-4)
    unlabelled = np.append(emotion, [-1, -1])
    padded = np.concatenate([several, several[:, :2]], axis=1)
    assert calibration.fit_temperature(
        padded, unlabelled, np.append(weight, [9, 9])
    ) == pytest.approx(other.x, rel=1e-4)


def test_accuracy_is_estimated_right_where_nothing_shifts(drawn):
    logits, emotion = drawn
    chances = calibration.ensemble_probability(logits, 1.0)
    half = len(emotion) // 2
    estimate = calibration.estimated_accuracy(chances[:half], emotion[:half], chances[half:])
    assert estimate == pytest.approx((chances[half:].argmax(1) == emotion[half:]).mean(), abs=0.03)


def test_confidence_is_matched(drawn):
    logits, _ = drawn
    temperature = calibration.match_confidence(logits, 0.55)
    assert calibration.ensemble_probability(logits, temperature).max(-1).mean() == pytest.approx(
        0.55, abs=1e-5
    )


def test_every_way_repairs_overconfidence_without_shift(drawn):
    logits, emotion = drawn
    half = len(emotion) // 2
    evidence = calibration.Evidence(
        logits[:, :half], emotion[:half], np.ones(half), logits[:, half:]
    )
    found = calibration.temperatures(evidence)
    assert found.pop("none") == 1
    before = calibration.expected_calibration_error(
        calibration.ensemble_probability(logits, 1.0), emotion
    )
    for name, temperature in found.items():
        after = calibration.expected_calibration_error(
            calibration.ensemble_probability(logits, temperature), emotion
        )
        assert after < before / 2, name
