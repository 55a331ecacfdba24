"""Several processes that train together: they meet, wait for each other and end together.

JAX connects them. Its coordinator, in process 0, also keeps the notes that they leave each other.
"""

import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count as numbers
from typing import Any, NoReturn

import jax
from jax._src import distributed  # the notes of the coordinator have no public name

from jdann import interruption
from jdann.cluster.places import Place
from jdann.errors import DivergenceError, InputError
from jdann.terminal import visible

_HEARTBEAT_S = 60  # a process that says nothing for as long is taken for dead
_GOODBYE_S = 10.0  # how long the last words of a process may take to reach the others
_LONGEST_WAIT_MS = 7 * 24 * 3600 * 1000  # process 0 may compute features for days
_END_NOTE = "jdann/end"
_LOST = ("Gloo", "NCCL", "UNAVAILABLE", "Socket closed")  # words of XLA's messages
log = logging.getLogger("jdann")
_barriers = numbers()
_notes = numbers()
_watching = threading.Event()


def count() -> int:
    """How many processes train together; 1: this one is alone."""
    return distributed.global_state.num_processes


def index() -> int:
    """The number of this process, from 0."""
    return distributed.global_state.process_id


def is_first() -> bool:
    """Whether this process is the one that writes the work directory."""
    return index() == 0


def join(place: Place, wait_s: int) -> None:
    """Connects this process with the others; nothing may have been computed before.

    Args:
      place: of this process.
      wait_s: how long the others may take to start, in seconds.

    Raises:
      InputError: process 0 cannot be reached.
    """
    interruption.expect_others()
    if place.index:
        _wait_for_coordinator(place, wait_s)
    met = threading.Event()
    threading.Thread(target=_give_up_waiting, args=(place, wait_s, met), daemon=True).start()
    # It would catch SIGTERM, which ends a run here so that it can be continued.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.count,
            place.index,
            local_device_ids=place.device_ids,
            cluster_detection_method="deactivate",
            # Where JAX itself gives up, it aborts the process without a sentence.
            initialization_timeout=wait_s + 60,
            heartbeat_timeout_seconds=_HEARTBEAT_S,
            shutdown_timeout_seconds=int(_GOODBYE_S),
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--coordinator {place.coordinator}: {reason}") from None
    finally:
        met.set()
    if jax.process_count() != place.count:
        raise InputError(
            f"{place.count} processes were promised, and JAX sees {jax.process_count()}; "
            "is the same kind of device installed for all of them?"
        )


def _wait_for_coordinator(place: Place, wait_s: int) -> None:
    host, _, port = place.coordinator.rpartition(":")
    end = time.monotonic() + wait_s
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise InputError(
                    f"process {place.index} waited {wait_s} s for process 0 at "
                    f"{place.coordinator} ({error.strerror or error}); start process 0 there, and "
                    "check that this machine can reach it"
                ) from None
        time.sleep(0.2)


def _give_up_waiting(place: Place, wait_s: int, met: threading.Event) -> None:
    if not met.wait(wait_s):
        _end(
            f"after {wait_s} s fewer than {place.count} processes have come; start all of them "
            "with the same --coordinator and --processes, each with a --process-id of its own",
            2,
        )


@contextmanager
def together() -> Iterator[None]:
    """Makes all processes end if one of them fails, with the reason that the failed one gives."""
    if count() == 1 or _watching.is_set():
        yield
        wait_for_all()
        return
    _watching.set()
    threading.Thread(target=_watch, daemon=True).start()
    try:
        yield
        wait_for_all()
        _watching.clear()
    except BaseException as error:
        if _is_lost_connection(error):
            time.sleep(_GOODBYE_S / 2)  # if the lost one has left a reason, the watch ends us
            error = InputError(
                "another process of this run has been lost; see what it said, and start all of "
                "them again with --resume"
            )
        _leave_note(error)
        raise error


def _is_lost_connection(error: BaseException) -> bool:
    """Whether XLA raised this because another process does not answer."""
    from_xla = isinstance(error, RuntimeError | ValueError)  # Gloo's are ValueError
    return from_xla and any(word in str(error) for word in _LOST)


def leave() -> None:
    """Ends the connection; all processes have come to their end."""
    if count() > 1:
        jax.distributed.shutdown()


def wait_for_all() -> None:
    """Waits until every process has come here."""
    if count() > 1:
        _client().wait_at_barrier(f"jdann/{next(_barriers)}", _LONGEST_WAIT_MS)


@contextmanager
def first_ahead() -> Iterator[None]:
    """Lets process 0 do some work before the others, which then find its files."""
    if not is_first():
        wait_for_all()
    try:
        yield
    finally:
        if is_first():
            wait_for_all()


def of_first(value: Any) -> Any:
    """The value of process 0, which JSON can hold, on every process."""
    if count() == 1:
        return value
    name = f"jdann/values/{next(_notes)}"
    if is_first():
        _client().key_value_set(name, json.dumps(value))
    return json.loads(_client().blocking_key_value_get(name, _LONGEST_WAIT_MS))


def check_same(what: Mapping[str, Any], hint: str) -> None:
    """Refuses to go on if values of this process are not those of process 0.

    Args:
      what: values by name, which JSON can hold.
      hint: what to do.

    Raises:
      InputError: names what differs, and both values.
    """
    mine = json.loads(json.dumps(what))
    first = of_first(mine)
    keys = [key for key in {**first, **mine} if first.get(key) != mine.get(key)]
    if keys:
        values = "; ".join(
            f"{key} is {first.get(key)!r} in process 0 and {mine.get(key)!r} in process {index()}"
            for key in keys[:3]
        )
        more = f"; and {len(keys) - 3} more" if len(keys) > 3 else ""
        raise InputError(f"the processes differ: {values}{more}; {hint}")


def describe() -> str:
    """What a run runs on: "2 processes, 2 devices (cpu)"."""
    devices = jax.devices()
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    processes = "1 process" if count() == 1 else f"{count()} processes"
    return f"{processes}, {len(devices)} device{'s' * (len(devices) > 1)} ({kinds})"


def _client() -> Any:
    return distributed.global_state.client


def _leave_note(error: BaseException) -> None:
    """Tells the other processes why this one ends, and waits until they know."""
    status = 2 if isinstance(error, InputError) else 1
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyboardInterrupt):
        reason = "it was interrupted; continue the training by --resume"
    elif not isinstance(error, InputError | DivergenceError):
        reason = f"{type(error).__name__}: {reason}"
    note = {"process": index(), "host": socket.gethostname(), "status": status, "reason": reason}
    try:
        _client().key_value_set(_END_NOTE, json.dumps(note))
        _wait_until_heard()
    except Exception:  # the coordinator is gone, or another process has failed before
        log.debug("the others were not told", exc_info=True)


def _watch() -> None:
    """Ends this process when another one leaves a note about its own end."""
    while _watching.is_set():
        try:
            note = json.loads(_client().blocking_key_value_get(_END_NOTE, 600_000))
        except Exception as error:
            if "DEADLINE_EXCEEDED" in str(error):
                continue
            return
        if note["process"] == index() or not _watching.is_set():
            return
        try:
            _client().key_value_set(f"{_END_NOTE}/{index()}", "heard")
            if is_first():  # the notes are lost when this process ends
                _wait_until_heard(but=note["process"])
        finally:
            _end(
                f"process {note['process']} on {note['host']} stopped: {note['reason']}",
                note["status"],
            )


def _wait_until_heard(but: int | None = None) -> None:
    end = time.monotonic() + _GOODBYE_S
    for process in range(count()):
        if process not in (index(), but):
            left_ms = max(1, int(1000 * (end - time.monotonic())))
            _client().blocking_key_value_get(f"{_END_NOTE}/{process}", left_ms)


def _end(message: str, status: int) -> NoReturn:
    """Ends the process at once: other threads may wait for a process that has gone."""
    print(visible(f"jdann: {message}"), file=sys.stderr, flush=True)
    logging.shutdown()
    os._exit(status)
