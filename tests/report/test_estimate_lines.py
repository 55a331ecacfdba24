"""The sentences about an estimated accuracy."""

import pytest

from jdann.inference.recogniser import Recogniser
from jdann.report.card import recogniser_card
from jdann.report.estimate_lines import estimate_lines

ESTIMATE = {"accuracy": 0.7, "low": 0.51, "high": 0.89, "by_speaker": True, "utterances": 40}
NAMES = {"method": "co_training", "source": "english", "target": "calls"}


def test_the_accuracy_and_its_interval_are_said_in_words():
    (line,) = estimate_lines({"estimates": [NAMES | ESTIMATE]})
    assert line == (
        "Estimated without labels: co_training on calls gives the right emotion for 70% of the "
        "utterances (90 % interval 51% to 89%)."
    )


@pytest.mark.parametrize(("by_speaker", "expected"), [(True, False), (False, True)])
def test_a_poor_estimate_says_what_would_help(by_speaker, expected):
    poor = ESTIMATE | {"accuracy": 0.4, "low": 0.21, "high": 0.59, "by_speaker": by_speaker}
    (line,) = estimate_lines({"estimates": [NAMES | poor]})
    assert "This is poor." in line and "--config.target_labels" in line
    assert ("speaker ids" in line) is expected


def test_the_other_methods_follow_in_one_sentence():
    other = NAMES | ESTIMATE | {"method": "source_only", "accuracy": 0.5}
    adapted = NAMES | ESTIMATE | {"method": "co_training, adapted to each speaker"}
    lines = estimate_lines({"estimates": [other, NAMES | ESTIMATE, adapted]})
    assert lines[0].startswith("Estimated without labels: co_training on calls")
    assert lines[1:] == [
        "Estimated in the same way on calls: source_only 50%, co_training adapted to each speaker "
        "70%."
    ]
    assert (
        "source_only on calls gives the right emotion for 50%"
        in estimate_lines({"estimates": [other]})[0]
    )


def test_results_of_earlier_versions_have_no_estimate():
    assert estimate_lines({}) == []


def test_the_card_of_a_model_has_its_estimate(finished_run):
    card = Recogniser.load(finished_run).card
    without = recogniser_card(card)[0].lines
    changed = card | {"calibration": card["calibration"] | {"estimate": ESTIMATE}}
    (line,) = set(recogniser_card(changed)[0].lines) - set(without)
    assert "the model gives the right emotion for 70% of the utterances" in line
