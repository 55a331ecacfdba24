"""Work that is spread over a Ray cluster: each item is done by one of many worker processes.

An item has to leave its result in files that all machines share, and doing it again must change
nothing. Then a worker or a machine that dies costs only time: Ray gives its items to others.
"""

import logging
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from jdann.cluster.ray_cluster import connected
from jdann.progress import track

T = TypeVar("T")
_CPUS = 2  # of a worker: one calls the compiled program twice at a time
# A worker that dies is replaced, and its item is done again at once. The loss of a machine uses up
# these retries in a moment, so whatever is missing in the end is done in another round.
_RETRIES, _ROUNDS = 2, 3
log = logging.getLogger("jdann")


def work_through(
    address: str | None,
    work: Callable[[T], None],
    find_missing: Callable[[], Sequence[T]],
    description: str,
    unit: str,
) -> str:
    """Does all items on the workers of a cluster, and shows the progress.

    Args:
      address: of the cluster, as for `jdann.cluster.ray_cluster.connected`.
      work: does one item; it and the items can be pickled. What it loads and compiles is kept in
        its worker for the next item.
      find_missing: returns the items that are not done, by their results. Each takes some seconds.
      description: as for `track`.
      unit: as for `track`.

    Returns:
      "", or why an item is missing in the end.

    Raises:
      InputError: Ray is not installed, or there is no such cluster.
    """
    reason = ""
    with connected(address) as ray:
        for _ in range(_ROUNDS):
            items = find_missing()
            if not items:
                return ""
            rows = [{"item": _dumps(ray, item)} for item in items]
            results = track(_results(ray, _dumps(ray, work), rows), description, len(items), unit)
            try:
                reason = next((text for text in list(results) if text), "")
            except ray.exceptions.RayError as error:  # the cluster is lost
                reason = str(error).splitlines()[0]
    if not find_missing():
        return ""
    return reason or "workers died again and again, or do not see the folder of this machine"


def _dumps(ray: Any, value: Any) -> bytes:
    return ray.cloudpickle.dumps(value)


def _results(ray: Any, work: bytes, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yields "" for each item, as soon as it is done, or why it could not be done."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # the other items are done all the same
    logging.getLogger("ray.data").setLevel(logging.CRITICAL + 1)  # we tell what is missing
    resources, workers = _resources(ray)
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    with warnings.catch_warnings():
        # Ray 2.60 announces that 2.64 will have another way to limit retries, but has none yet.
        warnings.simplefilter("ignore", DeprecationWarning)
        done = dataset.map_batches(
            Worker,
            fn_constructor_args=(work,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(
                min_size=1,
                max_size=len(rows),
                initial_size=min(workers, len(rows)),
                max_tasks_in_flight_per_actor=2,
            ),
            ray_remote_args_fn=_retries,
            **resources,
        )
    for row in done.iter_rows():
        yield row["reason"]


def _resources(ray: Any) -> tuple[dict[str, float], int]:
    """What one worker needs, and how many of them the cluster holds now."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    if gpus:
        return {"num_gpus": 1, "num_cpus": 1}, gpus
    cpus = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1] or [1]
    each = min(_CPUS, *cpus)
    return {"num_cpus": each}, sum(count // each for count in cpus)


def _retries() -> dict[str, Any]:
    """A dead worker is always replaced; an item at which workers die is given up for a while."""
    return {"max_restarts": -1, "max_task_retries": _RETRIES}


class Worker:
    """Does items in a process of the cluster.

    Args:
      work: the pickled function.
    """

    def __init__(self, work: bytes):
        self._work = pickle.loads(work)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """For each item "", or why it could not be done."""
        reasons = []
        for item in batch["item"]:
            try:
                self._work(pickle.loads(item))
                reasons.append("")
            except Exception as error:  # one item must not end the others
                reasons.append(f"{type(error).__name__}: {error}")
        return {"reason": reasons}
