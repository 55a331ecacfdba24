"""A run or a model is scored on a few labelled clips, and says which to label next."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from jdann.cli import main
from tests.support.corpora import write_manifest
from tests.support.runs import fail, read


@pytest.fixture
def run(finished_run, tmp_path) -> Path:
    """A copy of the finished run without labels in its predictions."""
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    rows = read(run / "predictions.csv")
    for row in rows:
        row["emotion"] = ""
    write_manifest(run / "predictions.csv", [list(r.values()) for r in rows], tuple(rows[0]))
    return run


def _labels(manifest: Path, folder: Path, change=None, step: int = 3) -> Path:
    """Every third clip of a corpus with its label, by absolute paths."""
    rows = []
    for i, row in enumerate(read(manifest)[::step]):
        emotion = row["emotion"] if change is None else change(i, row["emotion"])
        rows.append((manifest.parent / row["file"], emotion, row["speaker"]))
    return write_manifest(folder / "labels.csv", rows, ("file", "emotion", "speaker"))


def _evaluate(run: Path, labels: Path, data_dir: Path, *more: str) -> dict:
    main(["evaluate", str(run), str(labels), "--data-dir", str(data_dir), *more])
    (written,) = run.glob("evaluation/labels-*/results.json")
    return json.loads(written.read_text())


def test_labelled_clips_are_scored_by_the_predictions_of_the_run(
    run, tones, data_dir, tmp_path, capsys
):
    results = _evaluate(run, _labels(tones[1], tmp_path), data_dir)
    assert results["protocol"] == "transductive" and results["adapted_utterances"] == 20
    rows = {row["method"]: row for row in results["rows"]}
    assert set(rows) == {"source_only", "dann"}
    truth = [row["emotion"] for row in read(tones[1])[::3]]
    for method, row in rows.items():
        predicted = [
            r["predicted"] for r in read(run / "predictions.csv") if r["method"] == method
        ][::3]
        assert row["n"] == 20
        assert row["uar"]["mean"] == pytest.approx(balanced_accuracy_score(truth, predicted))
        assert row["interval"]["resampled"] == "speakers" and row["interval"]["count"] == 4
    printed = " ".join(capsys.readouterr().out.split())
    assert "adapted to all 20 clips, without their labels" in printed
    assert "more labels would narrow it to ±.05" in printed
    assert "--sets" not in printed  # it needs the calibrated probabilities of a model
    assert "20 labelled clips" in results["directions"][0]["target"]["description"]


def test_clips_are_found_by_the_names_in_predictions_csv(run, tones, data_dir, tmp_path):
    """The csv lies elsewhere, so that its paths lead nowhere."""
    rows = [(row["file"], row["emotion"]) for row in read(tones[1])[::4]]
    (tmp_path / "elsewhere").mkdir()
    labels = write_manifest(tmp_path / "elsewhere" / "labels.csv", rows, ("file", "emotion"))
    results = _evaluate(run, labels, data_dir, "--method", "dann")
    assert [row["method"] for row in results["rows"]] == ["dann"]
    assert results["rows"][0]["interval"]["resampled"] == "speakers"  # the run knows them


def test_suggested_clips_can_be_labelled_and_scored(run, tones, data_dir, tmp_path, capsys):
    output = tmp_path / "to_label.csv"
    options = ["--data-dir", str(data_dir)]
    main(["evaluate", str(run), "--suggest", "20", "--output", str(output), *options])
    assert "20 clips to label" in capsys.readouterr().out
    suggested = read(output)
    assert list(suggested[0]) == ["file", "emotion", "speaker", "start", "end", "weight"]
    assert len(suggested) == 20 and {row["emotion"] for row in suggested} == {""}
    assert {row["speaker"] for row in suggested} == {"s0", "s1", "s2", "s3"}
    truth = {str((tones[1].parent / r["file"]).resolve()): r["emotion"] for r in read(tones[1])}
    for row in suggested:
        row["emotion"] = truth[str((tmp_path / row["file"]).resolve())]
    write_manifest(output, [list(row.values()) for row in suggested], tuple(suggested[0]))
    results = _evaluate(run, output, data_dir)
    assert results["labels"]["weighted"]
    # The scores are those of the target in which each clip stands for so many.
    rows = {Path(r["file"]).name: r for r in read(run / "predictions.csv") if r["method"] == "dann"}
    weights = np.array([float(row["weight"]) for row in suggested])
    predicted = [rows[Path(row["file"]).name]["predicted"] for row in suggested]
    labels = [row["emotion"] for row in suggested]
    expected = balanced_accuracy_score(labels, predicted, sample_weight=weights)
    (row,) = (row for row in results["rows"] if row["method"] == "dann")
    assert row["uar"]["mean"] == pytest.approx(expected) and row["n"] == 20
    assert "Weighted: each clip counts" in " ".join(capsys.readouterr().out.split())
    # The next suggestions are other clips.
    second = tmp_path / "more.csv"
    main(["evaluate", str(run), str(output), "--suggest", "100", "--output", str(second), *options])
    assert len(read(second)) == 40
    assert not {r["file"] for r in read(second)} & {r["file"] for r in suggested}


def test_a_model_is_scored_by_recognising_the_clips(run, tones, data_dir, tmp_path, capsys):
    labels = _labels(tones[1], tmp_path, step=5)
    model = run / "recogniser" / "0-conv1d-dann"
    main(["evaluate", str(model), str(labels), "--data-dir", str(data_dir)])
    printed = " ".join(capsys.readouterr().out.split())
    assert "adapted to all 12 clips" in printed and "dann" in printed
    assert "on average. The right one is among them for 90% of clips" in printed
    moved = shutil.copytree(model, tmp_path / "model")
    main(["evaluate", str(moved), str(labels), "--data-dir", str(data_dir)])
    printed = " ".join(capsys.readouterr().out.split())
    assert "not known whether the training adapted to these clips" in printed


def test_a_model_says_that_it_did_not_adapt_to_other_clips(run, tones, data_dir, tmp_path, capsys):
    labels = _labels(tones[0], tmp_path, step=5)
    model = run / "recogniser" / "0-conv1d-dann"
    main(["evaluate", str(model), str(labels), "--data-dir", str(data_dir)])
    assert "did not adapt to any of the 12 clips" in " ".join(capsys.readouterr().out.split())


BAD = {
    "nothing labelled": (lambda i, emotion: "", "no row has an emotion"),
    "one emotion": (lambda i, emotion: "happy", "all 20 labels are happy"),
    "an unknown emotion": (lambda i, emotion: "hapy" if i == 3 else emotion, "did you mean happy"),
    "no emotion of the run": (lambda i, emotion: "boredom", "no label is an emotion of this run"),
}


@pytest.mark.parametrize("name", BAD)
def test_labels_that_say_nothing_are_refused(name, run, tones, data_dir, tmp_path, capsys):
    change, words = BAD[name]
    labels = _labels(tones[1], tmp_path, change)
    message = fail(capsys, "evaluate", run, labels, "--data-dir", data_dir)
    assert words in message and message.count("\n") == 1


def test_other_emotions_are_counted_and_left_out(run, tones, data_dir, tmp_path, capsys):
    labels = _labels(tones[1], tmp_path, lambda i, emotion: "boredom" if i in (2, 5) else emotion)
    results = _evaluate(run, labels, data_dir)
    assert results["rows"][0]["n"] == 18 and results["labels"]["other_labels"] == 2
    assert "2 more clips have labels" in " ".join(capsys.readouterr().out.split())


def test_clips_from_elsewhere_are_refused(run, tones, data_dir, tmp_path, capsys):
    labels = _labels(tones[0], tmp_path)  # the source
    message = fail(capsys, "evaluate", run, labels, "--data-dir", data_dir)
    assert "20 of 20 clips are not in the target" in message and "--target" in message


def test_a_clip_has_one_label(run, tones, data_dir, tmp_path, capsys):
    rows = [(tones[1].parent / "0-0-0.wav", emotion) for emotion in ("happy", "sad")]
    labels = write_manifest(tmp_path / "labels.csv", rows, ("file", "emotion"))
    message = fail(capsys, "evaluate", run, labels, "--data-dir", data_dir)
    assert "line 3 labels" in message and "line 2" in message


def test_what_cannot_be_suggested_is_refused(run, finished_run, tmp_path, data_dir, capsys):
    output = tmp_path / "labels.csv"
    options = ("--output", output, "--data-dir", data_dir)
    message = fail(capsys, "evaluate", finished_run, "--suggest", 5, *options)
    assert "all 60 clips of the target are labelled" in message
    assert "1 or more" in fail(capsys, "evaluate", run, "--suggest", 0, *options)
    output.write_text("file,emotion\n")
    assert "may hold labels" in fail(capsys, "evaluate", run, "--suggest", 5, *options)
    message = fail(capsys, "evaluate", run / "recogniser" / "0-conv1d-dann", "--suggest", 5)
    assert "is not the work directory of a run" in message


@pytest.mark.parametrize(
    "options, words",
    [
        (("--output", "a.csv"), "--suggest"),
        (("--method", "dann"), "labelled clips"),
        (("labels.csv", "--target", "b.csv"), "--target"),
        (("labels.csv", "--direction", "1"), "labels.csv"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words, run, capsys):
    assert words in fail(capsys, "evaluate", run, *options)
