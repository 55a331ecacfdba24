"""One process holds a lock; the others wait for it in one line, and a dead owner is no owner."""

import errno
import fcntl
import json
import os
import re
import signal
import time

import pytest

from jdann import locks
from tests.support.processes import kill, line_with, started

HOLD = """
import sys, time
from pathlib import Path
from jdann.locks import hold
with hold(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(100)
"""
WAIT = """
import logging, sys, time
from pathlib import Path
from jdann.locks import wait_and_hold
logging.basicConfig(format="%(message)s")
try:
    with wait_and_hold(Path(sys.argv[1]), "tones", "computed these features"):
        print("locked", flush=True)
        time.sleep(100)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def owner(tmp_path):
    """A process that holds the lock."""
    with started(HOLD, tmp_path / "a.lock") as process:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        yield process


def test_one_line_names_the_owner_and_its_age_and_a_dead_owner_is_followed(
    owner, tmp_path, monkeypatch
):
    lines = []

    def note(text, *values):
        lines.append(text % values)
        kill(owner)

    monkeypatch.setattr(locks.log, "warning", note)
    with locks.wait_and_hold(tmp_path / "a.lock", "tones", "computed these features") as alone:
        assert alone and owner.returncode == -signal.SIGKILL
        assert locks.owner_of(tmp_path / "a.lock")[0].startswith(f"process {os.getpid()} on ")
    expected = r"tones: waits for process (\d+) on .+, which has computed these features for \d+ s"
    (named,) = [re.fullmatch(expected, line) for line in lines]
    assert named and int(named[1]) == owner.pid


def test_an_interrupted_wait_ends_at_once_and_leaves_the_owner_its_lock(tmp_path):
    file = tmp_path / "a.lock"
    with locks.hold(file):
        with started(WAIT, file) as process:
            line_with(process, "waits")
            assert kill(process, signal.SIGINT) == 130
        with pytest.raises(locks.BusyError, match=f"process {os.getpid()} "), locks.hold(file):
            pass


def test_a_lock_is_given_back(tmp_path):
    for _ in range(2):
        with locks.hold(tmp_path / "a.lock") as alone:
            assert alone
        assert not list(tmp_path.iterdir())


def test_where_there_are_no_locks_nobody_waits(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with locks.hold(tmp_path / "a.lock") as first, locks.hold(tmp_path / "a.lock") as second:
        assert not first and not second
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("years", [-40, 40])
def test_a_clock_that_jumps_changes_no_age(tmp_path, monkeypatch, years):
    with locks.hold(tmp_path / "a.lock"):
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + years * 365 * 86400)
        assert locks.owner_of(tmp_path / "a.lock")[1] == "0 s"
        # Of an owner on another machine, only the clock is known.
        owner = json.loads((tmp_path / "a.lock").read_text())
        (tmp_path / "a.lock").write_text(json.dumps(owner | {"machine": "elsewhere"}))
        assert not locks.owner_of(tmp_path / "a.lock")[1].startswith("-")


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"process": "x"}', '{"process": 1}', "\xff"])
def test_an_owner_that_nothing_names_is_another_process(tmp_path, text):
    (tmp_path / "a.lock").write_bytes(text.encode("latin-1"))
    assert locks.owner_of(tmp_path / "a.lock") == ("another process", "")
    with locks.hold(tmp_path / "a.lock") as alone:
        assert alone
        assert locks.owner_of(tmp_path / "a.lock")[0].startswith(f"process {os.getpid()} on ")
