import numpy as np
import pytest
from scipy import special, stats

from jdann.evaluation.suggestions import normalised_entropy, suggest_clips


def _target(seed=0, n=400, classes=4, speakers=5):
    """Predictions for a target, its speakers, and whether each prediction is right."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(n, classes)) + np.array([1.5, 0, 0, 0])
    probability = special.softmax(logits, axis=1)
    right = random.random(n) < probability.max(1)
    return probability, [f"s{i}" for i in random.integers(0, speakers, n)], right


def test_entropy_equals_scipys():
    probability = np.r_[_target()[0][:20], np.eye(4)[:1], np.full((1, 4), 0.25)]
    expected = stats.entropy(probability, base=4, axis=1)
    np.testing.assert_allclose(normalised_entropy(probability), expected, atol=1e-9)


def test_clips_are_balanced_over_predicted_classes_and_speakers():
    probability, speaker, _ = _target()
    rows, weight = suggest_clips(probability, speaker, 40)
    assert len(set(rows)) == 40 and (np.diff(rows) > 0).all() and (weight >= 1).all()
    predicted = probability.argmax(1)
    assert np.bincount(predicted).max() > 2 * np.bincount(predicted).min()
    np.testing.assert_allclose(np.bincount(predicted[rows]), 10, atol=1)
    _, counts = np.unique(np.array(speaker)[rows], return_counts=True)
    assert counts.min() >= 6 and counts.max() <= 10


def test_few_clips_come_from_different_speakers():
    probability, speaker, _ = _target(speakers=12)
    rows, _ = suggest_clips(probability, speaker, 12)
    assert len({speaker[row] for row in rows}) >= 8


def test_a_clip_is_drawn_as_often_as_its_weight_says():
    probability, speaker, _ = _target(n=60)
    times, weights = np.zeros(60), np.zeros(60)
    for seed in range(1000):
        rows, weight = suggest_clips(probability, speaker, 12, seed)
        times[rows] += 1
        weights[rows] = weight
    assert (times > 0).all()
    np.testing.assert_allclose(times / 1000, 1 / weights, atol=0.06)
    uncertainty = normalised_entropy(probability)
    common = probability.argmax(1) == 0
    assert np.corrcoef(uncertainty[common], times[common])[0, 1] > 0.3


def test_weighted_accuracy_is_that_of_the_target_where_the_plain_one_is_lower():
    probability, speaker, right = _target()
    plain, weighted = [], []
    for seed in range(300):
        rows, weight = suggest_clips(probability, speaker, 40, seed)
        plain.append(right[rows].mean())
        weighted.append(np.average(right[rows], weights=weight))
    assert np.mean(plain) < right.mean() - 0.05
    assert np.mean(weighted) == pytest.approx(right.mean(), abs=0.015)


def test_all_clips_weigh_one():
    probability, speaker, _ = _target(n=30)
    rows, weight = suggest_clips(probability, speaker, 30)
    assert rows.tolist() == list(range(30)) and (weight == 1).all()


def test_unknown_speakers_are_one_group():
    probability, _, _ = _target()
    assert len(suggest_clips(probability, [None] * 400, 25).rows) == 25


@pytest.mark.parametrize("count", [0, 61])
def test_an_impossible_number_is_refused(count):
    probability, speaker, _ = _target(n=60)
    with pytest.raises(ValueError, match="1 to 60"):
        suggest_clips(probability, speaker, count)
