"""Tuning: Optuna searches a declared space; workers and continuations share one storage."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from jdann.cli import main
from jdann.configuration import load_config
from jdann.errors import InputError
from jdann.experiments.jobs import plan_jobs
from jdann.experiments.outcomes import restore_job
from jdann.experiments.owner import owned
from jdann.experiments.replaced import replacing
from jdann.experiments.search_space import apply, parse, propose, read_space
from jdann.experiments.study import StudyPlace, open_study
from jdann.experiments.train import open_directions
from jdann.experiments.trial import pruning_step
from tests.support.corpora import EMOTIONS
from tests.support.runs import arguments, fail, read, relabelled

optuna = pytest.importorskip("optuna")
SPACE = (
    '[["optimiser.learning_rate", "log", 1e-4, 1e-2], ["optimiser.name", "choice", "adamw", "sgd"]]'
)


def tune_arguments(tones, workdir, data_dir, *more, space=SPACE) -> list[str]:
    small = ("--config.methods=dann", "--config.tune.trials=4", "--config.epochs=2")
    options = (*small, f"--config.tune.space={space}", *more)
    return ["tune", *arguments(*tones, workdir, data_dir, *options)]


def trial_rows(workdir: Path) -> list[dict[str, str]]:
    """The rows of trials.csv, without the duration."""
    return [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in read(workdir / "trials.csv")
    ]


@pytest.fixture(scope="module")
def finished(tones, data_dir, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("tune") / "finished"
    main(tune_arguments(tones, workdir, data_dir))
    return workdir


@pytest.mark.slow
def test_leaves_trials_figures_and_a_config_to_train(finished, tones, data_dir, tmp_path):
    rows = trial_rows(finished)
    assert [row["state"] for row in rows] == ["complete"] * 4  # too few to prune
    assert all(1e-4 <= float(row["optimiser.learning_rate"]) <= 1e-2 for row in rows)
    results = json.loads((finished / "results.json").read_text())
    best = max(rows, key=lambda row: float(row["bnm"]))
    assert results["best"]["number"] == int(best["number"])
    assert results["best"]["value"] == pytest.approx(float(best["bnm"]))
    assert {"importance.png", "history.png"} <= {
        p.name for p in (finished / "figures").glob("*.png")
    }
    assert sum(results["importance"].values()) == pytest.approx(1)
    assert not list((finished / "checkpoints").glob("trial-*"))
    config = load_config(str(finished / "best.json"))
    assert config.optimiser.learning_rate == pytest.approx(float(best["optimiser.learning_rate"]))
    assert (config.optimiser.name, config.tune.space) == (best["optimiser.name"], ())
    options = ("--workdir", tmp_path / "best", "--data-dir", data_dir, "--config.baseline=false")
    main(["train", "--config", str(finished / "best.json"), *map(str, options)])
    selection = json.loads((tmp_path / "best" / "results.json").read_text())["selection"]
    assert {row["criterion"] for row in selection} >= {"mcc", "bnm"}
    # A trial's value is that of the training itself: the mean over seeds at the last record.
    directions = open_directions(config, data_dir)
    (job,) = plan_jobs(config, directions)
    restored = restore_job(job, directions[0], config, tmp_path / "best" / "checkpoints")
    assert restored.criteria[0][1]["bnm"][-1].mean() == pytest.approx(
        results["best"]["value"], abs=1e-6
    )


@pytest.mark.slow
def test_target_labels_change_nothing(finished, tones, data_dir, tmp_path):
    turn = dict(zip(EMOTIONS, (*EMOTIONS[1:], EMOTIONS[0]), strict=True))
    main(
        tune_arguments(
            (tones[0], relabelled(tones[1], "turned.csv", turn.get)),
            tmp_path / "run",
            data_dir,
            "--config.tune.trials=2",
        )
    )
    assert trial_rows(tmp_path / "run") == trial_rows(finished)[:2]


@pytest.mark.slow
def test_a_killed_search_goes_on_until_its_trials_are_finished(tones, data_dir, tmp_path):
    workdir = tmp_path / "killed"
    options = tune_arguments(tones, workdir, data_dir, "--config.tune.trials=3")
    process = subprocess.Popen(
        [sys.executable, "run.py", *options],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        log = workdir / "log.txt"
        if log.exists() and "trial 0:" in log.read_text():
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = (workdir / "log.txt").read_text()
    assert "trial 0:" in before and not (workdir / "results.json").exists()
    main(options)
    states = [row["state"] for row in trial_rows(workdir)]
    assert states.count("complete") == 3
    log = (workdir / "log.txt").read_text()[len(before) :]
    assert "2 of 3 trials are left" in log or "1 of 3 trials are left" in log
    main([*options, "--config.tune.trials=4"])  # a finished one, asked for more
    assert [row["state"] for row in trial_rows(workdir)].count("complete") == 4


@pytest.mark.slow
def test_pruning_stops_what_is_worse_than_the_median(tones, data_dir, tmp_path):
    space = '[["optimiser.learning_rate", "choice", 0.001, 0.01, 1e-12]]'
    overrides = ("tune.prune_after=1", "tune.trials=6", "epochs=4", "seeds=1")
    more = [f"--config.{override}" for override in overrides]
    main(tune_arguments(tones, tmp_path / "run", data_dir, *more, space=space))
    rows = trial_rows(tmp_path / "run")
    pruned = [row for row in rows if row["state"] == "pruned"]
    assert pruned and len(rows) == 6
    assert all("pruned in training 1 at epoch" in row["why"] and row["bnm"] == "" for row in pruned)


@pytest.mark.slow
def test_a_diverging_trial_does_not_take_the_others_with_it(tones, data_dir, tmp_path):
    space = '[["optimiser.learning_rate", "choice", 0.001, 1e38]]'
    overrides = ("tune.trials=5", "seeds=1", "optimiser.name=sgd", "optimiser.clip_norm=0.0")
    more = [f"--config.{override}" for override in overrides]
    main(tune_arguments(tones, tmp_path / "run", data_dir, *more, space=space))
    rows = trial_rows(tmp_path / "run")
    assert {(row["optimiser.learning_rate"], row["state"]) for row in rows} == {
        ("0.001", "complete"),
        ("1e+38", "pruned"),
    }
    assert all("diverged" in row["why"] for row in rows if row["state"] == "pruned")


@pytest.mark.slow
def test_workers_share_one_storage(tones, data_dir, tmp_path):
    storage = f"sqlite:///{tmp_path / 'shared' / 'study.db'}"
    more = ("--workers", 2, "--storage", storage, "--study", "ours")
    main(tune_arguments(tones, tmp_path / "run", data_dir, *more))
    study = optuna.load_study(study_name="ours", storage=storage)
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 4
    # The trials have different values, whoever proposes them.
    assert len({json.dumps(trial.params) for trial in study.trials}) == 4
    logs = [(tmp_path / "run" / f"worker-{i}.log").read_text() for i in range(2)]
    assert sum(log.count("best") for log in logs) == 4  # a line for each trial


@pytest.mark.slow
def test_when_a_worker_process_is_killed_the_others_repeat_its_trial(tones, data_dir, tmp_path):
    workdir = tmp_path / "run"
    more = ("--workers", 2, "--config.tune.trials=6", "--config.tune.prune=false")
    program = subprocess.Popen(
        [sys.executable, "run.py", *tune_arguments(tones, workdir, data_dir, *more)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )
    storage = f"sqlite:///{workdir / 'tune.db'}"
    victim = None
    deadline = time.monotonic() + 240
    while victim is None and time.monotonic() < deadline:
        time.sleep(0.1)
        log = workdir / "worker-0.log"
        if log.exists() and "trial" in log.read_text():  # it works on its next one
            victim = next(
                pid
                for pid in children(program.pid)
                if any(path == str(log) for path in open_files(pid))
            )
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    _, errors = program.communicate(timeout=300)
    assert program.returncode == 0, errors
    assert "worker 0 was killed" in errors
    assert [row["state"] for row in trial_rows(workdir)] == ["complete"] * 6
    study = optuna.load_study(study_name="jdann", storage=storage)
    assert sum(t.state.name == "COMPLETE" for t in study.trials) == 6


def children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(word) for word in text.split()]


def open_files(process: int) -> list[str]:
    names = []
    for link in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):
            names.append(str(link.readlink()))
    return names


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "tune.space is empty"),
        (
            ('--config.tune.space=[["optimizer.learning_rate", "log", 1e-4, 1e-2]]',),
            "did you mean optimiser.learning_rate",
        ),
        (('--config.tune.space=[["optimiser", "log", 1e-4, 1e-2]]',), "this is a group"),
        (
            ('--config.tune.space=[["optimiser.learning_rate", "cubic", 1e-4, 1e-2]]',),
            "of a kind of",
        ),
        (
            ('--config.tune.space=[["optimiser.learning_rate", "log", 1e-2, 1e-4]]',),
            "lower one first",
        ),
        (('--config.tune.space=[["optimiser.learning_rate", "log", 0, 1e-4]]',), "above 0"),
        (
            ('--config.tune.space=[["encoder.dropout", "uniform", 0.0, 2.0]]',),
            "at least 0 and at most 1",
        ),
        (('--config.tune.space=[["dann.hidden", "int", 1.5, 3]]',), "expected a value like 128"),
        (
            ('--config.tune.space=[["optimiser.name", "choice", 3]]',),
            "expected a value like 'adamw'",
        ),
        (('--config.tune.space=[["target", "choice", "a.csv"]]',), "cannot be compared"),
        (("--config.tune.space=[[",), "as in JSON"),
        (
            (f"--config.tune.space={SPACE}", "--config.tune.criterion=oracle"),
            "choose one of source_risk",
        ),
        ((f"--config.tune.space={SPACE}", "--config.methods=source_only,dann"), "tune one method"),
        (
            (
                f"--config.tune.space={SPACE}",
                "--config.tune.criterion=dev",
                "--config.validation_fraction=0",
            ),
            "not trained on",
        ),
        ((f"--config.tune.space={SPACE}", "--storage", "nonsense://somewhere"), "cannot be opened"),
        (
            (f"--config.tune.space={SPACE}", "--storage", "sqlite:////proc/nowhere/tune.db"),
            "/proc/nowhere",
        ),
        (
            (f"--config.tune.space={SPACE}", "--storage", "tune.db"),
            "expected a file that ends in .journal",
        ),
        ((f"--config.tune.space={SPACE}", "--workers", 0), "--workers is 0"),
        (
            (f"--config.tune.space={SPACE}", "--config.tune.sampler=randon"),
            "did you mean random",
        ),
    ],
)
def test_wrong_input_ends_in_one_line(tones, data_dir, tmp_path, capsys, more, message):
    options = tune_arguments(tones, tmp_path / "run", data_dir, *more, space="")
    options.remove("--config.tune.space=")
    assert message in fail(capsys, *options).splitlines()[-1]


@pytest.mark.slow
def test_another_config_or_command_in_the_directory_is_refused(
    finished, tones, data_dir, capsys, monkeypatch, tmp_path
):
    override = "--config.label_smoothing=0.2"
    message = fail(capsys, *tune_arguments(tones, finished, data_dir, override))
    assert "another config" in message
    storage = ("--storage", f"sqlite:///{finished / 'tune.db'}")
    message = fail(capsys, *tune_arguments(tones, tmp_path / "other", data_dir, *storage, override))
    assert "give another --study" in message
    monkeypatch.setitem(sys.modules, "optuna", None)
    message = fail(capsys, *tune_arguments(tones, tmp_path / "missing", data_dir))
    assert 'pip install "jdann[tune]"' in message


def test_a_study_is_the_same_by_relative_and_by_absolute_paths(tmp_path, monkeypatch):
    for name in ("a.csv", "b.csv", "c.csv"):
        (tmp_path / name).write_text("file\n")

    def config(source, target):
        paths = [("source", str(source)), ("target", str(target))]
        return load_config("base", [*paths, ("tune.space", SPACE)])

    monkeypatch.chdir(tmp_path)
    place = StudyPlace("sqlite:///tune.db", "ours")
    open_study(config("a.csv", "b.csv"), place)
    open_study(config(tmp_path / "a.csv", tmp_path / "b.csv"), place)
    with pytest.raises(InputError, match="another config"):
        open_study(config("a.csv", "c.csv"), place)
    # On another machine the same relative paths stand for other folders.
    (tmp_path / "machine").mkdir()
    monkeypatch.chdir(tmp_path / "machine")
    open_study(config("a.csv", "b.csv"), StudyPlace(f"sqlite:///{tmp_path / 'tune.db'}", "ours"))


def test_a_second_tuning_in_the_same_folder_is_refused(tones, data_dir, tmp_path, capsys):
    with owned(tmp_path):
        message = fail(capsys, *tune_arguments(tones, tmp_path, data_dir)).splitlines()[-1]
    assert "another run" in message and "uses this folder" in message


@pytest.mark.slow
def test_overwrite_removes_all_that_a_tuning_left(finished, tmp_path):
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    (copy / "worker-0.log").write_text("trial 0")
    with replacing(copy, overwrite=True):
        assert {path.name for path in copy.iterdir()} == {"log.txt", "replaced"}


@pytest.mark.parametrize("epochs", [1, 3, 100, 101, 250, 1000, 5000])
def test_every_epoch_has_a_pruning_step_of_its_own(epochs):
    """Optuna ignores a second report at the same step, and compares trials at equal steps."""
    steps = [
        pruning_step(training, epoch, epochs)
        for training in range(2)
        for epoch in range(1, epochs + 1)
    ]
    assert len(set(steps)) == 2 * epochs and steps == sorted(steps)
    assert steps[epochs - 1] == pruning_step(0, 7, 7)  # equal shares of trials of other lengths
    assert pruning_step(1, epochs, 2 * epochs) == pruning_step(1, 1, 2)


def test_the_password_of_a_storage_is_not_shown():
    assert (
        str(StudyPlace("postgresql://me:secret@host/name", "s"))
        == "study 's' in postgresql://***@host/name"
    )


def test_a_space_proposes_what_the_config_can_have():
    space = (
        '[["encoder.channels", "choice", [8, 8], [16, 16]], ["dann.hidden", "int", 8, 16],'
        ' ["label_smoothing", "uniform", 0, 0.2]]'
    )
    config = load_config(
        "base", [("encoder.strides", "1,1"), ("encoder.channels", "4,4"), ("tune.space", space)]
    )
    dimensions = read_space(config)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(10):
        trial = study.ask()
        values = propose(trial, dimensions)
        assert values["encoder.channels"] in ((8, 8), (16, 16))
        assert isinstance(values["dann.hidden"], int) and 0 <= values["label_smoothing"] <= 0.2
        assert parse(trial.params, dimensions) == values
        assert apply(config, values).encoder.channels == values["encoder.channels"]
    with pytest.raises(InputError, match="each key once"):
        read_space(apply(config, {"tune.space": config.tune.space * 2}))


def test_the_published_tuning_is_a_config():
    config = load_config("tune_poster")
    assert {dimension.key for dimension in read_space(config)} == {
        "optimiser.name",
        "optimiser.learning_rate",
        "optimiser.weight_decay",
        "encoder.dropout",
        "label_smoothing",
    }
    assert config.features.recipe == "poster" and config.both_directions
