"""The estimated accuracy, from a run to its model: target labels do not change it."""

import json
from pathlib import Path

import numpy as np
import pytest

from jdann.cli import main
from jdann.experiments.evaluate import result_folder
from jdann.inference.recogniser import Recogniser
from jdann.methods.co_training import AS_PROSODY, AS_SOURCE, MIXED
from jdann.report.estimate_lines import estimate_lines
from tests.support.corpora import EMOTIONS, write_tones
from tests.support.runs import arguments, read, relabelled

OPTIONS = (
    "--config.methods=source_only,co_training",
    "--config.epochs=2",
    "--config.features.recipe=prosody",
    "--config.encoder.name=mlp",
)


@pytest.fixture(scope="module")
def run(tones, data_dir, tmp_path_factory) -> Path:
    """The work directory of a run. No test may change it."""
    workdir = tmp_path_factory.mktemp("estimate") / "run"
    main(arguments(*tones, workdir, data_dir, *OPTIONS))
    return workdir


@pytest.mark.slow
def test_target_labels_do_not_change_the_estimate(tones, data_dir, tmp_path):
    turn = dict(zip(EMOTIONS, (*EMOTIONS[1:], EMOTIONS[0]), strict=True))
    estimates = []
    for name, target in (
        ("true", tones[1]),
        ("turned", relabelled(tones[1], "turned-estimate.csv", turn.get)),
    ):
        workdir = tmp_path / name
        main(arguments(tones[0], target, workdir, data_dir, *OPTIONS))
        results = json.loads((workdir / "results.json").read_text())
        estimate = results["estimates"][-1]
        assert estimate["method"] == "co_training" and estimate["utterances"] == 60
        estimates.append(estimate["accuracy"])
        model = Recogniser.load(workdir).card["calibration"]
        assert model["by"] == "estimated_accuracy"
        assert model["estimate"]["accuracy"] == pytest.approx(estimate["accuracy"], abs=1e-3)
    assert estimates[0] == estimates[1]


@pytest.mark.slow
def test_nothing_is_estimated_for_a_corpus_that_was_not_adapted_to(tones, data_dir, tmp_path):
    main(arguments(*tones, tmp_path, data_dir, *OPTIONS))
    command = ["evaluate", str(tmp_path), "--data-dir", str(data_dir), "--target"]
    again = relabelled(tones[1], "again-estimate.csv", lambda emotion: emotion)
    third = tmp_path / "third"
    write_tones(third, 2, 190.0)
    for target, count in ((third / "list.csv", 0), (again, 2)):
        main([*command, str(target)])
        results = json.loads((result_folder(tmp_path, str(target)) / "results.json").read_text())
        assert len(results["estimates"]) == count


def test_the_confidence_of_predictions_is_the_estimate(run):
    """For every method, in the file of predictions and in the model."""
    estimates = json.loads((run / "results.json").read_text())["estimates"]
    assert [estimate["method"] for estimate in estimates] == ["source_only", "co_training"]
    for estimate in estimates:
        method = estimate["method"]
        rows = [row for row in read(run / "predictions.csv") if row["method"] == method]
        confidence = np.mean([max(float(row[f"p_{name}"]) for name in EMOTIONS) for row in rows])
        if Recogniser.load(run, method=method).temperature > 1:
            assert confidence == pytest.approx(estimate["accuracy"], abs=0.01)
        else:  # a temperature below 1 would make the answers more confident than after training
            assert confidence <= estimate["accuracy"] + 0.01


def test_the_evidence_of_the_labels_is_kept(run):
    """In results.json, in each row of history.csv, and in a sentence."""
    results = json.loads((run / "results.json").read_text())
    without, evidence = (estimate["evidence"] for estimate in results["estimates"])
    assert without == {} and set(evidence) == {AS_PROSODY, AS_SOURCE, MIXED}
    rows = [row for row in read(run / "history.csv") if row["method"] == "co_training"]
    for name, value in evidence.items():
        assert 0 <= value <= 1
        assert np.mean([float(row[name]) for row in rows]) == pytest.approx(value, abs=1e-5)
    line = estimate_lines(results)[0]
    assert f"same emotion as prosody alone for {evidence[AS_PROSODY]:.0%}" in line
