import numpy as np
import pytest

from jdann.evaluation import baseline

LENGTH = (1, 2, 40, 25)


@pytest.fixture
def utterances():
    random = np.random.default_rng(0)
    return [
        random.normal(size=(count, 6)).astype(np.float32) * [1, 2, 3, 4, 5, 1e9] for count in LENGTH
    ]


def test_statistics_of_each_utterance(utterances):
    stats = baseline.statistics(iter(utterances), 4, bins=range(5))
    assert stats.shape == (4, 26) and stats.dtype == np.float32
    for row, utterance in zip(stats, utterances, strict=True):
        values = utterance[:, :5].astype(np.float64)
        mean, std, low, high, change = row[:-1].reshape(5, 5)
        np.testing.assert_allclose(mean, values.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(std, values.std(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(low, np.quantile(values, 0.1, axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(high, np.quantile(values, 0.9, axis=0), rtol=1e-5, atol=1e-6)
        if len(values) > 1:
            np.testing.assert_allclose(
                change, (values[1:] - values[:-1]).std(0), rtol=1e-5, atol=1e-5
            )
        else:
            assert (change == 0).all()
    np.testing.assert_array_equal(stats[:, -1], LENGTH)


def test_the_chosen_bins_of_a_recipe_give_566_statistics():
    bins = [i for i in range(114) if i != 113]
    assert baseline.statistics([np.zeros((3, 114))], 1, bins).shape == (1, 566)


def test_normalise_removes_what_differs_between_groups():
    random = np.random.default_rng(0)
    stats = random.normal(size=(60, 3))
    stats[:, 2] = 0.1  # constant within a speaker
    group = ["a"] * 30 + ["b"] * 29 + ["alone"]
    shifted = stats + np.where(np.array(group) == "b", 100, 0)[:, None]
    normalised = baseline.normalise(shifted, group)
    for name in ("a", "b"):
        members = normalised[np.array(group) == name]
        np.testing.assert_allclose(members[:, :2].mean(0), 0, atol=1e-3)
        np.testing.assert_allclose(members[:, :2].std(0), 1, atol=1e-3)
    assert np.abs(normalised[:, 2]).max() < 1e-3
    assert np.isfinite(normalised).all() and (normalised[-1] == 0).all()


def test_svm_learns_from_the_labelled_source_only():
    random = np.random.default_rng(0)
    centres = random.normal(size=(3, 8)) * 4
    emotion = np.repeat([0, 1, 4], 20)
    source = np.repeat(centres, 20, axis=0) + random.normal(size=(60, 8))
    target = centres[[2, 0, 1, 1]] + random.normal(size=(4, 8))
    # The unlabelled source utterances lie on the points of the target. They must not become a
    # class of their own.
    predicted = baseline.svm_predict(np.r_[source, target], np.r_[emotion, [-1] * 4], target)
    np.testing.assert_array_equal(predicted, [4, 0, 1, 1])
