"""Workers share the trials of a study: each trial is finished once, whoever dies."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from jdann.configuration import load_config
from jdann.errors import InputError
from jdann.experiments import workers
from jdann.experiments.attempts import (
    MOST_LOSSES,
    TRIAL,
    WORKER,
    finished,
    missing_attempts,
    sort_attempts,
)
from jdann.experiments.study import find_place, finished_study, open_study
from jdann.experiments.workers import LOST_AFTER_S, Watch, Worker, give_back_of, work
from tests.support.processes import kill
from tests.support.runs import arguments

optuna = pytest.importorskip("optuna")
ROOT = Path(__file__).parents[2]
SPACE = '[["optimiser.learning_rate", "log", 1e-4, 1e-2], ["dann.hidden", "int", 8, 64]]'

TRACED_SPACE = (
    '[["optimiser.learning_rate", "log", 1e-4, 1e-2], ["optimiser.weight_decay", "log", 1e-5, 0.1]]'
)


def make_config(trials=6, *more):
    options = [("tune.space", SPACE), ("tune.trials", str(trials)), ("tune.sampler", "random")]
    return load_config("base", [*options, ("tune.prune", "false"), *more])


def open_at(storage, config):
    return open_study(config, find_place(storage, "s", Path("unused")))


@pytest.fixture(params=["shared/tune.journal", pytest.param("sqlite", marks=pytest.mark.slow)])
def storage(request, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tune.db'}"
    return str(tmp_path / request.param)


def cheap(trial) -> float:
    """An objective that depends on the values of a trial only."""
    rate = trial.suggest_float("optimiser.learning_rate", 1e-4, 1e-2, log=True)
    return -((np.log(rate) + 6) ** 2) - trial.suggest_int("dann.hidden", 8, 64) / 64


def run(storage, config, name="a", objective=cheap):
    shared = open_at(storage, config)
    for _ in work(shared, config, objective, Worker(name, 0)):
        pass
    return shared


def values_of(storage, config):
    trials = finished_study(open_at(storage, config), config.tune.trials).trials
    return [(t.number, t.params, t.value) for t in trials]


@pytest.mark.parametrize("names", ["abc"])
def test_several_workers_run_the_trials_of_one(names, storage, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_POLL_S", 0.05)
    config, ran, failed = make_config(8), [], []

    def objective(trial):
        time.sleep(0.02)
        ran.append(trial.user_attrs[TRIAL])
        return cheap(trial)

    def work_as(name):
        try:
            run(storage, config, name, objective)
        except BaseException as error:
            failed.append(error)

    open_at(storage, config)
    threads = [threading.Thread(target=work_as, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed and sorted(ran) == list(range(8))
    alone = str(tmp_path / "alone.journal")
    run(alone, config)
    assert values_of(storage, config) == values_of(alone, config)


def test_more_trials_are_added_to_those_that_are_finished(storage):
    run(storage, make_config(2))
    before = values_of(storage, make_config(2))
    run(storage, make_config(4))
    assert values_of(storage, make_config(4))[:2] == before
    assert len(values_of(storage, make_config(4))) == 4


class Killed(BaseException):
    """Ends a worker of a test as a kill does: nothing is said."""


@pytest.fixture
def killed(monkeypatch):
    """A function that starts a trial as a worker of a command, and leaves it running."""

    def start(storage, config, name, objective=cheap):
        def die(trial):
            objective(trial)
            raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(workers, "give_back", lambda *_, **__: None)
            run(storage, config, name, die)

    return start


def test_a_trial_of_a_killed_worker_is_repeated_with_its_values(storage, killed, monkeypatch):
    config = make_config(3)
    killed(storage, config, "b")
    (begun,) = [t for t in open_at(storage, config).study.get_trials() if t.state.name == "RUNNING"]
    monkeypatch.setattr(workers, "LOST_AFTER_S", 0.2)
    monkeypatch.setattr(workers, "_POLL_S", 0.05)
    shared = run(storage, config, "a")
    attempts = sort_attempts(shared.study)[begun.user_attrs[TRIAL]]
    assert [a.state.name for a in attempts] == ["FAIL", "COMPLETE"]
    assert attempts[1].params == begun.params
    assert "no life" in attempts[0].user_attrs["why"]
    assert len(values_of(storage, config)) == 3


def test_a_trial_that_was_lost_while_its_values_were_proposed_has_the_same_ones(
    storage, killed, tmp_path
):
    config = make_config(2)
    killed(storage, config, "a", lambda trial: trial.suggest_float(
        "optimiser.learning_rate", 1e-4, 1e-2, log=True
    ))  # fmt: skip
    give_back_of(open_at(storage, config), "a")
    run(storage, config)
    alone = str(tmp_path / "alone.journal")
    run(alone, config)
    assert values_of(storage, config) == values_of(alone, config)


def test_a_command_that_starts_again_repeats_its_trial_at_once(storage, killed):
    config = make_config(3)
    killed(storage, config, "b")
    shared = open_at(storage, config)
    give_back_of(shared, "b")
    assert [m.trial for m in missing_attempts(sort_attempts(shared.study), 3)] == [0]
    run(storage, config, "b")
    assert len(values_of(storage, config)) == 3


def test_a_trial_that_kills_every_worker_is_given_up(storage, killed):
    config = make_config(1)
    for _ in range(MOST_LOSSES):
        killed(storage, config, "b")
        give_back_of(open_at(storage, config), "b")
    shared = run(storage, config, "b")
    (given_up,) = finished(sort_attempts(shared.study), 1)
    assert given_up.state.name == "FAIL"


def test_an_interrupt_is_no_loss(storage):
    config = make_config(1)

    def interrupted(trial):
        raise KeyboardInterrupt

    for _ in range(MOST_LOSSES):
        with pytest.raises(KeyboardInterrupt):
            run(storage, config, "a", interrupted)
    run(storage, config, "a")
    assert len(values_of(storage, config)) == 1


def test_a_worker_that_was_taken_for_dead_leaves_its_result_out(storage):
    config, ran = make_config(1), []

    def slow(trial):
        ran.append(trial.number)
        if len(ran) == 1:  # meanwhile another worker gives it back
            give_back_of(open_at(storage, config), "a")
        return cheap(trial)

    shared = run(storage, config, "a", slow)
    assert len(ran) == 2
    assert [a.state.name for a in sort_attempts(shared.study)[0]] == ["FAIL", "COMPLETE"]


def test_two_workers_that_add_the_same_trial_run_it_once(storage):
    config = make_config(2)
    shared = open_at(storage, config)
    for number in (0, 0, 1, 1):
        shared.study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.WAITING,
                user_attrs={"trial": number, "attempt": 0},
            )
        )
    run(storage, config)
    states = [t.state.name for t in shared.study.get_trials()]
    assert states == ["COMPLETE", "FAIL", "COMPLETE", "FAIL"]
    assert len(values_of(storage, config)) == 2


def test_a_worker_is_lost_when_its_beat_stays_the_same():
    def running(number, beat):
        return optuna.trial.FrozenTrial(
            number, optuna.trial.TrialState.RUNNING, None, None, None, {}, {}, {"beat": beat},
            {}, {}, number,
        )  # fmt: skip

    now = 1000.0
    watch = Watch(lambda: now)
    assert watch.lost([running(0, 5), running(1, 5)]) == []
    now += LOST_AFTER_S - 1
    assert watch.lost([running(0, 5), running(1, 6)]) == []
    now += 2
    assert [t.number for t in watch.lost([running(0, 5), running(1, 6), running(2, 0)])] == [0]


def test_the_journal_outlives_a_line_that_was_not_written_to_its_end(tmp_path):
    config, path = make_config(3), tmp_path / "tune.journal"
    run(str(path), make_config(2))
    whole = path.read_bytes()
    for cut in (1, 20, len(whole.splitlines()[-1])):
        path.write_bytes(whole[:-cut] if cut > 1 else whole + b'{"op_code":')
        give_back_of(open_at(str(path), config), "a")  # its result was in the line
        run(str(path), config)
        assert len(values_of(str(path), config)) == 3


@pytest.mark.parametrize("content", ["no study\n", "file,emotion\na.wav,sad", "\0\0"])
def test_another_file_is_no_journal(content, tmp_path):
    path = tmp_path / "notes.journal"
    path.write_text(content)
    with pytest.raises(InputError, match="something else than a study"):
        open_at(str(path), make_config())
    assert path.read_text() == content


def start(tones, data_dir, storage, workdir) -> subprocess.Popen:
    options = (
        "--config.methods=dann",
        "--config.seeds=1",
        "--config.epochs=20",
        "--config.tune.trials=16",
        "--config.tune.sampler=random",
        "--config.tune.prune=false",
        f"--config.tune.space={TRACED_SPACE}",  # no trial compiles another program
        "--storage",
        storage,
    )
    words = ["tune", *arguments(*tones, workdir, data_dir, *options)]
    with (workdir.parent / f"{workdir.name}.txt").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "run.py", *words], cwd=ROOT, stderr=log, stdout=log
        )


@pytest.mark.slow
def test_eight_workers_of_which_three_are_killed_do_the_work_of_one(tones, data_dir, tmp_path):
    alone = start(tones, data_dir, str(tmp_path / "alone.journal"), tmp_path / "alone")
    assert alone.wait(600) == 0
    storage = str(tmp_path / "shared" / "eight.journal")
    programs = [start(tones, data_dir, storage, tmp_path / f"w{i}") for i in range(8)]
    try:
        victims = kill_while_they_run(storage, programs, 3)
        for i, program in enumerate(programs):
            assert program.wait(600) == 0 or i in victims, (tmp_path / f"w{i}.txt").read_text()
    finally:
        for program in programs:
            program.kill()
    expected = json.loads((tmp_path / "alone" / "results.json").read_text())
    rows = (tmp_path / "alone" / "trials.csv").read_text().splitlines()
    study = optuna.load_study(study_name="jdann", storage=make_storage(storage))
    complete = [t.user_attrs[TRIAL] for t in study.get_trials() if t.state.name == "COMPLETE"]
    assert sorted(complete) == list(range(16))
    lost = [t for t in study.get_trials() if t.user_attrs.get("lost")]
    assert len(lost) == 3
    for i in set(range(8)) - victims:
        results = json.loads((tmp_path / f"w{i}" / "results.json").read_text())
        assert results["best"] == expected["best"]
        assert results["importance"] == expected["importance"]
        assert without_times(tmp_path / f"w{i}" / "trials.csv") == [
            line_without_times(row) for row in rows
        ]


def make_storage(path):
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))


def line_without_times(line: str) -> list[str]:
    """Number, state, value and parameters."""
    cells = line.split(",")
    return [*cells[:3], *cells[-2:]]


def without_times(path: Path) -> list[list[str]]:
    return [line_without_times(line) for line in path.read_text().splitlines()]


def kill_while_they_run(storage: str, programs: list, count: int) -> set[int]:
    """Kills some of the programs, each while it runs a trial; returns which."""
    victims: set[int] = set()
    deadline = time.monotonic() + 500
    while len(victims) < count and time.monotonic() < deadline:
        time.sleep(0.2)
        if not Path(storage).exists():
            continue
        trials = optuna.load_study(study_name="jdann", storage=make_storage(storage)).get_trials()
        for trial in trials:
            owner = Path(trial.user_attrs.get(WORKER, "").rpartition("#")[0]).name
            if trial.state.name == "RUNNING" and owner and int(owner[1:]) not in victims:
                victims.add(int(owner[1:]))
                kill(programs[int(owner[1:])])
                break
    assert len(victims) == count
    return victims
