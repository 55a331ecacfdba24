"""New speakers from end to end: what an inductive run reports, and what its model predicts."""

import json

import numpy as np
import pytest

from jdann.cli import main
from jdann.inference import model
from tests.support.corpora import EMOTIONS, write_manifest
from tests.support.runs import arguments, read, relabelled

pytestmark = pytest.mark.slow
OPTIONS = (
    "--config.methods=source_only,co_training",
    "--config.epochs=2",
    "--config.features.recipe=statistics",
    "--config.encoder.name=mlp",
    "--config.protocol=inductive",
    "--config.folds=2",
    "--config.baseline=False",
)
ADAPTED = "co_training, adapted to each speaker"


@pytest.fixture(scope="module")
def inductive_run(tones, data_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("inductive") / "run"
    main(arguments(*tones, workdir, data_dir, *OPTIONS))
    return workdir


def test_a_row_tells_what_new_speakers_get_after_adaptation(inductive_run):
    results = json.loads((inductive_run / "results.json").read_text())
    rows = {(row["method"], row["selection"]): row for row in results["rows"]}
    row, network = rows[ADAPTED, "last"], rows["co_training", "last"]
    assert row["protocol"] == network["protocol"] == "inductive"
    assert row["n"] == network["n"] == 60
    assert len(row["uar"]["values"]) == len(network["uar"]["values"])
    assert row["uar_gain"] is not None


def test_predict_adapts_to_the_speakers_of_a_csv_together(inductive_run, tones, tmp_path):
    rows = [(tones[1].parent / r["file"], r["speaker"]) for r in read(tones[1])][::2]
    both = write_manifest(tmp_path / "both.csv", rows, ("file", "speaker"))
    few = write_manifest(tmp_path / "few.csv", rows[:8], ("file", "speaker"))
    answers = []
    for path in (both, few):
        output = tmp_path / f"{path.stem}-out.csv"
        main(["predict", str(inductive_run), str(path), "--adapt", "--csv", str(output)])
        answers.append([[float(r[f"p_{e}"]) for e in EMOTIONS] for r in read(output)])
    assert len(answers[0]) == 30 and np.allclose(np.sum(answers[0], 1), 1, atol=1e-4)
    assert np.abs(np.array(answers[0][:8]) - answers[1]).max() > 1e-4


def test_target_labels_do_not_change_what_new_speakers_get(
    inductive_run, tones, data_dir, tmp_path
):
    turn = dict(zip(EMOTIONS, (*EMOTIONS[1:], EMOTIONS[0]), strict=True))
    target = relabelled(tones[1], "turned-new-speakers.csv", turn.get)
    main(arguments(tones[0], target, tmp_path / "run", data_dir, *OPTIONS))
    references = [
        model.load_model(model.find_model(workdir)).reference
        for workdir in (inductive_run, tmp_path / "run")
    ]
    for array, changed in zip(*references, strict=True):
        np.testing.assert_array_equal(array, changed)
