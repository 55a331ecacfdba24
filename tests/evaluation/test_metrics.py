import json

import numpy as np
import pytest
from scipy import special
from sklearn import metrics as reference

from jdann.evaluation import metrics
from jdann.evaluation.domain_distance import a_distance

CLASSES = ("neutral", "happy", "angry", "sad", "surprise")


def _predictions(seed=0, n=200, accuracy=0.6, present=5):
    random = np.random.default_rng(seed)
    emotion = random.integers(0, present, n)
    predicted = np.where(random.random(n) < accuracy, emotion, random.integers(0, 5, n))
    speaker = [f"s{i}" for i in random.integers(0, 4, n)]
    return emotion, predicted, speaker


@pytest.mark.parametrize("present", [5, 3])
def test_scores_equal_scikit_learn(present):
    emotion, predicted, speaker = _predictions(present=present)
    labels = list(range(present))
    scores = metrics.score(emotion, predicted, speaker, 5)
    assert scores is not None
    assert scores.accuracy == pytest.approx(reference.accuracy_score(emotion, predicted))
    f1 = reference.f1_score(emotion, predicted, labels=labels, average="macro")
    assert scores.macro_f1 == pytest.approx(f1)
    recall = reference.recall_score(emotion, predicted, labels=labels, average=None)
    assert scores.uar == pytest.approx(recall.mean())
    np.testing.assert_allclose(scores.recall[:present], recall)
    assert np.isnan(scores.recall[present:]).all()
    np.testing.assert_array_equal(
        scores.confusion, reference.confusion_matrix(emotion, predicted, labels=list(range(5)))
    )
    for name, accuracy in scores.per_speaker.items():
        rows = np.array(speaker) == name
        assert accuracy == pytest.approx(reference.accuracy_score(emotion[rows], predicted[rows]))


@pytest.mark.parametrize("present", [5, 3])
def test_average_recall_of_many_predictions_equals_scikit_learn(present):
    emotion, _, _ = _predictions(present=present)
    predicted = np.random.default_rng(3).integers(0, 5, (2, 3, len(emotion)))
    uar = metrics.unweighted_average_recall(
        np.r_[emotion, metrics.UNLABELLED], np.concatenate([predicted, predicted[..., :1]], -1)
    )
    assert uar.shape == (2, 3)
    labels = list(range(present))
    for index in np.ndindex(2, 3):
        recall = reference.recall_score(emotion, predicted[index], labels=labels, average=None)
        np.testing.assert_allclose(metrics.class_recall(emotion, predicted[index]), recall)
        assert uar[index] == pytest.approx(recall.mean())


def test_recall_without_labels_is_empty():
    assert metrics.class_recall(np.full(4, -1), np.zeros((2, 4), int)).shape == (0, 2)


def test_mean_probabilities_are_the_mean_of_softmaxes():
    logits = np.random.default_rng(0).normal(size=(3, 7, 5)).astype(np.float32) * 4
    plain = metrics.mean_probabilities(logits)
    assert plain.dtype == np.float32
    np.testing.assert_allclose(plain, special.softmax(logits, axis=-1).mean(0), rtol=1e-5)
    warm = metrics.mean_probabilities(logits, temperature=2.5)
    assert warm.dtype == np.float64
    expected = special.softmax(logits.astype(np.float64) / 2.5, axis=-1).mean(0)
    np.testing.assert_allclose(warm, expected, rtol=1e-12)


def test_unlabelled_utterances_and_unknown_speakers_are_left_out():
    emotion, predicted, speaker = _predictions()
    expected = metrics.score(emotion, predicted, speaker, 5)
    mixed = metrics.score(
        np.r_[emotion, -1, -1], np.r_[predicted, 4, 0], [*speaker, None, "unlabelled"], 5
    )
    assert expected is not None and mixed is not None
    assert mixed.uar == expected.uar and mixed.per_speaker == expected.per_speaker
    unknown = metrics.score(emotion, predicted, [None] * len(emotion), 5)
    assert (
        unknown is not None and unknown.per_speaker == {} and unknown.accuracy == expected.accuracy
    )


def test_nothing_labelled_is_not_scored():
    assert metrics.score(np.full(3, -1), np.array([0, 1, 2]), [None] * 3, 5) is None


def test_spread_is_over_seeds():
    assert metrics.summarise([0.3, 0.5]) == {
        "mean": pytest.approx(0.4),
        "std": pytest.approx(0.1 * 2**0.5),
        "values": [0.3, 0.5],
    }
    assert metrics.summarise([0.3])["std"] is None


def test_gain_is_paired():
    # The seeds differ much, but the gain is the same for both.
    gain = metrics.paired_gain([0.4, 0.6], [0.3, 0.5])
    assert gain["mean"] == pytest.approx(0.1) and gain["std"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError):
        metrics.paired_gain([0.4, 0.6], [0.3])


def test_row_survives_json():
    seeds = []
    for seed in range(3):
        emotion, _, speaker = _predictions(present=4)
        seeds.append(metrics.score(emotion, _predictions(seed)[1], speaker, 5))
    row = metrics.row(
        "dann", "conv1d", ("esd:en", "esd:zh"), "last", "transductive", seeds, CLASSES
    )
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["n"] == 200 and np.sum(row["confusion"]) == 600
    assert row["uar"]["values"] == [scores.uar for scores in seeds]
    assert row["recall"]["happy"]["mean"] == pytest.approx(
        np.mean([scores.recall[1] for scores in seeds])
    )
    assert row["recall"]["surprise"] == {"mean": None, "std": None}  # no label of that class
    assert set(row["per_speaker"]) == {"s0", "s1", "s2", "s3"}
    assert (row["source"], row["target"], row["achievable"]) == ("esd:en", "esd:zh", True)


@pytest.mark.parametrize(("method", "selection"), [("dann", "oracle"), ("supervised", "last")])
def test_rows_that_used_target_labels_are_not_achievable(method, selection):
    emotion, predicted, speaker = _predictions()
    scores = metrics.score(emotion, predicted, speaker, 5)
    assert not metrics.row(
        method, "conv1d", ("a", "b"), selection, "transductive", [scores], CLASSES
    )["achievable"]


def test_a_distance_is_zero_for_one_distribution_and_two_for_separate_ones():
    random = np.random.default_rng(0)
    source, target = random.normal(size=(2000, 4)), random.normal(size=(500, 4))
    assert abs(a_distance(source, target, 0)) < 0.3
    assert a_distance(source, target + 20, 0) == 2
    # The covariances are equal and the means are one standard deviation apart. The error of the
    # best linear rule is then Phi(-1/2) = .3085.
    assert a_distance(source, target + np.eye(4)[0], 0) == pytest.approx(
        2 * (1 - 2 * 0.3085), abs=0.15
    )
