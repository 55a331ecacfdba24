"""Processes that tests start, wait for and kill."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def started(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs some code. It is killed at the end if it still runs."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """Reads what a process writes as errors until a line holds a text; returns that line."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return line
    raise AssertionError(f"no line with {text!r} in {lines}")


def kill(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> int:
    """Sends a signal to a process and returns its status."""
    os.kill(process.pid, number)
    return process.wait(60)


class NthCall:
    """Calls a function, and raises an error in its place at the n-th call and at later ones."""

    def __init__(self, function: Callable, error: BaseException, n: int):
        self._function, self._error, self._left = function, error, n

    def __call__(self, *arguments, **options):
        self._left -= 1
        if self._left < 0:
            raise self._error
        return self._function(*arguments, **options)
