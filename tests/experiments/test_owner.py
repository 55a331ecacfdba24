"""One run at a time in a work directory."""

import os
import signal
import subprocess
import sys

import pytest

from jdann.errors import InputError
from jdann.experiments.owner import LOCK, owned

HOLD = """
import sys, time
from pathlib import Path
from jdann.experiments.owner import owned
with owned(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other_run(tmp_path):
    """A process that works in the directory."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_second_run_is_refused_in_one_line(other_run, tmp_path):
    expected = r"another run \(process \d+ on .*\) uses this folder"
    with pytest.raises(InputError, match=expected) as error, owned(tmp_path / "run"):
        pass
    assert str(other_run.pid) in str(error.value) and "\n" not in str(error.value)


def test_a_dead_owner_is_no_owner(other_run, tmp_path):
    os.kill(other_run.pid, signal.SIGKILL)
    other_run.wait()
    assert (tmp_path / "run" / LOCK).exists()
    with owned(tmp_path / "run"):
        pass
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_directory_is_made_and_given_back(tmp_path):
    run = tmp_path / "new" / "run"
    for _ in range(2):
        with owned(run), pytest.raises(InputError, match="uses this folder"), owned(run):
            pass
    assert not any(run.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"), owned(tmp_path / "file"):
        pass
