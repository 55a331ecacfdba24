"""Independent jdann commands as tasks of a Ray cluster.

jdann has to be installed on all nodes. A task whose node is lost is started again on another one,
so a command has to do no harm if it is started twice, as all commands of jdann.
"""

import logging
import socket
import sys
from collections.abc import Sequence
from typing import Any

from jdann.cluster.launching import missing_package
from jdann.cluster.local_processes import exit_status, show_output, start
from jdann.errors import InputError

_CONNECT_S = 10.0
_RETRIES = 3  # of a task whose node or worker is lost


def run_on_ray(
    commands: Sequence[Sequence[str]], address: str, cpus: float = 1, gpus: float = 0
) -> int:
    """Runs jdann commands on a Ray cluster until all have ended.

    Args:
      commands: the words of each, without "jdann".
      address: of the cluster, e.g. "auto" on one of its nodes.
      cpus: that each command reserves.
      gpus: that each command reserves.

    Returns:
      The exit status of the one that failed first; 0: all went well.

    Raises:
      InputError: Ray is missing, or the cluster cannot be reached.
    """
    try:
        import ray  # an optional dependency, in the extra "cluster"
    except ImportError:
        raise missing_package("ray", "Ray") from None
    try:
        _check_reachable(address)
        ray.init(address=address, log_to_driver=True, logging_level=logging.WARNING)
    except Exception as error:  # Ray's are of many types
        reason = " ".join(str(error).split())
        raise InputError(
            f"--on ray:{address}: no Ray cluster answers there ({reason}); expected an address "
            "such as auto or 10.0.0.1:6379"
        ) from None
    try:
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=_RETRIES)(run_command)
        waiting = [task.remote(list(words), i) for i, words in enumerate(commands, 1)]
        first_failure = 0
        while waiting:
            done, waiting = ray.wait(waiting)
            first_failure = first_failure or _status(done[0])
        return first_failure
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Asks in seconds what Ray would find out in minutes; an address such as "auto" is left to it.

    Raises:
      OSError: nobody listens there.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "://" not in address:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()


def _status(reference: Any) -> int:
    import ray  # as in `run_on_ray`
    from ray.exceptions import RayError

    try:
        return ray.get(reference)
    except RayError as error:
        reason = str(error).strip().splitlines()[0]
        print(f"jdann: a command was lost {_RETRIES + 1} times: {reason}", file=sys.stderr)
        return 1


def run_command(words: Sequence[str], number: int) -> int:
    """Runs a jdann command in a task, and returns its exit status."""
    process = start(words, {})
    threads = show_output(process, f"[{number}] ")
    try:
        returncode = process.wait()
    except BaseException:  # Ray cancels the task
        process.terminate()
        process.wait()
        raise
    finally:
        for thread in threads:
            thread.join()
    return exit_status(returncode)
