"""`jdann predict` and `jdann export` on a real run: their output and their exit status."""

import csv
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jdann import Recogniser, audio
from jdann.cli import main
from jdann.inference import export
from jdann.selection.calibration import ESTIMATED, THRESHOLDED
from tests.support.corpora import EMOTIONS, write_manifest
from tests.support.runs import arguments, read


@pytest.fixture(scope="module")
def finished(tones, data_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("predict") / "run"
    main(
        [
            *arguments(*tones, workdir, data_dir),
            "--config.baseline=false",
            "--config.features.relevance=0",
        ]
    )
    return workdir


@pytest.fixture(scope="module")
def folder(tones):
    return tones[1].parent


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run(capsys, *words) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of the command line."""
    capsys.readouterr()
    status = 0
    try:
        main([str(word) for word in words])
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    out, err = capsys.readouterr()
    return status, out, err


def test_a_run_leaves_a_recogniser_of_each_method(finished):
    assert {p.name for p in (finished / "recogniser").iterdir()} == {
        "0-conv1d-source_only",
        "0-conv1d-dann",
    }
    card = Recogniser.load(finished).card
    assert card["method"] == "dann" and card["seeds"] == [0, 1] and card["labels"] == list(EMOTIONS)
    errors = card["calibration"]["expected_calibration_error"]
    criteria = {"none", "source", "importance_weighted", THRESHOLDED, ESTIMATED}
    assert set(errors) == set(card["calibration"]["temperatures"]) == criteria
    for error in errors.values():
        assert all(0 <= error[domain] <= 1 for domain in ("source", "target"))
    for path in (finished / "recogniser").rglob("*"):
        assert path.is_dir() or path.name in ("model.json", "model.safetensors")


def test_a_recogniser_repeats_the_run(finished, folder):
    """Adapted to each speaker, it gives predictions.csv up to float16."""
    rows = [r for r in read(finished / "predictions.csv") if r["method"] == "dann"]
    recogniser = Recogniser.load(finished)
    for speaker in ("s0", "s3"):
        of_speaker = [r for r in rows if r["speaker"] == speaker]
        files = [folder / r["file"] for r in of_speaker]
        probabilities = recogniser.adapt(files, relevance=0).probabilities(files)
        expected = [[float(r[f"p_{name}"]) for name in EMOTIONS] for r in of_speaker]
        np.testing.assert_allclose(probabilities, expected, atol=3e-3)


def test_python_command_line_and_export_agree(finished, folder, tmp_path, capsys):
    clip = folder / "1-2-0.wav"
    python = Recogniser.load(finished)(clip)
    status, out, _ = run(capsys, "predict", finished, clip, "--json")
    assert status == 0
    row = json.loads(out)
    assert {name: row[f"p_{name}"] for name in EMOTIONS} == pytest.approx(python, abs=1e-5)
    assert row["predicted"] == max(python, key=python.get) and row["file"] == str(clip)
    status, out, _ = run(capsys, "export", finished, tmp_path / "model.jdann")
    assert status == 0 and "mono at 16000 Hz" in out
    assert export.Exported(tmp_path / "model.jdann").file(clip) == pytest.approx(python, abs=1e-5)
    assert run(capsys, "export", finished, tmp_path / "model.jdann")[0] == 2


def test_folders_patterns_and_csv_files(finished, folder, tmp_path, capsys):
    out_csv = tmp_path / "new" / "out.csv"
    assert run(capsys, "predict", finished, folder, "--csv", out_csv)[0] == 0
    everything = {r["file"]: r for r in read(out_csv)}
    assert len(everything) == 60
    assert run(capsys, "predict", finished, folder / "0-*.wav", "--csv", out_csv)[0] == 0
    assert [r["file"] for r in read(out_csv)] == sorted(f for f in everything if "/0-" in f)
    manifest = write_manifest(
        folder / "some.csv",
        [("1-1-1.wav", "ärgerlich, sehr", "x"), ("0-0-0.wav", "", "y")],
        ("file", "note", "speaker"),
    )
    assert (
        run(
            capsys,
            "predict",
            finished,
            manifest,
            "--csv",
            out_csv,
            "--classes",
            "happy,sad",
            "--abstain",
            "1",
        )[0]
        == 0
    )
    rows = read(out_csv)
    assert list(rows[0]) == [
        "file",
        "note",
        "speaker",
        "predicted",
        "confidence",
        "p_happy",
        "p_sad",
        "doubt",
    ]
    assert [(r["file"], r["note"], r["predicted"]) for r in rows] == [
        ("1-1-1.wav", "ärgerlich, sehr", ""),
        ("0-0-0.wav", "", ""),
    ]
    full = everything[str(folder / "1-1-1.wav")]
    assert float(rows[0]["p_happy"]) + float(rows[0]["p_sad"]) == pytest.approx(1, abs=1e-5)
    assert (float(rows[0]["p_happy"]) > 0.5) == (float(full["p_happy"]) > float(full["p_sad"]))
    adapted = run(capsys, "predict", finished, manifest, "--adapt", "--json")
    assert adapted[0] == 0 and len(adapted[1].splitlines()) == 2


def test_bad_files_are_listed_and_the_exit_status_is_honest(finished, folder, tmp_path, capsys):
    (tmp_path / "text.wav").write_text("no audio " * 99)
    status, out, err = run(
        capsys,
        "predict",
        finished,
        folder / "0-0-0.wav",
        tmp_path / "text.wav",
        tmp_path / "absent.wav",
    )
    assert status == 1
    assert "0-0-0.wav" in out and "text.wav" not in out
    assert (
        "text.wav: not audio" in err
        and "absent.wav: file not found" in err
        and "2 of 3 files" in err
    )
    status, out, err = run(capsys, "predict", finished, tmp_path / "text.wav")
    assert status == 2 and out == "" and "none of 1 files" in err.splitlines()[-1]


def test_parts_of_one_file_are_counted_as_clips(finished, folder, capsys):
    rows = [("0-0-0.wav", 0, 0.3), ("0-0-0.wav", 0.2, 0.5), ("absent.wav", 0, 1)]
    path = write_manifest(folder / "parts.csv", rows, ("file", "start", "end"))
    status, out, err = run(capsys, "predict", finished, path)
    assert status == 1 and len(out.splitlines()) == 3
    assert "1 of 3 clips were left out" in err


def test_clips_of_unknown_speakers_are_not_adapted(finished, folder, capsys, monkeypatch):
    """Each clip is decoded once; only clips with a speaker are normalised by speaker."""
    names = ["0-0-0.wav", "0-1-0.wav", "1-0-0.wav", "1-1-0.wav", "absent.wav"]
    rows = list(zip(names, ("a", "a", "", " ", "a"), strict=True))
    path = write_manifest(folder / "speakers.csv", rows, ("file", "speaker"))
    decoded = []
    read = audio.read
    monkeypatch.setattr(audio, "read", lambda file, *p: decoded.append(file) or read(file, *p))
    status, out, err = run(capsys, "predict", finished, path, "--adapt", "--json")
    assert sorted(file.name for file in decoded) == sorted(names)
    assert status == 1 and "absent.wav: file not found" in err
    assert "2 of 5 clips have no speaker in a column speaker or in their names" in err
    recogniser = Recogniser.load(finished)
    files = [folder / name for name in names[:4]]
    adapted = recogniser.adapt(files[:2]).probabilities(files[:2])
    expected = np.concatenate([adapted, recogniser.probabilities(files[2:])])
    answers = [json.loads(line) for line in out.splitlines()]
    assert [row["file"] for row in answers] == names[:4]
    probabilities = [[row[f"p_{name}"] for name in EMOTIONS] for row in answers]
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def probabilities_of(out: str) -> np.ndarray:
    answers = [json.loads(line) for line in out.splitlines()]
    return np.array([[row[f"p_{name}"] for name in EMOTIONS] for row in answers])


def test_all_clips_may_be_of_one_person(finished, folder, capsys):
    files = sorted(folder.glob("?-?-0.wav"))
    status, out, _ = run(capsys, "predict", finished, *files, "--one-speaker", "--json")
    expected = Recogniser.load(finished).adapt(files).probabilities(files)
    assert status == 0
    np.testing.assert_allclose(probabilities_of(out), expected, atol=1e-5)


def test_a_pattern_finds_the_speakers_in_names(finished, folder, capsys):
    files = sorted(folder.glob("?-?-0.wav"))
    pattern = r"(\d)-\d-\d\.wav"
    status, out, _ = run(
        capsys, "predict", finished, *files, "--speaker-pattern", pattern, "--json"
    )
    recogniser = Recogniser.load(finished)
    expected = []
    for speaker in dict.fromkeys(file.name[0] for file in files):
        clips = [file for file in files if file.name[0] == speaker]
        expected.append(recogniser.adapt(clips).probabilities(clips))
    assert status == 0
    np.testing.assert_allclose(probabilities_of(out), np.concatenate(expected), atol=1e-5)
    status, _, err = run(capsys, "predict", finished, *files, "--speaker-pattern", "nobody")
    assert (
        status == 2
        and "--speaker-pattern: 'nobody' matches no file" in err
        and "Traceback" not in err
    )


def test_the_plausible_emotions_of_a_clip(finished, folder, capsys):
    clip = folder / "0-0-0.wav"
    for level in (0.7, 1.0):
        status, out, _ = run(capsys, "predict", finished, clip, "--sets", level, "--json")
        row = json.loads(out)
        names = row["plausible"].split()
        probabilities = [row[f"p_{name}"] for name in names]
        assert status == 0 and names[0] == row["predicted"]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities[:-1]) < level <= sum(probabilities) + 1e-6
    assert sorted(names) == sorted(EMOTIONS)


def test_mistakes_are_one_line(finished, folder, tmp_path, capsys):
    clip = folder / "0-0-0.wav"
    with (tmp_path / "no.csv").open("w") as file:
        csv.writer(file).writerows([("place",), ("a.wav",)])
    for words, message in (
        ((tmp_path / "nowhere", clip), "no such folder"),
        ((finished, clip, "--method", "danm"), "danm"),
        ((finished, clip, "--classes", "happy,bored"), "bored"),
        ((finished, clip, "--abstain", "7"), "--abstain"),
        ((finished, clip, "--sets", "0"), "--sets"),
        ((finished, tmp_path / "*.flac"), "matches no file"),
        ((finished, tmp_path / "no.csv"), "no column `file`"),
        ((finished, clip, "--timeline", "--window-s", "60"), "window_s"),
        ((finished,), "files"),
    ):
        status, _, err = run(capsys, "predict", *words)
        assert status == 2 and err.splitlines()[-1].startswith("jdann: "), words
        assert message in err.splitlines()[-1]


def test_timeline_rows(finished, folder, tmp_path, capsys):
    samples, rate = soundfile.read(folder / "0-1-0.wav")
    soundfile.write(tmp_path / "long.wav", np.tile(samples, 12), rate)
    status, out, _ = run(
        capsys, "predict", finished, tmp_path / "long.wav", "--timeline", "--json", "--hop-s", "1.5"
    )
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and [float(r["start"]) for r in rows[:3]] == [0, 1.5, 3]
    timeline = Recogniser.load(finished).timeline(tmp_path / "long.wav", 3, 1.5)
    np.testing.assert_allclose(
        [[r[f"p_{name}"] for name in EMOTIONS] for r in rows], timeline.probabilities, atol=1e-5
    )


def test_a_corpus_is_not_needed(finished, folder, tmp_path):
    shutil.copytree(finished / "recogniser", tmp_path / "elsewhere" / "recogniser")
    clip = folder / "0-0-0.wav"
    assert Recogniser.load(tmp_path / "elsewhere")(clip) == Recogniser.load(finished)(clip)


@pytest.mark.slow
@pytest.mark.parametrize("minutes", [10, 180])
def test_memory_is_bounded_however_long_the_file(finished, tmp_path, minutes):
    random = np.random.default_rng(0)
    noise = (0.05 * random.normal(size=16000 * 60)).astype(np.float32)
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 16000, 1) as file:
        for minute in range(minutes):
            file.write(noise * np.sin(np.arange(len(noise)) * (0.01 + 1e-4 * minute)))
    recogniser = Recogniser.load(finished)
    recogniser.timeline(noise[: 16000 * 40], rate=16000)
    before = largest = resident_bytes()
    done = threading.Event()

    def watch() -> None:
        nonlocal largest
        while not done.wait(0.05):
            largest = max(largest, resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    timeline = recogniser.timeline(
        tmp_path / "long.wav", window_s=3, hop_s=1 if minutes == 10 else 3
    )
    done.set()
    watcher.join()
    assert timeline.end_s[-1] == 60 * minutes
    assert largest - before < 200e6
