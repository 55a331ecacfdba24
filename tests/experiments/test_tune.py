"""Tuning: Optuna over a declared space, by a criterion, with one storage for all workers and all continuations."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jdann.cli import main
from jdann.configuration import load_config
from jdann.errors import InputError
from jdann.experiments.search_space import apply, parse, propose, read_space
from jdann.experiments.study import Place
from tests.support.corpora import EMOTIONS
from tests.support.runs import SMALL, relabelled

optuna = pytest.importorskip("optuna")
SPACE = (
    '[["optimiser.learning_rate", "log", 1e-4, 1e-2], ["optimiser.name", "choice", "adamw", "sgd"]]'
)


def arguments(tones, workdir, data_dir, *more, space=SPACE):
    small = (*SMALL, "methods=dann", "tune.trials=4", "epochs=2")
    return ["tune", "--config", "en2zh", f"--config.source={tones[0]}", f"--config.target={tones[1]}", "--workdir", str(workdir),
            "--data-dir", str(data_dir), *(f"--config.{s}" for s in small), f"--config.tune.space={space}",
            *map(str, more)]  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def outcome(workdir):
    dropped = ("seconds",)
    return [
        {k: v for k, v in row.items() if k not in dropped} for row in read(workdir / "trials.csv")
    ]


@pytest.fixture(scope="module")
def finished(tones, data_dir, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("tune") / "finished"
    main(arguments(tones, workdir, data_dir))
    return workdir


def test_leaves_trials_figures_and_a_config_to_train(finished, tones, data_dir, tmp_path):
    rows = outcome(finished)
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
    assert not list((finished / "checkpoints").glob("trial-*"))  # nothing is left of what was tried
    config = load_config(str(finished / "best.json"))
    assert config.optimiser.learning_rate == pytest.approx(float(best["optimiser.learning_rate"]))
    assert (config.optimiser.name, config.tune.space) == (best["optimiser.name"], ())
    main(["train", "--config", str(finished / "best.json"), "--workdir", str(tmp_path / "best"), "--data-dir", str(data_dir),
          "--config.baseline=false"])  # fmt: skip
    selection = json.loads((tmp_path / "best" / "results.json").read_text())["selection"]
    assert {row["criterion"] for row in selection} >= {"mcc", "bnm"}
    # The trial's value is that of the training itself: the last record's mean over seeds.
    from jdann.experiments import jobs
    from jdann.experiments.train import open_directions

    directions = open_directions(config, data_dir)
    (job,) = jobs.plan_jobs(config, directions)
    again = jobs.restore_job(job, directions[0], config, tmp_path / "best" / "checkpoints")
    assert again.criteria[0][1]["bnm"][-1].mean() == pytest.approx(
        results["best"]["value"], abs=1e-6
    )


def test_target_labels_change_nothing(finished, tones, data_dir, tmp_path):
    turn = dict(zip(EMOTIONS, (*EMOTIONS[1:], EMOTIONS[0]), strict=True))
    main(
        arguments(
            (tones[0], relabelled(tones[1], "turned.csv", turn.get)),
            tmp_path / "run",
            data_dir,
            "--config.tune.trials=2",
        )
    )
    assert outcome(tmp_path / "run") == outcome(finished)[:2]


def test_a_killed_search_goes_on_until_its_trials_are_finished(tones, data_dir, tmp_path):
    workdir = tmp_path / "killed"
    given = arguments(tones, workdir, data_dir, "--config.tune.trials=3")
    process = subprocess.Popen(
        [sys.executable, "run.py", *given],
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
    main(given)
    states = [row["state"] for row in outcome(workdir)]
    assert states.count("complete") == 3
    log = (workdir / "log.txt").read_text()[len(before) :]
    assert "2 of 3 trials are left" in log or "1 of 3 trials are left" in log
    main([*given, "--config.tune.trials=4"])  # a finished one, asked for more
    assert [row["state"] for row in outcome(workdir)].count("complete") == 4


def test_pruning_stops_what_is_worse_than_the_median(tones, data_dir, tmp_path):
    space = '[["optimiser.learning_rate", "choice", 0.001, 0.01, 1e-12]]'
    given = ("tune.prune_after=1", "tune.trials=6", "epochs=4", "seeds=1")
    main(
        arguments(tones, tmp_path / "run", data_dir, *(f"--config.{g}" for g in given), space=space)
    )
    rows = outcome(tmp_path / "run")
    pruned = [row for row in rows if row["state"] == "pruned"]
    assert pruned and len(rows) == 6
    assert all("pruned in training 1 at epoch" in row["why"] and row["bnm"] == "" for row in pruned)


def test_a_diverging_trial_does_not_take_the_others_with_it(tones, data_dir, tmp_path):
    space = '[["optimiser.learning_rate", "choice", 0.001, 1e38]]'
    given = ("tune.trials=5", "seeds=1", "optimiser.name=sgd", "optimiser.clip_norm=0.0")
    main(
        arguments(tones, tmp_path / "run", data_dir, *(f"--config.{g}" for g in given), space=space)
    )
    rows = outcome(tmp_path / "run")
    assert {(row["optimiser.learning_rate"], row["state"]) for row in rows} == {
        ("0.001", "complete"),
        ("1e+38", "pruned"),
    }
    assert all("diverged" in row["why"] for row in rows if row["state"] == "pruned")


@pytest.mark.slow
def test_workers_share_one_storage(tones, data_dir, tmp_path):
    storage = f"sqlite:///{tmp_path / 'shared' / 'study.db'}"
    more = ("--workers", 2, "--storage", storage, "--study", "ours")
    main(arguments(tones, tmp_path / "run", data_dir, *more))
    study = optuna.load_study(study_name="ours", storage=storage)
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 4
    assert (
        len({json.dumps(t.params) for t in study.trials}) == 4
    )  # each worker in an order of its own
    assert "trial" in (tmp_path / "run" / "worker-1.log").read_text()


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
        ((f"--config.tune.space={SPACE}", "--workers", 0), "--workers is 0"),
    ],
)
def test_wrong_input_ends_in_one_line(tones, data_dir, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                a
                for a in arguments(tones, tmp_path / "run", data_dir, *more, space="")
                if a != "--config.tune.space="
            ]
        )
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_another_config_or_command_in_the_directory_is_refused(
    finished, tones, data_dir, capsys, monkeypatch, tmp_path
):
    def refused(*given):
        with pytest.raises(SystemExit) as stopped:
            main(list(given))
        assert stopped.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert "another config" in refused(
        *arguments(tones, finished, data_dir, "--config.label_smoothing=0.2")
    )
    storage = f"sqlite:///{finished / 'tune.db'}"
    given = ("--storage", storage, "--config.label_smoothing=0.2")
    assert "give another --study" in refused(
        *arguments(tones, tmp_path / "other", data_dir, *given)
    )
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert 'pip install "jdann[tune]"' in refused(*arguments(tones, tmp_path / "missing", data_dir))


def test_the_password_of_a_storage_is_not_shown():
    assert (
        str(Place("postgresql://me:secret@host/name", "s"))
        == "study 's' in postgresql://***@host/name"
    )


def test_a_space_proposes_what_the_config_can_have():
    space = '[["encoder.channels", "choice", [8, 8], [16, 16]], ["dann.hidden", "int", 8, 16], ["label_smoothing", "uniform", 0, 0.2]]'
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
    assert {d.key for d in read_space(config)} == {
        "optimiser.name", "optimiser.learning_rate", "optimiser.weight_decay", "encoder.dropout", "label_smoothing"
    }  # fmt: skip
    assert config.features.recipe == "poster" and config.both_directions
