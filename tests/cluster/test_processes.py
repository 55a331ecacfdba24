"""Several processes train what one trains, and end together."""

import signal

import numpy as np
import pytest

from tests.support.cluster import CASES, finish, flags, free_port, start, train, train_cases
from tests.support.runs import arguments, fail, read

METHODS = ["dann", "co_training", "mcc+self_training"]
TOGETHER = ("--wait-s", "120")


@pytest.fixture(scope="module")
def by_one(tmp_path_factory):
    """What one process trains: for each case, its arrays by name."""
    folder = tmp_path_factory.mktemp("one")
    trained = {}

    def get(name):
        if name not in trained:
            trained[name] = train(CASES[name], folder / name)
        return trained[name]

    return get


def assert_same(path, names, by_one):
    """Compares each array by its norm: single entries near zero have no relative accuracy."""
    with np.load(path) as trained:
        for name in names:
            for key, expected in by_one(name).items():
                difference = np.linalg.norm(trained[f"{name}: {key}"] - expected)
                scale = np.linalg.norm(expected)
                assert difference <= 1e-5 * scale + 1e-12, f"{name}: {key}: {difference / scale}"


@pytest.mark.parametrize(
    "methods", [["dann"], pytest.param(METHODS[1:], marks=pytest.mark.slow)], ids=str
)
def test_two_processes_train_what_one_does(methods, tmp_path, by_one):
    out = tmp_path / "two.npz"
    train_cases(methods, out, 2)
    assert_same(out, methods, by_one)


@pytest.mark.slow
@pytest.mark.parametrize("count, devices", [(2, 1), (4, 1), (1, 2), (1, 3), (1, 4), (2, 2)])
def test_other_numbers_of_processes_and_devices_train_the_same(count, devices, tmp_path, by_one):
    out = tmp_path / "several.npz"
    train_cases([*METHODS, "dann, stored"], out, count, devices=devices)
    assert_same(out, [*METHODS, "dann, stored"], by_one)


@pytest.mark.slow
@pytest.mark.parametrize("before, after", [(1, 2), (2, 1), (2, 4)])
def test_another_number_of_processes_continues_a_training(before, after, tmp_path, by_one):
    checkpoints = tmp_path / "checkpoints"
    train_cases(METHODS, tmp_path / "none.npz", before, folder=checkpoints, stop_after=1)
    assert {path.name for path in checkpoints.glob("*/*")} == {"1"}
    train_cases(METHODS, tmp_path / "rest.npz", after, folder=checkpoints)
    assert_same(tmp_path / "rest.npz", METHODS, by_one)


def test_a_coordinator_that_is_not_there_is_waited_for_and_named(capsys):
    place = flags(2, free_port())[1]
    message = fail(capsys, "train", *place, "--wait-s", "1")
    assert "process 1 waited 1 s for process 0 at 127.0.0.1:" in message


def test_incomplete_flags_are_refused(capsys):
    assert "--processes and --process-id: needed" in fail(
        capsys, "train", "--coordinator", "127.0.0.1:5000"
    )


def run(per_process, timeout_s=400.0):
    """Runs `jdann` with these arguments in each process; status, output, messages of each."""
    programs = [start(["-m", "jdann", *options]) for options in per_process]
    return finish(programs, timeout_s)


@pytest.mark.slow
def test_fewer_processes_than_promised_end_with_a_sentence():
    place = flags(3, free_port())
    results = run([["train", *flag, "--wait-s", "5"] for flag in place[:2]], 120.0)
    for status, _, errors in results:
        assert status == 2
        assert "after 5 s fewer than 3 processes have come" in errors


@pytest.mark.slow
def test_processes_with_other_configs_end_with_the_keys(tones, tmp_path, data_dir):
    options = arguments(*tones, tmp_path / "run", data_dir)
    place = flags(2, free_port())
    other = ["--config.epochs=7", "--resume"]
    results = run([[*options, *place[0], *TOGETHER], [*options, *place[1], *TOGETHER, *other]])
    for status, _, errors in results:
        assert status == 2
        assert "config.epochs is 3 in process 0 and 7 in process 1" in errors
        assert "--resume is False in process 0 and True in process 1" in errors
        assert "Traceback" not in errors
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.slow
def test_a_run_of_two_processes_leaves_what_a_run_of_one_leaves(tones, tmp_path, data_dir):
    alone, two = tmp_path / "alone", tmp_path / "two"
    place = flags(2, free_port())
    ((status, *_),) = run([arguments(*tones, alone, data_dir)])
    assert status == 0
    fresh = tmp_path / "data"  # both need the features at the same time
    results = run([[*arguments(*tones, two, fresh), *flag, *TOGETHER] for flag in place])
    assert [status for status, *_ in results] == [0, 0], results
    assert "runs on 2 processes, 2 devices (cpu)" in results[0][2]
    assert "Everything is in" in results[0][1] and "Everything is in" not in results[1][1]
    assert not list(fresh.glob("jdann/features/.partial*"))
    assert written(alone) == written(two)
    for expected, row in zip(
        read(alone / "predictions.csv"), read(two / "predictions.csv"), strict=True
    ):
        assert row["file"] == expected["file"]
        assert float(row["p_sad"]) == pytest.approx(float(expected["p_sad"]), abs=1e-4)


def written(workdir):
    """The files of a run, without those whose names are numbers of a process or of a time."""
    files = {path.relative_to(workdir) for path in workdir.rglob("*")}
    return {path for path in files if not {"checkpoints", "tensorboard"} & set(path.parts)}


@pytest.mark.slow
def test_when_process_0_cannot_go_on_the_others_end_with_its_sentence(tones, tmp_path, data_dir):
    workdir = tmp_path / "mine"
    workdir.mkdir()
    (workdir / "thesis.txt").write_text("not a run")
    options = arguments(*tones, workdir, data_dir)
    results = run([[*options, *flag, *TOGETHER] for flag in flags(2, free_port())], 120.0)
    for status, _, errors in results:
        assert status == 2
        assert "is not empty and holds no run of jdann" in errors
        assert "Traceback" not in errors
    assert "process 0 on" in results[1][2]


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_others(killed, tones, tmp_path, data_dir):
    options = [*arguments(*tones, tmp_path / "run", data_dir), "--config.epochs=100000"]
    programs = [
        start(["-m", "jdann", *options, *flag, *TOGETHER]) for flag in flags(2, free_port())
    ]
    for line in programs[0].stderr:
        if "epochs of" in line:
            break
    programs[killed].send_signal(signal.SIGKILL)
    results = finish(programs, 120.0)
    assert all(status != 0 for status, *_ in results)
