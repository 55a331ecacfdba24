"""Workers of a tuning as processes of this machine, one beside the other."""

import logging
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from ml_collections import FrozenConfigDict

from jdann import configuration, interruption, jax_cache
from jdann.errors import InputError
from jdann.experiments import workdir
from jdann.experiments.study import SharedStudy, StudyPlace, open_study
from jdann.experiments.train import open_directions
from jdann.experiments.trial import make_objective
from jdann.experiments.workers import Worker, give_back_of, work
from jdann.progress import silenced

log = logging.getLogger("jdann")
_POLL_S = 0.5


def work_in_processes(
    shared: SharedStudy, config: Any, path: Path, data_dir: Path, command: str, count: int
) -> Iterator[None]:
    """Runs the trials of a config by several processes, until all of them are finished.

    If a process is killed, the others repeat its trial.

    Args:
      shared: the study.
      config: of the tuning.
      path: the work directory.
      data_dir: where prepared corpora and cached features are kept.
      command: as in `Worker`.
      count: the number of processes.

    Yields:
      Nothing, every half second.

    Raises:
      InputError: all processes were killed, or one of them met something that the user can mend.
    """
    arguments = (configuration.to_dict(config), path, data_dir, shared.place, command)
    # An executor for each, because an executor ends all its processes if one of them is killed.
    spawn = multiprocessing.get_context("spawn")
    executors = [ProcessPoolExecutor(1, mp_context=spawn) for _ in range(count)]
    try:
        with interruption.left_to_this_process():
            futures = [
                executor.submit(_run_worker, *arguments, index)
                for index, executor in enumerate(executors)
            ]
        yield from _wait(shared, futures, command)
    except BaseException:
        for executor in executors:
            for process in list((executor._processes or {}).values()):
                process.terminate()
            executor.shutdown()
        give_back_of(shared, command, is_lost=False)
        raise
    for executor in executors:
        executor.shutdown()


def _wait(shared: SharedStudy, futures: list[Future[None]], command: str) -> Iterator[None]:
    """Yields until all workers have ended; raises what one of them raised."""
    killed: set[int] = set()
    while True:
        yield
        ended = [index for index, future in enumerate(futures) if future.done()]
        for index in set(ended) - killed:
            error = futures[index].exception()
            if isinstance(error, BrokenProcessPool):
                log.warning("worker %d was killed; the others repeat its trial", index)
                give_back_of(shared, command, index)
                killed.add(index)
            elif error is not None:
                raise error
        if killed and len(killed) == len(futures):
            raise InputError(
                "all workers were killed, perhaps because the memory was full; start the command "
                "again with fewer --workers, and it continues"
            )
        if len(ended) == len(futures):
            return
        time.sleep(_POLL_S)


def _run_worker(
    values: dict[str, Any], path: Path, data_dir: Path, place: StudyPlace, command: str, index: int
) -> None:
    """A worker process: runs trials of a config, given as plain values."""
    jax_cache.remove_damaged()
    log.setLevel(logging.INFO)
    log.propagate = False
    with workdir.log_to(path, f"worker-{index}.log"), silenced():
        config = FrozenConfigDict(configuration.tuples(values))
        directions = open_directions(config, data_dir)
        objective = make_objective(config, path, data_dir, directions)
        for _ in work(open_study(config, place), config, objective, Worker(command, index)):
            pass
