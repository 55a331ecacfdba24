"""The main job from end to end: what it leaves, what it never looks at, how it survives being killed."""

import itertools
import json
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
from jdann.inference import model
from tests.support.corpora import EMOTIONS, write_manifest
from tests.support.runs import arguments, read, relabelled


@pytest.fixture(scope="module")
def finished(tones, data_dir, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    main(arguments(*tones, workdir, data_dir, "--config.tsne=true"))
    return workdir


def test_leaves_everything_promised(finished):
    results = json.loads((finished / "results.json").read_text())
    assert {(r["method"], r["selection"]) for r in results["rows"]} >= {
        (m, s) for m in ("source_only", "dann") for s in ("last", "source_risk", "oracle")
    } | {("svm", "last")}
    for row in results["rows"]:
        assert row["achievable"] == (row["selection"] != "oracle")
        assert 0 <= row["uar"]["mean"] <= 1
        assert len(row["uar"]["values"]) == (1 if row["method"] == "svm" else 2)
    last, oracle = (
        next(r for r in results["rows"] if (r["method"], r["selection"]) == ("dann", s))["uar"][
            "values"
        ]
        for s in ("last", "oracle")
    )
    assert all(o >= l for o, l in zip(oracle, last, strict=True))
    assert results["directions"][0]["target"]["per_emotion"] == dict.fromkeys(sorted(EMOTIONS), 12)
    predictions = read(finished / "predictions.csv")
    assert len(predictions) == 2 * 60
    for row in predictions:
        p = [float(row[f"p_{name}"]) for name in EMOTIONS]
        assert sum(p) == pytest.approx(1, abs=1e-5)
        assert EMOTIONS[int(np.argmax(p))] == row["predicted"]
        assert row["emotion"] in EMOTIONS and row["speaker"].startswith("s")
    history = read(finished / "history.csv")
    assert len(history) == 2 * 2 * 3  # methods, seeds, epochs
    assert all(float(r["domain_loss"]) > 0 for r in history if r["method"] == "dann")
    assert all(r["domain_loss"] == "" for r in history if r["method"] == "source_only")
    figures = {path.name for path in (finished / "figures").glob("*.png")}
    assert {"classes.png", "speakers.png", "training.png", "per-speaker.png", "confusion-dann-conv1d.png",
            "confusion-svm.png", "tsne-dann-conv1d.png"} <= figures  # fmt: skip
    assert (finished / "log.txt").read_text()
    assert list((finished / "tensorboard").rglob("events*"))
    assert read(finished / "skipped.csv") == []


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


def test_results_json_is_as_documented(finished):
    results = json.loads((finished / "results.json").read_text())
    assert documented_keys("results.md", "## results.json, schema 1") == set(results)
    for key in ("rows", "selection", "predicted_share", "diagnostics"):
        assert documented_keys("results.md", f"### Each of `{key}`") == {
            name for row in results[key] for name in row
        }, key
    (direction,) = results["directions"]
    assert set(direction) == {"source", "target"}
    for side in direction.values():
        assert documented_keys("results.md", "### Each of `directions`") == set(side)
    promised = documented_keys("results.md", "# What a run leaves") - {
        "normalisation-<direction>.npz"
    }
    assert {name.rstrip("/") for name in promised} | {"normalisation-0.npz"} == {
        path.name for path in finished.iterdir()
    }


def test_learns_the_source(finished):
    accuracy = [
        float(r["source_accuracy"])
        for r in read(finished / "history.csv")
        if r["method"] == "source_only"
    ]
    assert max(accuracy) > 0.3


def probabilities(workdir):
    return [
        [row["file"], row["method"], *(row[f"p_{name}"] for name in EMOTIONS)]
        for row in read(workdir / "predictions.csv")
    ]


def test_without_speaker_ids_both_domains_are_normalised_by_voice_and_so_is_a_clip(
    tones, data_dir, tmp_path
):
    rows = read(tones[1])
    target = write_manifest(
        tones[1].with_name("nobody.csv"), [(r["file"],) for r in rows], ("file",)
    )
    main(arguments(tones[0], target, tmp_path / "run", data_dir, "--config.epochs=1"))
    (direction,) = json.loads((tmp_path / "run" / "results.json").read_text())["directions"]
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
    normaliser = model.load_model(model.find_model(tmp_path / "run")).normaliser
    assert normaliser.voice.shape == (len(normaliser.mean), 1) and len(normaliser.mean) > 1


def test_features_on_disk_give_what_those_in_memory_give(finished, tones, data_dir, tmp_path):
    main(arguments(*tones, tmp_path / "run", data_dir, "--config.features_gib=1e-6"))
    assert "read from disk as they are needed" in (tmp_path / "run" / "log.txt").read_text()
    for one, other in zip(probabilities(tmp_path / "run"), probabilities(finished), strict=True):
        assert one[:2] == other[:2]
        np.testing.assert_allclose(
            [float(p) for p in one[2:]], [float(p) for p in other[2:]], atol=1e-3
        )


@pytest.mark.parametrize("change", ["poisoned", "absent"])
def test_target_labels_change_nothing(finished, tones, data_dir, tmp_path, capsys, change):
    turn = dict(zip(EMOTIONS, (*EMOTIONS[1:], EMOTIONS[0]), strict=True))
    target = relabelled(tones[1], f"{change}.csv", turn.get if change == "poisoned" else None)
    main(arguments(tones[0], target, tmp_path / "run", data_dir))
    assert probabilities(tmp_path / "run") == probabilities(finished)
    columns = [c for c in read(finished / "history.csv")[0] if c not in ("source", "target")]
    one, other = (
        [[r[c] for c in columns] for r in read(w / "history.csv")]
        for w in (tmp_path / "run", finished)
    )
    assert one == other
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    if change == "absent":
        assert results["scored"] is False and results["rows"] == []
        assert "could be scored" in capsys.readouterr().out
        assert {r["emotion"] for r in read(tmp_path / "run" / "predictions.csv")} == {""}
    else:
        before = json.loads((finished / "results.json").read_text())
        assert [r["uar"] for r in results["rows"]] != [r["uar"] for r in before["rows"]]


def test_resume_after_kill_equals_the_uninterrupted_run(finished, tones, data_dir, tmp_path):
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
        assert (workdir / name).read_bytes() == (finished / name).read_bytes()
    assert "continues after epoch" in (workdir / "log.txt").read_text()


def test_a_damaged_checkpoint_gives_way_to_the_one_before(finished, tones, data_dir, tmp_path):
    workdir = tmp_path / "damaged"
    shutil.copytree(finished, workdir)
    (workdir / "results.json").unlink()
    newest = workdir / "checkpoints" / "0-conv1d-dann-all" / "3"
    for path in newest.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    main(arguments(*tones, workdir, data_dir, "--config.tsne=true", "--resume"))
    assert (workdir / "predictions.csv").read_bytes() == (finished / "predictions.csv").read_bytes()
    assert "cannot be read" in (workdir / "log.txt").read_text()


def test_evaluate_scores_again_and_elsewhere(finished, tones, data_dir):
    before = json.loads((finished / "results.json").read_text())
    main(["evaluate", str(finished), "--data-dir", str(data_dir)])
    after = json.loads((finished / "results.json").read_text())
    assert [r["uar"] for r in after["rows"]] == [r["uar"] for r in before["rows"]]
    target = relabelled(tones[1], "again.csv", lambda e: e)
    main(["evaluate", str(finished), "--data-dir", str(data_dir), "--target", str(target)])
    (folder,) = (finished / "evaluation").iterdir()
    again = json.loads((folder / "results.json").read_text())
    uar = {(r["method"], r["selection"]): r["uar"]["values"] for r in again["rows"]}
    assert set(uar) == {
        (r["method"], r["selection"]) for r in before["rows"] if r["selection"] == "last"
    }
    for row in before["rows"]:  # the kept parameters give what was recorded while training
        if row["selection"] == "last":
            np.testing.assert_allclose(
                uar[row["method"], row["selection"]], row["uar"]["values"], atol=1e-6
            )


def test_other_utterances_are_not_taken_for_those_of_the_training(
    finished, tones, data_dir, tmp_path, capsys
):
    workdir = tmp_path / "copy"
    shutil.copytree(finished, workdir)
    config = json.loads((workdir / "config.json").read_text())
    fewer = write_manifest(
        tones[1].with_name("fewer.csv"),
        [(r["file"], r["speaker"]) for r in read(tones[1])[1:]],
        ("file", "speaker"),
    )
    (workdir / "config.json").write_text(json.dumps(config | {"target": str(fewer)}))
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", str(workdir), "--data-dir", str(data_dir)])
    assert stopped.value.code == 2
    assert "are not those of this work directory's training" in capsys.readouterr().err


def test_a_run_of_an_earlier_version_is_named(finished, data_dir, tmp_path, capsys):
    workdir = tmp_path / "earlier"
    shutil.copytree(finished, workdir)
    config = json.loads((workdir / "config.json").read_text())
    del config["features"]["relevance"]
    (workdir / "config.json").write_text(json.dumps(config))
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", str(workdir), "--data-dir", str(data_dir)])
    assert stopped.value.code == 2
    assert (
        "config.json: lacks features.relevance, being of another version" in capsys.readouterr().err
    )


def test_both_directions_both_ceilings_and_folds(tones, data_dir, tmp_path):
    main(arguments(*tones, tmp_path / "run", data_dir, "--config.both_directions=true", "--config.protocol=inductive",
                   "--config.folds=2", "--config.epochs=1", "--config.seeds=1", "--config.methods=source_only,supervised",
                   "--config.baseline=false"))  # fmt: skip
    results = json.loads((tmp_path / "run" / "results.json").read_text())
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
    with pytest.raises(SystemExit) as stopped:
        main(arguments(*tones, tmp_path / "run", data_dir, *overrides))
    assert stopped.value.code == 1
    assert "are not finite at step" in capsys.readouterr().err.splitlines()[-1]
