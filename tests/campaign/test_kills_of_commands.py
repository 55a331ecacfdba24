"""Commands beside `jdann train` that are killed inside their writes, and then repeated.

The seed is printed; set JDANN_CAMPAIGN_SEED to repeat a campaign.
"""

import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jdann.corpora import prepared
from tests.support.kills import INTERRUPTED, Program, kill_in_turn, kind_of
from tests.support.runs import arguments, read, without_clock

pytestmark = pytest.mark.slow
KILLS = 3  # of each command
PREPARED = {
    "folder of the dataset": r"^rename esd/1\.0\.0$",
    "files of the dataset": r"/esd/incomplete\.[^/]*/",
}
SWEPT = {
    "checkpoints": r" checkpoints",
    "sweep.csv": r" sweep\.csv",
    "best.json": r" best-.*\.json",
    "figures": r" figures/sweep",
    "results.json": r" results\.json",
}
TUNED = {
    "study": r"^sqlite3\.connect .*tune\.db(?#tmp)",
    "trials.csv": r" trials\.csv",
    "best.json": r" best\.json",
    "results.json": r" results\.json",
}
COMPILED = r"^open xla/.*-cache$"


def write_esd(folder: Path) -> Path:
    """Writes a few files that are named as those of ESD."""
    rng = np.random.default_rng(0)
    for speaker, first in (("0003", 1), ("0011", 351)):
        for emotion in ("Angry", "Sad"):
            place = folder / speaker / emotion
            place.mkdir(parents=True)
            number = first + 350 * (emotion == "Sad")
            samples = rng.integers(-9999, 9999, 4000).astype(np.int16)
            soundfile.write(place / f"{speaker}_{number:06d}.wav", samples, 16000)
    return folder


def test_a_prepared_corpus_is_whole_or_absent(chance, tmp_path):
    root = write_esd(tmp_path / "ESD")

    def preparation(name: str) -> Program:
        data_dir = tmp_path / name
        words = ["prepare", "esd", str(root), "--data-dir", str(data_dir), "--force"]
        return Program(words, (data_dir,), tmp_path / f"{name}.txt")

    whole = preparation("whole")
    whole.finish()
    writes = whole.writes()
    assert set(PREPARED) <= {kind_of(line, PREPARED) for line in writes}
    killed = preparation("killed")
    kinds = [*PREPARED.items()] * 2
    print(*kill_in_turn(killed, kinds, writes, chance.randrange(2**32)), sep="\n")
    corpora = [prepared.load_prepared(tmp_path / name) for name in ("whole", "killed")]
    assert corpora[0]._replace(read=None) == corpora[1]._replace(read=None)
    read_whole, read_killed = (corpus.read for corpus in corpora)
    assert read_whole is not None and read_killed is not None
    for utterance in corpora[0].utterances:
        samples, sample_rate_hz = read_whole(utterance)
        again, rate_again = read_killed(utterance)
        assert sample_rate_hz == rate_again and np.array_equal(samples, again)


def test_what_a_killed_preparation_left_is_removed_by_the_next(chance, tmp_path):
    root, data_dir = write_esd(tmp_path / "ESD"), tmp_path / "data"
    words = ["prepare", "esd", str(root), "--data-dir", str(data_dir), "--force"]
    program = Program(words, (data_dir,), tmp_path / "writes.txt")
    program.finish()
    expected = {path.name for path in data_dir.iterdir()}
    program.kill_in("dataset", PREPARED["files of the dataset"], 1, chance, "before")
    assert {path.name for path in data_dir.iterdir()} > expected
    program.finish()
    assert {path.name for path in data_dir.iterdir()} == expected
    assert [path.name for path in (data_dir / "esd").iterdir()] == ["1.0.0"]


def searching(command: str, tones, folder: Path, data_dir: Path, *more: str) -> Program:
    """A sweep or a tuning, with a work directory of its own."""
    folder.mkdir()
    small = ("--config.methods=dann", "--config.epochs=2", "--config.seeds=1")
    words = [command, *arguments(*tones, folder / "run", data_dir, *small, *more)]
    return Program(words, (folder / "run",), folder / "writes.txt")


def test_a_killed_sweep_ends_as_one_that_was_not(tones, data_dir, chance, tmp_path):
    points = ("--strengths", "0,1", "--resume")
    whole, killed = (
        searching("sweep", tones, tmp_path / name, data_dir, *points)
        for name in ("whole", "killed")
    )
    whole.finish()
    kinds = sorted(chance.sample(sorted(SWEPT.items()), KILLS))
    if SWEPT["checkpoints"] in dict(kinds).values():  # later runs write none
        kinds.sort(key=lambda kind: kind[0] != "checkpoints")
    print(*kill_in_turn(killed, kinds, whole.writes(), chance.randrange(2**32)), sep="\n")
    runs = [tmp_path / name / "run" for name in ("whole", "killed")]
    for name in ("sweep.csv", "best-dann-conv1d.json"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()
    results = [without_clock(json.loads((run / "results.json").read_text())) for run in runs]
    assert results[0] == results[1]
    assert not list(tmp_path.rglob("*.partial"))


def test_a_killed_tuning_finishes_its_trials(tones, data_dir, chance, tmp_path):
    """Its trials are those of a search that was not killed."""
    pytest.importorskip("optuna")
    space = '[["optimiser.learning_rate", "log", 1e-4, 1e-2]]'
    more = ("--config.tune.trials=2", f"--config.tune.space={space}")
    whole, killed = (
        searching("tune", tones, tmp_path / name, data_dir, *more) for name in ("whole", "killed")
    )
    whole.finish()
    kinds = TUNED.items()
    print(*kill_in_turn(killed, kinds, whole.writes(), chance.randrange(2**32)), sep="\n")
    runs = [tmp_path / name / "run" for name in ("whole", "killed")]
    whole_rows, killed_rows = (
        [(row["number"], row["state"], row["bnm"]) for row in read(run / "trials.csv")]
        for run in runs
    )
    assert whole_rows == killed_rows and len(whole_rows) == 2
    results = [json.loads((run / "results.json").read_text()) for run in runs]
    assert results[0]["best"] == results[1]["best"]
    assert not list(runs[1].rglob("*.partial"))


def test_an_interrupt_of_a_tuning_in_processes_is_one_line(tones, data_dir, chance, tmp_path):
    pytest.importorskip("optuna")
    space = '[["optimiser.learning_rate", "log", 1e-4, 1e-2]]'
    more = ("--config.tune.trials=40", f"--config.tune.space={space}", "--workers", "2")
    program = searching("tune", tones, tmp_path / "tuning", data_dir, *more)
    study = tmp_path / "tuning" / "run" / "tune.db"
    for seconds in (chance.uniform(0, 3), chance.uniform(0, 12)):  # the workers start, or work
        status, errors = program.kill_after(seconds, signal.SIGINT, study, in_group=True)
        assert status == 130 and errors.endswith(f"{INTERRUPTED}\n"), (seconds, errors)
        assert "Traceback" not in errors, (seconds, errors)


def test_half_written_programs_are_written_again(finished_run, tones, chance, tmp_path):
    def prediction(name: str) -> Program:
        folder = tmp_path / name
        folder.mkdir()
        words = ["predict", str(finished_run), str(tones[1].parent / "0-0-0.wav")]
        xla = {"JAX_COMPILATION_CACHE_DIR": str(folder / "xla")}
        words += ["--csv", str(folder / "rows.csv")]
        return Program(words, (folder,), tmp_path / f"{name}.txt", xla)

    whole, killed = prediction("whole"), prediction("killed")
    whole.finish()
    print(killed.kill_in("traced program", r" xla/traced/", 3, chance))
    print(killed.kill_in("compiled program", COMPILED, 1, chance))
    print(killed.kill_in("rows", r" rows\.csv", 3, chance))
    killed.finish()
    assert (tmp_path / "killed" / "rows.csv").read_text() == (
        tmp_path / "whole" / "rows.csv"
    ).read_text()
    for path in (tmp_path / "killed" / "xla").glob("*-cache"):
        os.truncate(path, chance.randrange(path.stat().st_size))
    # They are replaced without a word, and then stay.
    assert "persistent compilation cache" not in killed.finish()
    assert any(re.search(COMPILED, line) for line in killed.writes())
    killed.finish()
    assert not any(re.search(COMPILED, line) for line in killed.writes())
