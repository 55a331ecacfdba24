"""The estimated accuracy, from a run to its model: target labels do not change it."""

import json

import numpy as np
import pytest

from jdann.cli import main
from jdann.experiments.evaluate import result_folder
from jdann.inference.recogniser import Recogniser
from tests.support.corpora import EMOTIONS, write_tones
from tests.support.runs import arguments, read, relabelled

OPTIONS = (
    "--config.methods=source_only,co_training",
    "--config.epochs=2",
    "--config.features.recipe=prosody",
    "--config.encoder.name=mlp",
)


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
        (estimate,) = results["estimates"]
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
    for target, count in ((third / "list.csv", 0), (again, 1)):
        main([*command, str(target)])
        results = json.loads((result_folder(tmp_path, str(target)) / "results.json").read_text())
        assert len(results["estimates"]) == count


def test_the_confidence_of_a_model_is_the_estimate(tones, data_dir, tmp_path):
    main(arguments(*tones, tmp_path, data_dir, *OPTIONS))
    estimate = json.loads((tmp_path / "results.json").read_text())["estimates"][0]["accuracy"]
    recogniser = Recogniser.load(tmp_path)
    rows = [row for row in read(tmp_path / "predictions.csv") if row["method"] == "co_training"]
    confidence = np.mean([max(float(row[f"p_{name}"]) for name in EMOTIONS) for row in rows])
    if recogniser.temperature > 1:  # predictions.csv has the probabilities before calibration
        assert estimate < confidence
    else:
        assert estimate >= confidence - 1e-3
