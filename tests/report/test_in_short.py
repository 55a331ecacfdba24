"""The first sentences about a run and about a model."""

import pytest

from jdann.report.in_short import in_short, in_short_of_model

NAMES = {"source": "english", "target": "calls", "encoder": "mlp"}


def results(estimates=(), rows=(), **others) -> dict:
    directions = [{"source": {"name": "english"}, "target": {"name": "calls"}}]
    return {"directions": directions, "rows": rows, "estimates": estimates} | others


def estimated(method: str, accuracy: float, by_speaker: bool = True) -> dict:
    ends = {"low": accuracy - 0.2, "high": accuracy + 0.2}
    return NAMES | ends | {"method": method, "accuracy": accuracy, "by_speaker": by_speaker}


def scored(method: str, accuracy: float) -> dict:
    return NAMES | {"method": method, "selection": "last", "accuracy": {"mean": accuracy}}


def test_an_estimate_is_about_the_recommended_method():
    rows = [estimated("co_training", 0.62), estimated("dann", 0.5)]
    (text,) = in_short(results(rows))
    assert text.startswith(
        "In short: co_training gives the right emotion for about 62% of the utterances of calls "
        "(estimated without labels; 90 % interval 42% to 82%). This is good enough to compare "
        "groups of utterances"
    )


def test_labels_count_more_than_an_estimate():
    rows = [scored("co_training", 0.8), scored("dann", 0.7), scored("svm", 0.9)]
    (text,) = in_short(results([estimated("co_training", 0.5)], rows))
    assert text == (
        "In short: co_training gives the right emotion for 80% of the utterances of calls, by "
        "their labels. This is good enough to sort single utterances by emotion."
    )


def test_the_last_method_stands_for_a_run_without_the_recommended_one():
    (text,) = in_short(results([estimated("source_only", 0.6), estimated("mcc", 0.4)]))
    assert "mcc gives the right emotion for about 40%" in text and "too poor" in text
    adapted = estimated("mcc, adapted to each speaker", 0.9)
    assert in_short(results([estimated("mcc", 0.4), adapted])) == in_short(
        results([estimated("mcc", 0.4)])
    )


def test_of_several_encoders_one_is_named():
    rows = [estimated("co_training", 0.5) | {"encoder": name} for name in ("mlp", "conv1d")]
    (text,) = in_short(results(rows))
    assert text.startswith(
        "In short: co_training with conv1d gives the right emotion for about 50%"
    )


@pytest.mark.parametrize("by_speaker", [True, False])
def test_what_would_help_depends_on_what_is_missing(by_speaker):
    (text,) = in_short(results([estimated("co_training", 0.4, by_speaker)]))
    assert "--config.target_labels" in text
    assert ("speaker ids" in text) is not by_speaker


def test_nothing_known_is_nothing_said():
    assert in_short(results()) == []
    assert in_short(results(rows=[scored("dann", 0.7)], labels={"file": "my.csv"})) == []
    card = {"target": {"name": "calls"}}
    assert in_short_of_model(card) is None
    assert in_short_of_model(card | {"calibration": {"estimate": None}}) is None


def test_a_model_knows_its_estimate():
    card = {"target": {"name": "calls"}, "calibration": {"estimate": estimated("any", 0.8)}}
    assert in_short_of_model(card) == (
        "In short: this model gives the right emotion for about 80% of the utterances of calls "
        "(estimated without labels; 90 % interval 60% to 100%). This is good enough to "
        "sort single utterances by emotion."
    )
