"""Processes that answer questions, so that each of several ways has a process of its own."""

import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Worker(NamedTuple):
    """A process that answers each line of its standard input with a number."""

    process: subprocess.Popen
    ready: float  # what it printed when it was ready

    def ask(self, question: str) -> float:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def stop(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def start_worker(name: str, command: Sequence[str]) -> Worker:
    """Starts a process and waits until it prints that it is ready."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    ready = process.stdout.readline()
    if not ready:
        sys.exit(f"{name}: its process ended")
    return Worker(process, float(ready))
