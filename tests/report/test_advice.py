"""The sentence that says which method to use."""

import pytest

from jdann.report.advice import advise

NAMES = {"source": "a.csv", "target": "b.csv"}


def make_results(scores, trained=("source_only", "co_training", "svm")):
    rows = [
        NAMES
        | {
            "method": method,
            "selection": selection,
            "uar": {"mean": uar, "std": 0.01 if selection == "last" else None},
        }
        for method, by_selection in scores.items()
        for selection, uar in by_selection.items()
    ]
    directions = [{"source": {"name": "a.csv"}, "target": {"name": "b.csv"}}]
    shares = [NAMES | {"method": method} for method in trained]
    return {"directions": directions, "rows": rows, "predicted_share": shares}


def test_the_best_method_that_needs_no_target_labels_is_named():
    scores = {
        "source_only": {"last": 0.5, "oracle": 0.9},
        "co_training": {"last": 0.7, "oracle": 0.7},
        "supervised, random split": {"last": 0.95},
    }
    expected = "Use co_training: its UAR is .700 ±.010 here (source_only .500 ±.010)."
    assert advise(make_results(scores)) == expected


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ([0.02, 0.2], ""),
        (
            [-0.1, 0.2],
            " It is not clearly better than the svm: 95 % interval of the gain -.100 to +.200.",
        ),
        (
            [-0.2, -0.1],
            " But the svm is better (-.200 to -.100): adaptation does not help on this pair.",
        ),
        (None, ""),
    ],
)
def test_the_best_method_is_compared_with_the_baseline(interval, expected):
    results = make_results({"co_training": {"last": 0.5}, "svm": {"last": 0.5}})
    results["rows"][0]["uar_over_baseline"] = {"mean": 0.0, "interval": interval}
    begin = "Use co_training: its UAR is .500 ±.010 here (svm .500 ±.010)."
    assert advise(results) == begin + expected


@pytest.mark.parametrize(
    ("trained", "begin"),
    [(("source_only", "co_training"), "Use co_training: nothing can be scored"), (("mcc",), None)],
)
def test_without_labels_the_measured_pairs_decide(trained, begin):
    sentence = advise(make_results({}, trained))
    assert sentence is None if begin is None else sentence.startswith(begin)


def test_one_method_needs_no_choice():
    assert advise(make_results({"mcc": {"last": 0.5}})) is None
