"""The place of this process among those of one training, from flags or from a scheduler.

A scheduler tells each process its place by environment variables. JAX reads those of Slurm,
Kubernetes and Open MPI. Where a scheduler has started one process only, it trains alone.
"""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jdann.errors import InputError

_ALONE = "--processes 1 trains alone"


class Place(NamedTuple):
    """Where a process stands among those of a training."""

    coordinator: str  # HOST:PORT at which process 0 listens
    count: int  # processes of the training, 2 or more
    index: int  # of this process, from 0
    device_ids: Sequence[int] | None = None  # accelerators of the machine that it uses; None: all


class _Scheduler(NamedTuple):
    """How a scheduler is recognised, and how to ask JAX about it."""

    name: str
    method: str  # JAX's name for it
    needs: tuple[str, ...]  # environment variables, without which it has not started this process
    count: str  # the variable with the number of processes; "": only JAX can find it


_SCHEDULERS = (
    _Scheduler(
        "Slurm",
        "slurm",
        ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID"),
        "SLURM_NTASKS",
    ),
    _Scheduler("Open MPI", "ompi", ("OMPI_COMM_WORLD_RANK",), "OMPI_COMM_WORLD_SIZE"),
    _Scheduler("Kubernetes", "k8s", ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"), ""),
)


def find_place(
    coordinator: str | None,
    processes: int | None,
    process_id: int | None,
    wait_s: int,
    environment: Mapping[str, str] = os.environ,
) -> Place | None:
    """The place of this process; None if it trains alone.

    Args:
      coordinator: HOST:PORT of process 0; None: from the scheduler.
      processes: how many there are; None: from the scheduler. 1: alone, whatever a scheduler says.
      process_id: of this process, from 0; None: from the scheduler.
      wait_s: how long Kubernetes may take to answer, in seconds.
      environment: variables of this process.

    Raises:
      InputError: the flags are incomplete or contradict each other.
    """
    if processes == 1:
        return None
    flags = {"--coordinator": coordinator, "--processes": processes, "--process-id": process_id}
    missing = [name for name, value in flags.items() if value is None]
    if coordinator is not None and processes is not None and process_id is not None:
        return _checked(Place(coordinator, processes, process_id))
    scheduler = _find_scheduler(environment)
    if scheduler is None:
        if len(missing) == len(flags):
            return None
        raise InputError(
            f"{' and '.join(missing)}: needed as well where neither Slurm, Kubernetes nor Open MPI "
            "starts the processes, e.g. --coordinator HOST:5000 --processes 2 --process-id 0"
        )
    place = _ask_jax(scheduler, coordinator, processes, process_id, wait_s)
    return _checked(place) if place.count > 1 else None


def _checked(place: Place) -> Place:
    host, _, port = place.coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(
            f"--coordinator is {place.coordinator!r}; expected the host and a free port of "
            "process 0, e.g. --coordinator node1:5000"
        )
    if place.count < 1 or not 0 <= place.index < place.count:
        raise InputError(
            f"--process-id is {place.index} of --processes {place.count}; number the processes "
            "from 0 to one less than their number"
        )
    return place


def _find_scheduler(environment: Mapping[str, str]) -> _Scheduler | None:
    """The scheduler that started this process beside others, or None."""
    for scheduler in _SCHEDULERS:
        if all(name in environment for name in scheduler.needs) and (
            not scheduler.count or int(environment.get(scheduler.count, "1")) > 1
        ):
            return scheduler
    return None


def _ask_jax(
    scheduler: _Scheduler,
    coordinator: str | None,
    processes: int | None,
    process_id: int | None,
    wait_s: int,
) -> Place:
    """The place that JAX reads from a scheduler's variables; what flags tell stays.

    Raises:
      InputError: JAX cannot find all of it.
    """
    # JAX has no public function that only looks; `jax.distributed.initialize` begins with this one.
    from jax._src.clusters import ClusterEnv

    if scheduler.method == "k8s" and importlib.util.find_spec("kubernetes") is None:
        raise InputError(
            "this pod has an index in a Job of Kubernetes, and the package that finds the other "
            "pods is missing: pip install kubernetes, or give --coordinator, --processes and "
            f"--process-id; {_ALONE}"
        )
    try:
        address, count, index, devices = ClusterEnv.auto_detect_unset_distributed_params(
            coordinator, processes, process_id, None, scheduler.method, wait_s
        )
    except Exception as error:  # the client of Kubernetes has types of its own
        address, count, index, devices = None, None, None, None
        reason = " ".join(str(error).split())
    else:
        reason = "JAX does not find it, as with Open MPI 5"
    if address is None or count is None or index is None:
        raise InputError(
            f"{scheduler.name} started this process beside others, but its place is not known "
            f"({reason}); give --coordinator, --processes and --process-id; {_ALONE}"
        )
    return Place(address, count, index, devices)
