"""`jdann launch` starts a command on this machine, on Slurm or on Ray."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jdann.cluster import local_processes
from jdann.cluster.launching import make_copies, parse_destination
from jdann.cluster.local_processes import divide_gpus, run_side_by_side
from jdann.cluster.slurm_jobs import parse_options, submit
from jdann.errors import InputError
from tests.cluster.test_processes import written
from tests.support.processes import kill, started
from tests.support.runs import arguments, fail

ROOT = Path(__file__).parents[2]
TRAIN = ("--", "train", "--config", "best")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "required: --on"),
        (("--on", "local:2"), "write the command behind --"),
        (("--on", "local:2", "train"), "write the command behind --"),
        (("--on", "local:2", "--"), "write the command behind --"),
        (("--on", "local:2", "--", "trian"), "did you mean train"),
        (("--on", "local:2", "--", "launch"), "choose one of train"),
        (("--on", "local:2", "--", "predict", "runs/best"), "required: files"),
        (("--on", "local:2", "--", "predict", "runs/best", "a.wav"), "write {i} where they differ"),
        (("--on", "local:2", *TRAIN, "--coordinator", "a:1"), "sets --coordinator by itself"),
        (("--on", "local:2", "--tasks", "3", *TRAIN), "write --on local:N"),
        (("--on", "local:2", "--slurm", "time=3", *TRAIN), "--slurm is for --on slurm"),
        (("--on", "slurm", *TRAIN), "say how long"),
        (("--on", "slurm", "--slurm", "nodes", *TRAIN), "--slurm nodes: expected an option"),
        (("--on", "slurm", "--tasks", "2", *TRAIN), "is one training"),
        (("--on", "slurm", "--tasks", "0", *TRAIN), "--tasks is 0"),
        (("--on", "ray", *TRAIN), "is not started on Ray: on CPUs its workers would train"),
        (("--on", "ray", "--", "sweep", "--config", "best"), "is not started on Ray"),
        *(
            (("--on", where, *TRAIN), f"--on {where}: expected local:N")
            for where in (
                "local",
                "local:",
                "local:0",
                "local:-1",
                "local:two",
                "ray:",
                "k8s",
            )
        ),
    ],
)
def test_wrong_use_is_one_line(words, message, capsys):
    errors = fail(capsys, "launch", *words)
    assert message in errors and len(errors.splitlines()) == 1


@pytest.mark.parametrize("package, where", [("submitit", "slurm"), ("ray", "ray")])
def test_a_missing_package_is_named(package, where, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    options = ["--slurm", "time=3"] if where == "slurm" else []
    errors = fail(capsys, "launch", "--on", where, *options, "--", "predict", "runs/a", "b.wav")
    assert 'pip install "jdann[cluster]"' in errors and len(errors.splitlines()) == 1


def test_copies_differ_in_their_number():
    words = ["prepare", "a.csv", "--shard", "{i}/{n}"]
    assert [copy[-1] for copy in make_copies(words, 3)] == ["1/3", "2/3", "3/3"]
    assert make_copies(["report", "runs/a"], 1) == [["report", "runs/a"]]
    with pytest.raises(InputError, match="would do the same"):
        make_copies(["report", "runs/{n}"], 2)


def test_destinations():
    assert parse_destination("local:4").processes == 4
    assert parse_destination("ray:10.0.0.1:6379").address == "10.0.0.1:6379"
    assert parse_destination("ray://head:10001").address == "ray://head:10001"
    assert parse_destination("ray").address is None


def test_each_process_has_gpus_of_its_own(monkeypatch):
    monkeypatch.setattr(local_processes.importlib.util, "find_spec", lambda name: object())
    visible = {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4"}
    parts = [part["CUDA_VISIBLE_DEVICES"] for part in divide_gpus(2, visible)]
    assert parts == ["0,1", "2,3"]
    assert divide_gpus(2, visible | {"JAX_PLATFORMS": "cpu"}) == [{}, {}]
    assert divide_gpus(1, visible) == [{}]
    with pytest.raises(InputError, match="choose local:5"):
        divide_gpus(6, visible)


@pytest.fixture
def stand_in(monkeypatch):
    """Makes the "commands" that are started pieces of Python."""
    monkeypatch.setattr(local_processes, "program", lambda words: [sys.executable, "-c", *words])
    monkeypatch.setattr(local_processes, "_GRACE_S", 0.5)


def test_the_output_of_all_is_shown_with_their_numbers(stand_in, capfd):
    code = "import sys; print('out', sys.argv[1]); print('\\xe4', sys.argv[1], file=sys.stderr)"
    assert run_side_by_side([[code, "a"], [code, "b"]], [{}, {}]) == 0
    shown = capfd.readouterr()
    assert sorted(shown.out.splitlines()) == ["[0] out a", "[1] out b"]
    assert sorted(shown.err.splitlines()) == ["[0] ä a", "[1] ä b"]


@pytest.mark.parametrize(
    "code, status",
    [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)],
)
def test_one_that_fails_ends_the_others(code, status, stand_in):
    begun = time.monotonic()
    others = ["import time; time.sleep(600)", "import signal, time; signal.signal(15, lambda *_: 0)"
              "; [time.sleep(1) for _ in range(600)]"]  # fmt: skip
    assert run_side_by_side([[others[0]], [code], [others[1]]], [{}] * 3) == status
    assert time.monotonic() - begun < 60  # neither is waited for


LAUNCHER = """
import sys
from jdann import interruption
from jdann.cluster import local_processes
local_processes.program = lambda words: [sys.executable, "-c", *words]
interruption.watch("ended")
child = '''
import signal, sys, time
def end(number, frame):
    print("got", number, flush=True)
    sys.exit(5)
signal.signal(signal.SIGINT, end)
signal.signal(signal.SIGTERM, end)
print("ready", file=sys.stderr, flush=True)
time.sleep(600)
'''
with interruption.orderly():
    local_processes.run_side_by_side([[child]], [{}])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_forwarded(number):
    with started(LAUNCHER) as process:
        assert process.stderr is not None and process.stdout is not None
        assert "[0] ready" in process.stderr.readline()
        os.kill(process.pid, number)
        assert process.stdout.read() == f"[0] got {int(number)}\n"
        assert process.wait(60) != 0


KILLED_LAUNCHER = """
import sys
from jdann.cluster import local_processes
local_processes.program = lambda words: [sys.executable, "-c", *words]
child = '''
import os, sys, time
from jdann import interruption
interruption.watch("ended with its parent")
interruption.end_with_parent()
print(os.getpid(), file=sys.stderr, flush=True)
time.sleep(600)
'''
local_processes.run_side_by_side([[child]], [{}])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_processes_end_with_a_launcher_that_is_killed():
    with started(KILLED_LAUNCHER) as launcher:
        assert launcher.stderr is not None
        child = int(launcher.stderr.readline().removeprefix("[0] "))
        kill(launcher)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{child}").exists() and not is_zombie(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_zombie(process: int) -> bool:
    """Whether a process has ended, and only waits until somebody asks for its status."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch) -> Path:
    """Programs with the names of Slurm's, of which sbatch keeps the script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = tmp_path / "submitted.sh"
    for name, body in {
        "sbatch": f'cat "$1" > {script}; echo "Submitted batch job 4097"',
        "srun": "exit 0",
        "sacct": "exit 0",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return script


def test_options_reach_sbatch(fake_slurm, tmp_path):
    pytest.importorskip("submitit")
    words = ["nodes=2", "ntasks-per-node=4", "time=120", "partition=gpu", "--gpus-per-node=4"]
    (job,) = submit([["train", "--config", "best"]], parse_options(words), tmp_path / "logs")
    assert job.job_id == "4097"
    lines = fake_slurm.read_text().splitlines()
    for option in ("nodes=2", "ntasks-per-node=4", "time=120", "partition=gpu", "gpus-per-node=4"):
        assert f"#SBATCH --{option}" in lines
    jobs = submit([["report", f"runs/{i}"] for i in range(3)], {"time": 5}, tmp_path / "logs")
    assert len(jobs) == 3 and "#SBATCH --array=0-2%3" in fake_slurm.read_text().splitlines()
    with pytest.raises(InputError, match="--slurm: Unknown argument 'nods'"):
        submit([["report", "a"]], {"time": 5, "nods": 2}, tmp_path / "logs")


@pytest.mark.slow
def test_a_job_runs_the_command(tmp_path):
    pytest.importorskip("submitit")
    jobs = submit([["corpora", "missing.csv"], ["--version"]], {}, tmp_path, cluster="local")
    with pytest.raises(Exception, match="exit status 2"):
        jobs[0].result()
    assert "missing.csv" in jobs[0].stderr()
    jobs[1].result()
    assert "0." in jobs[1].stdout()


RAY = """
import sys, ray
from ray.cluster_utils import Cluster
memory = {"num_cpus": 2, "object_store_memory": 100 * 2**20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=memory)
from jdann.cli import main
words = sys.argv[1:]
try:
    main(["launch", "--on", f"ray:{cluster.address}", *words])
finally:
    cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.parametrize("missing, status", [("", 0), ("-missing", 2)])
def test_ray_runs_the_commands(missing, status, tones, tmp_path):
    pytest.importorskip("ray")
    for i in (1, 2):
        (tmp_path / f"{i}.csv").symlink_to(tones[i - 1])
    words = ["--tasks", "2", "--", "corpora", f"{tones[0].parent}{missing}/list.csv"]
    words += ["--labels", "x{i}=angry"]
    with started(RAY, *words) as process:
        output, errors = process.communicate(timeout=300)
    assert process.returncode == status, errors
    text = output + errors
    assert "[1] " in text and "[2] " in text and "list.csv" in text


@pytest.mark.slow
def test_two_launched_processes_leave_what_one_leaves(tones, tmp_path, data_dir):
    for count, folder in ((1, "one"), (2, "two")):
        options = arguments(*tones, tmp_path / folder, data_dir)
        words = ["launch", "--on", f"local:{count}", "--", "train", *options]
        done = subprocess.run(
            [sys.executable, "-m", "jdann", *words],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "[0] Everything is in" in done.stdout
    assert "[0] runs on 2 processes, 2 devices (cpu)" in done.stderr
    assert written(tmp_path / "one") == written(tmp_path / "two")
