"""Bad input ends in one line that names it and in status 2; nothing is overwritten."""

import json
import re

import numpy as np
import pytest
import soundfile

from jdann.cli import main
from tests.support.corpora import EMOTIONS, write_manifest, write_tones
from tests.support.runs import arguments, fail, read


@pytest.fixture
def refused(capsys):
    """A function that runs the command line and returns the line in which it refuses."""

    def run(*options) -> str:
        last = fail(capsys, *options).splitlines()[-1]
        assert last.startswith("jdann: ")
        return last

    return run


def absolute_rows(manifest):
    """The rows of a manifest, with absolute paths."""
    return [
        (manifest.parent / row["file"], row["emotion"], row["speaker"], "en")
        for row in read(manifest)
    ]


def test_command_line_mistakes(refused, tmp_path):
    assert "did you mean train?" in refused("trian")
    assert "unknown option" in refused("--cofnig", "a.py")
    assert "--config.seedz" in refused("--config.seedz=3")
    assert "no such file" in refused("--config", "nowhere.py")
    assert "expected the folder of ESD" in refused("prepare", "esd")
    assert "'timit' names no corpus" in refused("prepare", "timit")
    assert "no run of jdann" in refused("evaluate", tmp_path)
    assert "no such" in refused("corpora", tmp_path / "absent", "--data-dir", tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("methods", "source_only,danm", "danm.*did you mean dan.*choose one of"),
        ("encoder.name", "resnet5000", "resnet5000"),
        ("features.normalise", "planet", "planet"),
        ("features.recipe", "soup", "soup"),
        ("optimiser.name", "lion", "lion"),
        ("optimiser.schedule", "cubic", "cubic"),
        ("strength.schedule", "steep", "steep"),
        ("seeds_in", "parallel", "parallel"),
        ("emotions", "happy,angy", "angy"),
        ("encoder.strides", "2,2,2", "strides"),
    ],
)
def test_unknown_names_are_refused_before_training(
    refused, tones, data_dir, tmp_path, key, value, message
):
    line = refused(*arguments(*tones, tmp_path / "run", data_dir, f"--config.{key}={value}"))
    assert re.search(message, line)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_corpora_that_cannot_be_trained_on(refused, tones, data_dir, tmp_path):
    source, target = tones
    source_rows, target_rows = absolute_rows(source), absolute_rows(target)

    def refuse(source, target, *more):
        """Each run has a work directory of its own."""
        workdir = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        return refused(*arguments(source, target, workdir, data_dir, *more))

    happy = write_manifest(tmp_path / "happy.csv", [r for r in source_rows if r[1] == "happy"])
    assert "at least two of" in refuse(happy, target)
    assert "are the same in source and target" in refuse(source, source)
    both = write_manifest(tmp_path / "both.csv", source_rows + target_rows[:1])
    assert "1 utterances are the same" in refuse(both, target)
    anna = [(file, emotion, "anna", "en") for file, emotion, _, _ in target_rows]
    one_speaker = write_manifest(tmp_path / "one.csv", anna)
    assert "one speaker" in refuse(source, one_speaker, "--config.protocol=inductive")
    blank = write_manifest(tmp_path / "blank.csv", [(row[0],) for row in target_rows], ("file",))
    message = refuse(source, blank, "--config.methods=supervised")
    assert "0 labelled utterances" in message
    assert "at least two of" in refuse(blank, target)


def test_another_config_in_the_work_directory_is_left_alone(refused, tones, data_dir, tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "diary.txt").write_text("mine")
    run = arguments(*tones, workdir, data_dir)
    assert "holds no run of jdann" in refused(*run, "--overwrite")
    (workdir / "config.json").write_text(json.dumps({"seeds": 7}))
    (workdir / "checkpoints").mkdir()
    assert "another config" in refused(*run, "--resume")
    assert (workdir / "diary.txt").read_text() == "mine"
    (workdir / "config.json").write_text("{")
    assert "is damaged" in refused(*run, "--resume")
    (workdir / "results.json").write_text("precious")
    refused(*run, "--overwrite", "--config.methods=danm")
    # Only a run that can begin replaces another one.
    assert (workdir / "results.json").read_text() == "precious"
    assert "is a file" in refused(*arguments(*tones, workdir / "diary.txt", data_dir))


def spoil(folder, rows):
    """Adds a file of every broken kind to the rows of a manifest.

    Returns:
      By name of the file: a word of the reason that skipped.csv must give.
    """
    time_s = np.arange(8000) / 16000
    tone = 0.1 * np.sin(2 * np.pi * 200 * time_s)
    broken = {
        "missing.wav": "no such file",
        "empty.wav": "empty",
        "text.wav": "not audio",
        "silent.wav": "silen",
        "nan.wav": "finite",
        "none.wav": "no audio",
        "lying.wav": "header promises",
    }
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is no audio " * 50)
    soundfile.write(folder / "silent.wav", np.zeros(8000), 16000)
    soundfile.write(folder / "nan.wav", np.full(8000, np.nan, np.float32), 16000, subtype="FLOAT")
    soundfile.write(folder / "none.wav", np.zeros(0), 16000)
    soundfile.write(folder / "lying.wav", np.tile(tone, 4), 16000)
    data = (folder / "lying.wav").read_bytes()
    (folder / "lying.wav").write_bytes(data[: len(data) // 2])
    rows += [(name, "happy", "s0", "en") for name in broken]
    return broken


def test_broken_files_are_listed_and_the_run_goes_on(refused, tones, data_dir, tmp_path):
    manifest = write_tones(tmp_path / "target", 3, 200.0)
    rows = [(row["file"], row["emotion"], row["speaker"], "en") for row in read(manifest)]
    broken = spoil(manifest.parent, rows)
    write_manifest(manifest, rows)
    quick = ("--config.epochs=1", "--config.methods=source_only")
    message = refused(*arguments(tones[0], manifest, tmp_path / "strict", data_dir, *quick))
    assert "7 of 67 files cannot be used" in message
    workdir = tmp_path / "lenient"
    lenient = "--config.max_failed_fraction=0.2"
    main(arguments(tones[0], manifest, workdir, data_dir, *quick, lenient))
    for folder in (workdir, tmp_path / "strict"):
        reasons = {r["file"]: r["reason"] for r in read(folder / "skipped.csv")}
        assert set(reasons) == set(broken)
        for name, expected in broken.items():
            assert re.search(expected, reasons[name]), (name, reasons[name])
    assert len(read(workdir / "predictions.csv")) == 60


@pytest.mark.slow
def test_a_plain_folder_smaller_than_a_batch_is_predicted(tones, data_dir, tmp_path, capsys):
    folder = tmp_path / "clips"
    folder.mkdir()
    time_s = np.arange(12000) / 16000
    for k in range(3):
        tone = 0.2 * np.sin(2 * np.pi * (150 + 40 * k) * time_s)
        soundfile.write(folder / f"clip{k}.flac", tone, 16000)
    main(arguments(tones[0], folder, tmp_path / "run", data_dir, "--config.epochs=1"))
    captured = capsys.readouterr()
    assert "no speaker id" in captured.err
    assert "could be scored" in captured.out
    predictions = read(tmp_path / "run" / "predictions.csv")
    assert len(predictions) == 2 * 3
    assert {row["predicted"] for row in predictions} <= set(EMOTIONS)
