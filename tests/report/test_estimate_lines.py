"""The sentences about an estimated accuracy."""

import pytest

from jdann.inference.recogniser import Recogniser
from jdann.methods.co_training import AS_PROSODY, AS_SOURCE, MIXED
from jdann.report.card import recogniser_card
from jdann.report.estimate_lines import estimate_lines

NAMES = {"source": "english", "target": "calls", "encoder": "mlp"}
INTERVAL = {"low": 0.51, "high": 0.89, "by_speaker": True, "utterances": 40}
ESTIMATE = INTERVAL | {"accuracy": 0.7, "evidence": {}}


def estimate(method: str, accuracy: float = 0.7, **values) -> dict:
    return NAMES | ESTIMATE | {"method": method, "accuracy": accuracy} | values


def test_all_methods_are_listed_in_one_sentence():
    rows = [
        estimate("source_only", 0.5),
        estimate("co_training"),
        estimate("co_training, adapted to each speaker", 0.8),
    ]
    assert estimate_lines({"estimates": rows}) == [
        "Estimated without labels, share of right answers on calls: source_only 50%, "
        "co_training 70%, co_training adapted to each speaker 80%."
    ]


def test_several_encoders_are_named():
    rows = [estimate("dann", 0.5), estimate("dann", 0.6, encoder="conv1d")]
    assert estimate_lines({"estimates": rows})[0].endswith(
        "dann with mlp 50%, dann with conv1d 60%."
    )


@pytest.mark.parametrize("mixed", [0.0, 1.0])
def test_the_basis_of_the_labels_is_said(mixed):
    evidence = {AS_PROSODY: 0.61, AS_SOURCE: 0.42, MIXED: mixed}
    line = estimate_lines({"estimates": [estimate("co_training", evidence=evidence)]})[0]
    assert line.startswith("co_training on calls gave the same emotion as prosody alone for 61%")
    assert "source alone for 42%" in line
    assert ("a mixture of these three" in line) is bool(mixed)


def test_results_of_earlier_versions_have_no_estimate():
    assert estimate_lines({}) == []


def test_the_card_of_a_model_has_its_estimate(finished_run):
    card = Recogniser.load(finished_run).card
    without = recogniser_card(card)[0].lines
    changed = card | {"calibration": card["calibration"] | {"estimate": ESTIMATE}}
    (line,) = set(recogniser_card(changed)[0].lines) - set(without)
    assert "the model gives the right emotion for 70% of the utterances" in line
