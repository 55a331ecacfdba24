import json

import numpy as np
import pytest

from jdann.evaluation import intervals, metrics
from jdann.experiments.score_rows import Clips, compare, score_predictions

EMOTIONS = ("neutral", "happy", "angry")
SPEAKERS = ("s0", "s1", "s2", "s3")


def _clips(known=True):
    """Ten clips of each of three emotions by each of four speakers, two of each gender."""
    emotion = np.tile(np.repeat(np.arange(3), 10), 4)
    speaker = tuple(np.repeat(SPEAKERS, 30).tolist()) if known else (None,) * 120
    gender = tuple(np.repeat(["F", "F", "M", "M"], 30).tolist()) if known else (None,) * 120
    resamples = intervals.draw_resamples(emotion, speaker, 3)
    return Clips(emotion, speaker, gender, resamples)


def _predicted(clips, share, seed=0):
    """A share of each speaker's clips is right."""
    random = np.random.default_rng(seed)
    right = random.random(120) < np.repeat(share, 30)
    return np.where(right, clips.emotion, (clips.emotion + 1) % 3)


def _score(method, clips, share, selection="last", seeds=2):
    encoder = "-" if method == "svm" else "mlp"
    names = {"method": method, "encoder": encoder, "source": "a.csv", "target": "b.csv"}
    predicted = [_predicted(clips, share, seed) for seed in range(1 if method == "svm" else seeds)]
    return score_predictions(names, selection, "transductive", clips, predicted, EMOTIONS)


def _rows(known=True):
    clips = _clips(known)
    scored = [
        *_score("source_only", clips, (0.5, 0.5, 0.6, 0.6)),
        *_score("dann", clips, (0.6, 0.7, 0.9, 0.9)),
        *_score("dann", clips, (0.9, 0.9, 0.9, 1.0), "oracle"),
        *_score("svm", clips, (0.4, 0.4, 0.4, 0.4)),
    ]
    rows = compare(scored, "last")
    return {(row["method"], row["selection"]): row for row in rows}


def test_a_row_has_intervals_of_its_scores():
    row = _rows()["dann", "last"]
    interval = row["interval"]
    assert (interval["level"], interval["resampled"], interval["count"]) == (0.95, "speakers", 4)
    for name in ("uar", "accuracy", "macro_f1"):
        low, high = interval[name]
        assert 0 <= low < row[name]["mean"] < high <= 1
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_without_speakers_clips_are_resampled_and_the_row_says_so():
    row = _rows(known=False)["dann", "last"]
    assert (row["interval"]["resampled"], row["interval"]["count"]) == ("clips", 120)
    assert row["worst_speaker"] is None and row["per_gender"] == {}


def test_the_worst_speaker_and_emotion_are_named():
    row = _rows()["dann", "last"]
    accuracy = {name: value["mean"] for name, value in row["per_speaker"].items()}
    assert row["worst_speaker"]["name"] == min(accuracy, key=accuracy.__getitem__)
    assert row["worst_speaker"]["mean"] == min(accuracy.values())
    recall = {name: value["mean"] for name, value in row["recall"].items()}
    assert row["worst_emotion"]["mean"] == min(recall.values())


def test_genders_are_scored_apart():
    clips = _clips()
    row = _rows()["dann", "last"]
    predicted = [_predicted(clips, (0.6, 0.7, 0.9, 0.9), seed) for seed in range(2)]
    for name, rows in (("F", slice(60)), ("M", slice(60, 120))):
        expected = [
            metrics.unweighted_average_recall(clips.emotion[rows], labels[rows])
            for labels in predicted
        ]
        assert row["per_gender"][name]["mean"] == pytest.approx(np.mean(expected))


def test_gains_have_intervals_of_the_same_resamples():
    rows = _rows()
    row, reference = rows["dann", "last"], rows["source_only", "last"]
    gain = row["uar_gain"]
    assert gain["mean"] == pytest.approx(row["uar"]["mean"] - reference["uar"]["mean"])
    low, high = gain["interval"]
    assert low < gain["mean"] < high
    over = row["uar_over_baseline"]
    assert over["mean"] == pytest.approx(row["uar"]["mean"] - rows["svm", "last"]["uar"]["mean"])
    assert over["interval"][0] > 0
    assert "uar_gain" not in reference and "uar_over_baseline" in reference
    assert "uar_over_baseline" not in rows["dann", "oracle"]  # nobody can have it


def test_equal_predictions_gain_nothing_for_certain():
    clips = _clips()
    scored = [
        *_score("source_only", clips, (0.5, 0.6, 0.7, 0.8)),
        *_score("dann", clips, (0.5, 0.6, 0.7, 0.8)),
    ]
    assert compare(scored, "last")[1]["uar_gain"]["interval"] == [0, 0]


def test_the_oracle_gap_is_that_of_the_kept_checkpoint():
    rows = _rows()
    gap = rows["dann", "last"]["oracle_gap"]
    expected = rows["dann", "oracle"]["uar"]["mean"] - rows["dann", "last"]["uar"]["mean"]
    assert gap["mean"] == pytest.approx(expected) and len(gap["values"]) == 2
    for name in (("dann", "oracle"), ("svm", "last"), ("source_only", "last")):
        assert "oracle_gap" not in rows[name]


def test_nothing_labelled_has_no_row():
    clips = _clips()._replace(emotion=np.full(120, -1), resamples=None)
    assert _score("dann", clips, (0.5,) * 4) == []
