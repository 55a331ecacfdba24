"""Times of functions and of processes, and ratios of these times.

The ways that a benchmark compares take turns: each round runs every way once. So a change of the
machine's load affects all ways alike. The ratio of two ways is the median over the rounds of the
ratio in each round.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

Measured = TypeVar("Measured")


class Cost(NamedTuple):
    """Wall and CPU time of a call or of a process, in s."""

    wall_s: float
    cpu_s: float


class ProcessResult(NamedTuple):
    """What a process cost and what it printed."""

    cost: Cost
    peak_mib: float  # largest resident memory
    output: str


def seconds_of(function: Callable[[], object]) -> float:
    """Wall time of one call, in s."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def cost_of_call(function: Callable[[], object]) -> Cost:
    """Wall time of one call, and the CPU time of all threads of this process during the call."""
    start, cpu_start = time.perf_counter(), time.process_time()
    function()
    return Cost(time.perf_counter() - start, time.process_time() - cpu_start)


def run_process(
    command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
) -> ProcessResult:
    """Runs a command and measures it. If the command fails, the script ends with its message.

    Args:
      command: the program and its arguments.
      environment: variables that are set in addition to those of this process.
      folder: where the command runs; default: the current folder.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, cwd=folder, stdout=output, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            sys.exit(f"{' '.join(command)} failed: {errors.read()}")
        cost = Cost(wall_s, usage.ru_utime + usage.ru_stime)
        return ProcessResult(cost, usage.ru_maxrss / 1024, output.read())


def measure_in_turn(
    ways: Mapping[str, Callable[[], Measured]],
    rounds: int,
    after_round: Callable[[], object] = lambda: None,
) -> dict[str, list[Measured]]:
    """Calls every way once in each round, and returns the results of each way by round."""
    results: dict[str, list[Measured]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            results[name].append(way())
        after_round()
    return results


def round_ratios(times: Sequence[float], reference: Sequence[float]) -> list[float]:
    """In each round, the time of a way divided by the time of the reference."""
    return [a / b for a, b in zip(times, reference, strict=True)]


def median_cost(costs: Sequence[Cost]) -> Cost:
    """The median wall time and the median CPU time."""
    return Cost(
        statistics.median(cost.wall_s for cost in costs),
        statistics.median(cost.cpu_s for cost in costs),
    )
