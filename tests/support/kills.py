"""Runs of the command line that end by a kill, inside a chosen write or at a chosen time."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.killed_program import PLAN

ROOT = Path(__file__).parents[2]
LONGEST_S = 240.0  # of one run
INTERRUPTED = "jdann: interrupted; continue a training by --resume"
MOMENTS = ("before", "during")


@dataclass(frozen=True)
class Program:
    """A command line.

    Fields:
      words: its arguments.
      roots: the folders into which it writes.
      log: of its writes, a line "event path" each; beside the folders.
      environment: variables that differ from those of this process.
    """

    words: Sequence[str]
    roots: Sequence[Path]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(
        self,
        plan: Mapping[str, Any] | None = None,
        module: str = "tests.support.killed_program",
        in_group: bool = False,
    ) -> subprocess.Popen[str]:
        """Starts it in a process.

        Args:
          plan: where it kills itself; None: nowhere.
          module: "jdann": the program as it is, which logs no writes.
          in_group: in a group of processes of its own, as a terminal starts it.
        """
        self.log.unlink(missing_ok=True)
        whole = {"roots": list(map(str, self.roots)), "log": str(self.log), **(plan or {})}
        return subprocess.Popen(
            [sys.executable, "-m", module, *self.words],
            cwd=ROOT,
            env={**os.environ, **self.environment, PLAN: json.dumps(whole)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=in_group,
        )

    def finish(self) -> str:
        """Runs it to its end, which must be a good one; returns its standard error."""
        with self.start() as process:
            _, errors = process.communicate(timeout=LONGEST_S)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors, errors
        return errors

    def writes(self) -> list[str]:
        """The writes of the newest run."""
        return self.log.read_text().splitlines()

    def kill_in(
        self, kind: str, pattern: str, count: int, chance: random.Random, moment: str = ""
    ) -> str:
        """Runs it until it kills itself in a write of a kind.

        Args:
          kind: a name for messages.
          pattern: of the lines in the log.
          count: how many writes of the kind there are; one of them is chosen.
          chance: chooses.
          moment: "before", "during" or "soon"; "": any.

        Returns:
          What was done, for messages.
        """
        moments = ("soon", *MOMENTS) if "tmp" in pattern else MOMENTS
        if "sqlite3" in pattern:  # a kill cuts no database: SQLite writes in place, with a journal
            moments = ("before", "soon")
        moment = moment or chance.choice(moments)
        plan = {
            "pattern": pattern,
            "number": chance.randint(1, count),
            "moment": moment,
            "seed": chance.randrange(2**32),
        }
        with self.start(plan) as process:
            _, errors = process.communicate(timeout=LONGEST_S)
        hits = [line for line in self.writes() if re.search(pattern, line)]
        if process.returncode == 0 and "mkdir" in pattern and 0 < len(hits) < plan["number"]:
            # A run that was killed before has made some of these folders already.
            return f"{kind}: not killed, because this time there were {len(hits)} writes"
        done = f"{kind}: killed {moment} write {plan['number']} of {count}"
        assert process.returncode == -signal.SIGKILL, f"{done}: {process.returncode} {errors}"
        assert len(hits) >= plan["number"], done
        return f"{done}, {hits[plan['number'] - 1]}"

    def kill_after(
        self,
        seconds: float,
        number: int = signal.SIGKILL,
        file: Path | None = None,
        in_group: bool = False,
    ) -> tuple[int, str]:
        """Runs it, and sends it a signal.

        Args:
          seconds: how long to wait before the signal.
          number: the signal.
          file: wait until this file exists, and then `seconds`. Otherwise the seconds count from
            the first line of the program itself.
          in_group: send it to the processes that it has started, too, as Ctrl-C does.

        Returns:
          The exit status, and the standard error.
        """
        with self.start(module="jdann", in_group=in_group) as process:
            deadline = time.monotonic() + LONGEST_S
            while process.poll() is None and time.monotonic() < deadline:
                if file.exists() if file else _handles_sigterm(process.pid):
                    break
                time.sleep(0.002)
            time.sleep(seconds)
            if in_group:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
            _, errors = process.communicate(timeout=LONGEST_S)
        return process.returncode, errors


def _handles_sigterm(process_id: int) -> bool:
    """Whether a process has set a handler of SIGTERM; Python itself sets none."""
    status = Path(f"/proc/{process_id}/status").read_text()
    caught = re.search(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def kind_of(line: str, kinds: Mapping[str, str]) -> str | None:
    """The first kind whose pattern is found in a line of the log."""
    return next((kind for kind, pattern in kinds.items() if re.search(pattern, line)), None)


def kill_in_turn(
    program: Program, kinds: Iterable[tuple[str, str]], writes: Sequence[str], seed: int
) -> list[str]:
    """Kills a program in one write of each kind, and then lets it end.

    Args:
      program: what is killed.
      kinds: names and patterns, in the order of the kills.
      writes: those of a run that nobody killed.
      seed: of the choices.

    Returns:
      What was done, for messages.
    """
    chance = random.Random(seed)
    done = []
    for kind, pattern in kinds:
        count = sum(bool(re.search(pattern, line)) for line in writes)
        done.append(program.kill_in(kind, pattern, count, chance))
    program.finish()
    return done


@contextlib.contextmanager
def explained(done: Sequence[str]) -> Iterator[None]:
    """Adds what was done to the message of a failure."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError("\n".join([*done, str(error)])) from error


def in_parallel(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Two at a time: most tests of a campaign wait for processes."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, items))
