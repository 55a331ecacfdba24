"""A few labels of the target, from end to end: they are trained on and not scored."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jdann.cli import main
from tests.support.corpora import EMOTIONS, write_manifest
from tests.support.runs import arguments, fail, read, relabelled

LABELLED = slice(0, 60, 5)  # twelve of the sixty utterances of the target
SHORT = ("--config.methods=source_only,self_training", "--config.epochs=2")


@pytest.fixture(scope="module")
def few(tones) -> Path:
    """True labels of a fifth of the target."""
    rows = [(row["file"], row["emotion"]) for row in read(tones[1])][LABELLED]
    return write_manifest(tones[1].with_name("few.csv"), rows, ("file", "emotion"))


@pytest.fixture(scope="module")
def run_options(few, data_dir):
    """A function that returns the options of a run with the labels of `few`."""

    def options(source, target, workdir):
        labels = f"--config.target_labels={few}"
        return arguments(source, target, workdir, data_dir, *SHORT, labels)

    return options


@pytest.fixture(scope="module")
def labelled_run(tones, run_options, tmp_path_factory) -> Path:
    """A run with labels. No test may change it."""
    workdir = tmp_path_factory.mktemp("few") / "run"
    main(run_options(*tones, workdir))
    return workdir


@pytest.fixture
def copy(labelled_run, tmp_path) -> Path:
    return Path(shutil.copytree(labelled_run, tmp_path / "copy"))


def results_of(workdir):
    return json.loads((workdir / "results.json").read_text())


def probabilities(workdir):
    return {
        (row["method"], row["file"]): [row[f"p_{name}"] for name in EMOTIONS]
        for row in read(workdir / "predictions.csv")
    }


def test_the_labelled_utterances_are_counted_and_not_scored(labelled_run, tones, few):
    results = results_of(labelled_run)
    (direction,) = results["directions"]
    assert direction["target"]["target_labels"] == 12 and direction["target"]["utterances"] == 60
    assert direction["source"]["target_labels"] == 0
    assert {row["method"] for row in results["rows"]} == {"source_only", "self_training", "svm"}
    assert {row["n"] for row in results["rows"]} == {48}
    labelled = {row["file"] for row in read(few)}
    predicted = {file for _, file in probabilities(labelled_run)}
    assert predicted == {row["file"] for row in read(tones[1])} - labelled


@pytest.mark.slow
def test_labels_outside_the_file_change_nothing(labelled_run, tones, run_options, tmp_path):
    turn = dict(zip(EMOTIONS, (*EMOTIONS[1:], EMOTIONS[0]), strict=True))
    target = relabelled(tones[1], "poisoned-few.csv", turn.get)
    main(run_options(tones[0], target, tmp_path / "run"))
    assert probabilities(tmp_path / "run") == probabilities(labelled_run)
    scores = [
        [row["uar"]["mean"] for row in results_of(workdir)["rows"]]
        for workdir in (tmp_path / "run", labelled_run)
    ]
    assert scores[0] != scores[1]


@pytest.mark.slow
def test_labels_in_the_file_change_every_method(
    labelled_run, tones, few, run_options, data_dir, tmp_path
):
    turned = [(row["file"], "happy") for row in read(few)]
    labels = write_manifest(tones[1].with_name("happy.csv"), turned, ("file", "emotion"))
    options = [*run_options(*tones, tmp_path / "run"), f"--config.target_labels={labels}"]
    main(options)
    after, before = probabilities(tmp_path / "run"), probabilities(labelled_run)
    assert after.keys() == before.keys()
    assert all(after[row] != before[row] for row in before)


@pytest.mark.slow
def test_evaluate_and_resume_keep_the_labels(copy, labelled_run, tones, run_options, data_dir):
    before = results_of(labelled_run)
    main(["evaluate", str(copy), "--data-dir", str(data_dir)])
    assert [row["uar"] for row in results_of(copy)["rows"]] == [r["uar"] for r in before["rows"]]
    (copy / "results.json").unlink()
    main([*run_options(*tones, copy), "--resume"])
    predictions = (copy / "predictions.csv").read_bytes()
    assert predictions == (labelled_run / "predictions.csv").read_bytes()


def test_evaluate_scores_no_labelled_utterance_of_another_list(copy, tones, data_dir):
    target = relabelled(tones[1], "again-few.csv", lambda emotion: emotion)
    main(["evaluate", str(copy), "--data-dir", str(data_dir), "--target", str(target)])
    (folder,) = (copy / "evaluation").iterdir()
    evaluated = results_of(folder)
    assert evaluated["adapted_utterances"] == 60 and evaluated["protocol"] == "transductive"
    assert evaluated["directions"][0]["target"]["target_labels"] == 12
    expected = {
        row["method"]: row["uar"]["values"]
        for row in results_of(copy)["rows"]
        if row["selection"] == "last" and row["method"] != "svm"
    }
    for row in evaluated["rows"]:
        assert row["n"] == 48
        if row["method"] in expected and row["selection"] == "last":
            np.testing.assert_allclose(row["uar"]["values"], expected[row["method"]], atol=1e-6)


@pytest.mark.slow
def test_a_changed_file_of_labels_is_refused(copy, tones, few, run_options, data_dir, capsys):
    original = few.read_text()
    lines = original.splitlines()
    turned = lines[1].replace("neutral", "sad")
    assert turned != lines[1]
    try:
        few.write_text("\n".join([lines[0], turned, *lines[2:]]) + "\n")
        for command in (
            [*run_options(*tones, copy), "--resume"],
            ["evaluate", copy, "--data-dir", data_dir],
        ):
            message = fail(capsys, *command).splitlines()[-1]
            assert "config.target_labels or folds are not those of this work directory" in message
    finally:
        few.write_text(original)


def test_unusable_labels_are_named_before_training(tones, data_dir, tmp_path, capsys):
    absent = tmp_path / "absent.csv"
    strange = write_manifest(tmp_path / "strange.csv", [("no.wav", "sad")], ("file", "emotion"))
    for path, expected in ((absent, "no such file"), (strange, "no.wav is no usable clip")):
        labels = f"--config.target_labels={path}"
        message = fail(capsys, *arguments(*tones, tmp_path / "run", data_dir, *SHORT, labels))
        assert expected in message.splitlines()[-1]
    assert not (tmp_path / "run" / "checkpoints").exists()
