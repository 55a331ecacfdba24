"""Independent jdann commands as tasks of a Ray cluster.

jdann has to be installed on all nodes. A task whose node is lost is started again on another one,
so a command has to do no harm if it is started twice, as all commands of jdann.
"""

import sys
from collections.abc import Sequence
from typing import Any

from jdann.cluster.local_processes import exit_status, show_output, start
from jdann.cluster.ray_cluster import connected

_RETRIES = 3  # of a task whose node or worker is lost


def run_on_ray(
    commands: Sequence[Sequence[str]], address: str | None, cpus: float = 1, gpus: float = 0
) -> int:
    """Runs jdann commands on a Ray cluster until all have ended.

    Args:
      commands: the words of each, without "jdann".
      address: of the cluster, as for `jdann.cluster.ray_cluster.connected`.
      cpus: that each command reserves.
      gpus: that each command reserves.

    Returns:
      The exit status of the one that failed first; 0: all went well.

    Raises:
      InputError: Ray is missing, or the cluster cannot be reached.
    """
    with connected(address, log_to_driver=True) as ray:
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=_RETRIES)(run_command)
        waiting = [task.remote(list(words), i) for i, words in enumerate(commands, 1)]
        first_failure = 0
        while waiting:
            done, waiting = ray.wait(waiting)
            first_failure = first_failure or _status(ray, done[0])
        return first_failure


def _status(ray: Any, reference: Any) -> int:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
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
