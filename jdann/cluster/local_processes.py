"""Several processes on this machine, whose output is shown with their number in front."""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from jdann import interruption
from jdann.cluster.launching import program
from jdann.errors import InputError

_GRACE_S = 20.0  # how long the other processes may take to end after one has failed
_POLL_S = 0.1
_writing = threading.Lock()


def places(count: int) -> list[list[str]]:
    """The flags that make `count` processes of this machine one training."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(count)]
    return [[*shared, "--process-id", str(i)] for i in range(count)]


def divide_gpus(count: int, environment: Mapping[str, str] = os.environ) -> list[dict[str, str]]:
    """The variables by which each of several processes sees GPUs of its own.

    Raises:
      InputError: there are fewer GPUs than processes.
    """
    gpus = _visible_gpus(environment)
    if not gpus or count == 1:
        return [{}] * count
    if len(gpus) < count:
        raise InputError(
            f"--on local:{count} needs a GPU for each process, and {len(gpus)} can be seen here; "
            f"choose local:{len(gpus)}, or set the variable JAX_PLATFORMS=cpu"
        )
    each = len(gpus) // count
    parts = [gpus[i * each : (i + 1) * each] for i in range(count)]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(part)} for part in parts]


def _visible_gpus(environment: Mapping[str, str]) -> list[str]:
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    if environment.get("JAX_PLATFORMS") == "cpu" or not any(map(importlib.util.find_spec, plugins)):
        return []
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name]
    names = (re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia*"))
    return sorted((name[1] for name in names if name), key=int)


def run_side_by_side(
    commands: Sequence[Sequence[str]], variables: Sequence[Mapping[str, str]], first: int = 0
) -> int:
    """Runs jdann commands until all have ended, or ends all if one fails.

    Args:
      commands: the words of each, without "jdann".
      variables: of the environment, for each.
      first: the number that is shown for the first one.

    Returns:
      The exit status of the one that failed first; 0: all went well.
    """
    processes: list[subprocess.Popen[str]] = []
    threads: list[threading.Thread] = []
    try:
        for number, (words, more) in enumerate(zip(commands, variables, strict=True), first):
            process = start(words, more)
            processes.append(process)
            threads += show_output(process, f"[{number}] ")
        status = _wait(processes)
    except BaseException as error:
        # Each has a session of its own, so a terminal interrupts only this process.
        received = interruption.status_of(error) - 128
        _send(processes, received if received > 0 else signal.SIGTERM)
        _wait_until(processes, _GRACE_S)  # a second signal would cut short what the first began
        raise
    finally:
        _end(processes)
        for thread in threads:
            thread.join()
    return status


def start(words: Sequence[str], variables: Mapping[str, str]) -> subprocess.Popen[str]:
    """Starts a jdann command as a process whose output can be read, and that ends with this one."""
    return subprocess.Popen(
        program(words),
        env={
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            interruption.PARENT: str(os.getpid()),
            **variables,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def show_output(process: subprocess.Popen[str], prefix: str) -> list[threading.Thread]:
    """Forwards each line of a process with a prefix; returns the threads that do it."""
    streams = ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
    threads = [
        threading.Thread(target=_forward, args=(source, sink, prefix), daemon=True)
        for source, sink in streams
    ]
    for thread in threads:
        thread.start()
    return threads


def _forward(source: IO[str], sink: IO[str], prefix: str) -> None:
    readable = True
    with source:
        for line in source:
            if not readable:
                continue  # what nobody reads is dropped, so that the process is not held up
            try:
                with _writing:
                    sink.write(f"{prefix}{line.rstrip(chr(10))}\n")
                    sink.flush()
            except OSError:
                readable = False


def exit_status(returncode: int) -> int:
    """As a shell says it: 128 and the signal for a process that was killed."""
    return 128 - returncode if returncode < 0 else returncode


def _wait(processes: Sequence[subprocess.Popen[str]]) -> int:
    """Waits until all have ended, or until one has failed and the others had time to end."""
    while True:
        ended = [p.poll() for p in processes]
        failed = [code for code in ended if code]
        if failed:
            break
        if None not in ended:
            return 0
        time.sleep(_POLL_S)
    _wait_until(processes, _GRACE_S)  # processes of one training say who failed, and end
    return exit_status(failed[0])


def _end(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Ends those that still run: first politely."""
    if any(p.poll() is None for p in processes):
        _send(processes, signal.SIGTERM)
        _wait_until(processes, _GRACE_S)
        _send(processes, signal.SIGKILL)
    for process in processes:
        process.wait()


def _send(processes: Sequence[subprocess.Popen[str]], number: int) -> None:
    for process in processes:
        process.send_signal(number)  # nothing happens if it has ended


def _wait_until(processes: Sequence[subprocess.Popen[str]], seconds: float) -> None:
    end = time.monotonic() + seconds
    while any(p.poll() is None for p in processes) and time.monotonic() < end:
        time.sleep(_POLL_S)
