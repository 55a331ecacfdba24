"""Calibration errors and temperatures against scikit-learn, SciPy and a known temperature."""

import numpy as np
import pytest
import scipy.optimize
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from jdann.evaluation.metrics import mean_probabilities
from jdann.selection import calibration


@pytest.fixture
def logits_and_labels():
    """Logits [1, n, classes] and labels drawn from their softmax at a temperature of 2.5."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(1, 4000, 5)) * 4
    probabilities = mean_probabilities(logits, 2.5)
    emotion = np.array([random.choice(5, p=p) for p in probabilities])
    return logits, emotion


def test_error_agrees_with_scikit_learn(logits_and_labels):
    logits, emotion = logits_and_labels
    probabilities = mean_probabilities(logits, 1.0)
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == emotion
    accuracy, mean = calibration_curve(correct, confidence, n_bins=15, strategy="uniform")
    diagram = calibration.reliability(probabilities, emotion)
    filled = diagram.count > 0
    np.testing.assert_allclose(diagram.accuracy[filled], accuracy, atol=1e-12)
    np.testing.assert_allclose(diagram.confidence[filled], mean, atol=1e-12)
    expected = (diagram.count[filled] / len(emotion)) @ np.abs(accuracy - mean)
    assert calibration.expected_calibration_error(probabilities, emotion) == pytest.approx(
        expected, abs=1e-12
    )


def test_error_of_extremes():
    sure = np.array([[1.0, 0.0]] * 4)
    assert calibration.expected_calibration_error(sure, np.array([0, 0, 0, 0])) == 0
    assert calibration.expected_calibration_error(sure, np.array([1, 1, 1, 1])) == 1
    assert calibration.expected_calibration_error(sure, np.array([0, 0, 1, 1])) == 0.5
    assert calibration.expected_calibration_error(sure, np.array([0, -1, -1, -1])) == 0
    assert calibration.expected_calibration_error(sure, np.full(4, -1)) is None


def test_fit_finds_the_temperature_that_made_the_labels(logits_and_labels):
    logits, emotion = logits_and_labels
    assert calibration.fit_temperature(logits, emotion) == pytest.approx(2.5, rel=0.05)
    probabilities = mean_probabilities(logits, calibration.fit_temperature(logits, emotion))
    assert calibration.expected_calibration_error(probabilities, emotion) < 0.02


def test_fit_agrees_with_another_optimiser_and_scikit_learn(logits_and_labels):
    logits, emotion = logits_and_labels
    several = np.concatenate([logits, logits + np.random.default_rng(1).normal(size=logits.shape)])
    weight = np.random.default_rng(2).uniform(0.1, 3, len(emotion))

    def risk(temperature):
        probabilities = mean_probabilities(several, temperature)
        return log_loss(emotion, probabilities, sample_weight=weight, labels=range(5))

    reference = scipy.optimize.minimize_scalar(
        risk, bounds=calibration.RANGE, method="bounded", options={"xatol": 1e-8}
    )
    assert calibration.fit_temperature(several, emotion, weight) == pytest.approx(
        reference.x, rel=1e-4
    )
    unlabelled = np.append(emotion, [-1, -1])
    padded = np.concatenate([several, several[:, :2]], axis=1)
    assert calibration.fit_temperature(
        padded, unlabelled, np.append(weight, [9, 9])
    ) == pytest.approx(reference.x, rel=1e-4)


def test_accuracy_is_estimated_right_where_nothing_shifts(logits_and_labels):
    logits, emotion = logits_and_labels
    probabilities = mean_probabilities(logits, 1.0)
    half = len(emotion) // 2
    estimate = calibration.estimated_accuracy(
        probabilities[:half], emotion[:half], probabilities[half:]
    )
    assert estimate == pytest.approx(
        (probabilities[half:].argmax(1) == emotion[half:]).mean(), abs=0.03
    )


def test_confidence_is_matched(logits_and_labels):
    logits, _ = logits_and_labels
    temperature = calibration.match_confidence([logits], 0.55)
    assert mean_probabilities(logits, temperature).max(-1).mean() == pytest.approx(0.55, abs=1e-5)


def test_every_way_repairs_overconfidence_without_shift(logits_and_labels):
    logits, emotion = logits_and_labels
    half = len(emotion) // 2
    evidence = calibration.Evidence(
        logits[:, :half], emotion[:half], np.ones(half), logits[:, half:]
    )
    temperatures = calibration.temperatures(evidence)
    assert temperatures.pop("none") == 1
    before = calibration.expected_calibration_error(mean_probabilities(logits, 1.0), emotion)
    for name, temperature in temperatures.items():
        after = calibration.expected_calibration_error(
            mean_probabilities(logits, temperature), emotion
        )
        assert after < before / 2, name
