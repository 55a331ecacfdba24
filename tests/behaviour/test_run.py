"""A run from end to end: what it leaves, what it never reads, and how it continues after a kill."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jdann.cli import main
from jdann.configuration import load_config
from jdann.errors import InputError
from jdann.experiments import workdir as work_directory
from jdann.experiments.evaluate import result_folder
from jdann.experiments.replaced import replacing
from jdann.inference import model
from jdann.inference.recogniser import Recogniser
from tests.support.corpora import EMOTIONS, write_manifest, write_tones
from tests.support.runs import arguments, fail, read, relabelled


@pytest.fixture
def copy(finished_run, tmp_path) -> Path:
    """A copy of the finished run, which a test may change."""
    return Path(shutil.copytree(finished_run, tmp_path / "copy"))


def read_json(path: Path):
    return json.loads(path.read_text())


def test_leaves_everything_promised(finished_run):
    results = read_json(finished_run / "results.json")
    assert {(r["method"], r["selection"]) for r in results["rows"]} >= {
        (m, s) for m in ("source_only", "dann") for s in ("last", "source_risk", "oracle")
    } | {("svm", "last")}
    for row in results["rows"]:
        assert row["achievable"] == (row["selection"] != "oracle")
        assert 0 <= row["uar"]["mean"] <= 1
        assert len(row["uar"]["values"]) == (1 if row["method"] == "svm" else 2)
    uar = {
        row["selection"]: row["uar"]["values"] for row in results["rows"] if row["method"] == "dann"
    }
    assert all(best >= last for best, last in zip(uar["oracle"], uar["last"], strict=True))
    assert results["directions"][0]["target"]["per_emotion"] == dict.fromkeys(sorted(EMOTIONS), 12)
    predictions = read(finished_run / "predictions.csv")
    assert len(predictions) == 2 * 60
    for row in predictions:
        probability = [float(row[f"p_{name}"]) for name in EMOTIONS]
        assert sum(probability) == pytest.approx(1, abs=1e-5)
        assert EMOTIONS[int(np.argmax(probability))] == row["predicted"]
        assert row["emotion"] in EMOTIONS and row["speaker"].startswith("s")
    history = read(finished_run / "history.csv")
    assert len(history) == 2 * 2 * 3  # methods, seeds, epochs
    assert all(float(r["domain_loss"]) > 0 for r in history if r["method"] == "dann")
    assert all(r["domain_loss"] == "" for r in history if r["method"] == "source_only")
    figures = {path.name for path in (finished_run / "figures").glob("*.png")}
    assert figures >= {
        "classes.png",
        "speakers.png",
        "training.png",
        "per-speaker.png",
        "confusion-dann-conv1d.png",
        "confusion-svm.png",
        "tsne-dann-conv1d.png",
    }
    assert (finished_run / "log.txt").read_text()
    assert list((finished_run / "tensorboard").rglob("events*"))
    assert read(finished_run / "skipped.csv") == []


def documented_keys(page: str, section: str) -> set[str]:
    """The names in the first column of the table under a heading of a page in docs/."""
    text = (Path(__file__).parents[2] / "docs" / page).read_text().split(f"{section}\n", 1)[1]
    rows = itertools.takewhile(lambda line: not line.startswith("#"), text.splitlines())
    return {
        name
        for row in rows
        if row.startswith("| `")
        for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])
    }


def test_results_json_is_as_documented(finished_run):
    results = read_json(finished_run / "results.json")
    assert documented_keys("results.md", "## results.json, schema 1") == set(results)
    for key in ("rows", "selection", "predicted_share", "diagnostics"):
        assert documented_keys("results.md", f"### Each of `{key}`") == {
            name for row in results[key] for name in row
        }, key
    (direction,) = results["directions"]
    assert set(direction) == {"source", "target"}
    for side in direction.values():
        assert documented_keys("results.md", "### Each of `directions`") == set(side)
    promised = documented_keys("results.md", "# The files of a run") - {
        "normalisation-<direction>.npz",
        "layers.json",  # only with a pretrained encoder: tests/behaviour/test_pretrained.py
    }
    assert {name.rstrip("/") for name in promised} | {"normalisation-0.npz"} == {
        path.name for path in finished_run.iterdir()
    }


def test_learns_the_source(finished_run):
    accuracy = [
        float(r["source_accuracy"])
        for r in read(finished_run / "history.csv")
        if r["method"] == "source_only"
    ]
    assert max(accuracy) > 0.3


def probabilities(workdir):
    return [
        [row["file"], row["method"], *(row[f"p_{name}"] for name in EMOTIONS)]
        for row in read(workdir / "predictions.csv")
    ]


@pytest.mark.slow
def test_without_speaker_ids_both_domains_are_normalised_by_voice_and_so_is_a_clip(
    tones, data_dir, tmp_path
):
    rows = read(tones[1])
    target = write_manifest(
        tones[1].with_name("nobody.csv"), [(r["file"],) for r in rows], ("file",)
    )
    main(arguments(tones[0], target, tmp_path / "run", data_dir, "--config.epochs=1"))
    (direction,) = read_json(tmp_path / "run" / "results.json")["directions"]
    assert (
        "60 of 60 utterances have no speaker id: each is normalised among voices like its own"
        in direction["target"]["notes"]
    )
    assert any(
        note.startswith("normalised by voice, as nobody.csv is")
        for note in direction["source"]["notes"]
    )
    groups = np.load(tmp_path / "run" / "normalisation-0.npz")
    assert all(len(groups[name]) == 60 for name in groups.files if name.endswith("groups"))
    adaptation = model.load_model(model.find_model(tmp_path / "run")).adaptation
    assert adaptation.voice.shape == (len(adaptation.mean), 1) and len(adaptation.mean) > 1


@pytest.mark.slow
def test_features_on_disk_give_what_those_in_memory_give(finished_run, tones, data_dir, tmp_path):
    main(arguments(*tones, tmp_path / "run", data_dir, "--config.features_gib=1e-6"))
    assert "read from disk as they are needed" in (tmp_path / "run" / "log.txt").read_text()
    from_disk, in_memory = probabilities(tmp_path / "run"), probabilities(finished_run)
    assert [row[:2] for row in from_disk] == [row[:2] for row in in_memory]
    np.testing.assert_allclose(
        [[float(p) for p in row[2:]] for row in from_disk],
        [[float(p) for p in row[2:]] for row in in_memory],
        atol=1e-3,
    )


@pytest.mark.parametrize("change", ["poisoned", pytest.param("absent", marks=pytest.mark.slow)])
def test_target_labels_change_nothing(finished_run, tones, data_dir, tmp_path, capsys, change):
    turn = dict(zip(EMOTIONS, (*EMOTIONS[1:], EMOTIONS[0]), strict=True))
    target = relabelled(tones[1], f"{change}.csv", turn.get if change == "poisoned" else None)
    main(arguments(tones[0], target, tmp_path / "run", data_dir))
    assert probabilities(tmp_path / "run") == probabilities(finished_run)
    columns = [c for c in read(finished_run / "history.csv")[0] if c not in ("source", "target")]
    changed, original = (
        [[row[column] for column in columns] for row in read(workdir / "history.csv")]
        for workdir in (tmp_path / "run", finished_run)
    )
    assert changed == original
    results = read_json(tmp_path / "run" / "results.json")
    if change == "absent":
        assert results["scored"] is False and results["rows"] == []
        assert "could be scored" in capsys.readouterr().out
        assert {r["emotion"] for r in read(tmp_path / "run" / "predictions.csv")} == {""}
    else:
        before = read_json(finished_run / "results.json")
        assert [r["uar"] for r in results["rows"]] != [r["uar"] for r in before["rows"]]


@pytest.mark.slow
def test_resume_after_kill_equals_the_uninterrupted_run(finished_run, tones, data_dir, tmp_path):
    workdir = tmp_path / "killed"
    command = [
        sys.executable,
        "run.py",
        *arguments(*tones, workdir, data_dir, "--config.tsne=true"),
    ]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    saved = workdir / "checkpoints" / "0-conv1d-dann-all"
    deadline = time.monotonic() + 240
    while (
        not any(p.name.isdigit() for p in saved.glob("*"))
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (workdir / "results.json").exists()
    main(arguments(*tones, workdir, data_dir, "--config.tsne=true", "--resume"))
    for name in ("predictions.csv", "history.csv"):
        assert (workdir / name).read_bytes() == (finished_run / name).read_bytes()
    assert "continues after epoch" in (workdir / "log.txt").read_text()


@pytest.mark.slow
def test_a_damaged_checkpoint_gives_way_to_the_one_before(finished_run, copy, tones, data_dir):
    (copy / "results.json").unlink()
    newest = copy / "checkpoints" / "0-conv1d-dann-all" / "3"
    for path in newest.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    main(arguments(*tones, copy, data_dir, "--config.tsne=true", "--resume"))
    assert (copy / "predictions.csv").read_bytes() == (
        finished_run / "predictions.csv"
    ).read_bytes()
    assert "cannot be read" in (copy / "log.txt").read_text()


@pytest.mark.slow
def test_evaluate_scores_again_and_on_the_same_audio_in_another_list(copy, tones, data_dir):
    before = read_json(copy / "results.json")
    main(["evaluate", str(copy), "--data-dir", str(data_dir)])
    after = read_json(copy / "results.json")
    assert [row["uar"] for row in after["rows"]] == [row["uar"] for row in before["rows"]]
    target = relabelled(tones[1], "again.csv", lambda emotion: emotion)
    main(["evaluate", str(copy), "--data-dir", str(data_dir), "--target", str(target)])
    (folder,) = (copy / "evaluation").iterdir()
    repeated = read_json(folder / "results.json")
    assert repeated["protocol"] == "transductive"  # its utterances were adapted to
    assert {row["protocol"] for row in repeated["rows"]} == {"transductive"}
    last = [row for row in before["rows"] if row["selection"] == "last"]
    uar = {(row["method"], row["selection"]): row["uar"]["values"] for row in repeated["rows"]}
    assert set(uar) == {(row["method"], row["selection"]) for row in last}
    for row in last:  # the kept parameters give what was recorded while training
        np.testing.assert_allclose(
            uar[row["method"], row["selection"]], row["uar"]["values"], atol=1e-6
        )


@pytest.mark.slow
def test_evaluate_says_whether_the_run_adapted_to_the_scored_utterances(
    copy, tones, data_dir, tmp_path, monkeypatch
):
    """A part of the target is found from any folder by relative paths; equal names do not mix."""
    new = write_tones(tmp_path / "new", 5, 200.0, speakers=2, takes=1)
    rows = [(new.parent / r["file"], r["emotion"], r["speaker"], "en") for r in read(new)]
    adapted = [
        (tones[1].parent / r["file"], r["emotion"], r["speaker"], "en") for r in read(tones[1])
    ]
    (tmp_path / "a").mkdir()
    targets = {
        "a/b.csv": adapted[:20],
        "a-b.csv": rows,
        "both.csv": rows + adapted[:3],
    }
    monkeypatch.chdir(tmp_path)
    for name, part in targets.items():
        write_manifest(Path(name), part)
        main(["evaluate", str(copy), "--data-dir", str(data_dir), "--target", name])
    results = [read_json(path) for path in (copy / "evaluation").glob("*/results.json")]
    by_target = {
        Path(r["config"]["target"]).relative_to(tmp_path.resolve()).as_posix(): r for r in results
    }
    assert {name: r["protocol"] for name, r in by_target.items()} == {
        "a/b.csv": "transductive",
        "a-b.csv": "elsewhere",
        "both.csv": "elsewhere",
    }
    assert {name: r["rows"][0]["n"] for name, r in by_target.items()} == {
        name: len(part) for name, part in targets.items()
    }
    assert {name: r["adapted_utterances"] for name, r in by_target.items()} == {
        "a/b.csv": 20,
        "a-b.csv": 0,
        "both.csv": 3,
    }
    # The report describes the run's corpora from here.
    main(["report", str(copy), "--data-dir", str(data_dir)])
    page = (copy / "report.html").read_text()
    assert page.count("Scored on ") >= 3
    # The run's own target is gone.
    config = read_json(copy / "config.json")
    (copy / "config.json").write_text(json.dumps(config | {"target": "gone.csv"}))
    main(["evaluate", str(copy), "--data-dir", str(data_dir), "--target", "a/b.csv"])
    unknown = read_json(result_folder(copy, "a/b.csv") / "results.json")
    assert unknown["protocol"] == "elsewhere" and "adapted_utterances" not in unknown


def test_overwrite_removes_all_that_a_run_left(copy, tones, data_dir):
    """Else predict, serve and report would answer with the recogniser of the replaced run."""
    main(["report", str(copy), "--data-dir", str(data_dir)])
    (copy / "evaluation" / "old").mkdir(parents=True)
    Recogniser.load(copy)
    config = work_directory.read_config(copy)
    work_directory.check(copy, config, resume=False, overwrite=True)
    with replacing(copy, overwrite=True):
        work_directory.begin(copy, config)
        assert {path.name for path in copy.iterdir()} == {
            "config.json",
            "figures",
            "log.txt",
            "replaced",
        }
        assert not list((copy / "figures").iterdir())
        with pytest.raises(InputError):
            Recogniser.load(copy)
    assert not (copy / "replaced").exists()


@pytest.mark.slow
def test_a_config_with_relative_paths_of_an_earlier_version_is_still_the_same_config(
    copy, tones, data_dir, monkeypatch
):
    config = read_json(copy / "config.json")
    assert [config["source"], config["target"]] == [str(path.resolve()) for path in tones]
    root = Path(os.path.commonpath(tones))
    relative = {
        key: str(path.relative_to(root))
        for key, path in zip(("source", "target"), tones, strict=True)
    }
    (copy / "config.json").write_text(json.dumps(config | relative))
    monkeypatch.chdir(root)
    absolute = load_config(
        str(copy / "config.json"), list(zip(relative, map(str, tones), strict=True))
    )
    work_directory.check(copy, absolute, resume=True, overwrite=False)
    main(["evaluate", str(copy), "--data-dir", str(data_dir)])


def test_other_utterances_are_not_taken_for_those_of_the_training(copy, tones, data_dir, capsys):
    config = read_json(copy / "config.json")
    fewer = write_manifest(
        tones[1].with_name("fewer.csv"),
        [(row["file"], row["speaker"]) for row in read(tones[1])[1:]],
        ("file", "speaker"),
    )
    (copy / "config.json").write_text(json.dumps(config | {"target": str(fewer)}))
    message = fail(capsys, "evaluate", copy, "--data-dir", data_dir)
    assert "are not those of this work directory's training" in message


def test_a_run_of_an_earlier_version_is_named(copy, data_dir, capsys):
    config = read_json(copy / "config.json")
    del config["features"]["relevance"]
    (copy / "config.json").write_text(json.dumps(config))
    message = fail(capsys, "evaluate", copy, "--data-dir", data_dir)
    assert "config.json: lacks features.relevance, because another version" in message


@pytest.mark.slow
def test_both_directions_both_ceilings_and_folds(tones, data_dir, tmp_path):
    overrides = (
        "both_directions=true",
        "protocol=inductive",
        "folds=2",
        "epochs=1",
        "seeds=1",
        "methods=source_only,supervised",
        "baseline=false",
    )
    more = [f"--config.{override}" for override in overrides]
    main(arguments(*tones, tmp_path / "run", data_dir, *more))
    results = read_json(tmp_path / "run" / "results.json")
    rows = [r for r in results["rows"] if r["selection"] == "last"]
    assert {r["method"] for r in rows} == {
        "source_only",
        "supervised, random split",
        "supervised, unseen speakers",
    }
    assert len(rows) == 6
    assert all(r["n"] == 60 for r in rows)


def test_nan_stops_the_run_and_names_the_step(tones, data_dir, tmp_path, capsys):
    wild = ("learning_rate=1e38", "name=sgd", "clip_norm=0", "schedule=constant")
    overrides = ("--config.methods=source_only", *(f"--config.optimiser.{o}" for o in wild))
    run = arguments(*tones, tmp_path / "run", data_dir, *overrides)
    assert "are not finite at step" in fail(capsys, *run, status=1).splitlines()[-1]
