"""Sweeps: each seed at each combination of hyper-parameters, all trained in one program.

The swept hyper-parameters are strength, learning rate and weight decay. The results show the
combination that each criterion without target labels chooses, beside the one that labels choose.
"""

import itertools
import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jdann import configuration, files, selection
from jdann.cluster import processes
from jdann.data.pairs import Direction, Domain
from jdann.errors import DivergenceError, InputError
from jdann.experiments import workdir
from jdann.experiments.corpus_paths import with_absolute_paths
from jdann.experiments.job_training import make_job_method, make_job_training, make_task
from jdann.experiments.jobs import Job, plan_jobs
from jdann.experiments.outcomes import join_splits
from jdann.experiments.replaced import working_in
from jdann.experiments.results import heading
from jdann.experiments.search_space import apply
from jdann.experiments.settings import seeds_of
from jdann.experiments.sweep_results import (
    Point,
    Swept,
    choices,
    choose,
    member_columns,
    member_rows,
    result_rows,
    summarise,
)
from jdann.experiments.together import check_same_run, check_shared
from jdann.experiments.train import open_directions
from jdann.figures import sweep as sweep_figures
from jdann.methods import Method
from jdann.parameters import shown
from jdann.training import loop
from jdann.training.members import Members
from jdann.training.state import Hyper
from jdann.training.task import LAST

log = logging.getLogger("jdann")
HYPER = {
    "strength": "strength.maximum",
    "learning_rate": "optimiser.learning_rate",
    "weight_decay": "optimiser.weight_decay",
}
CHECKPOINT_PREFIX = "sweep-"  # of a folder in checkpoints/


def sweep(
    config: Any,
    path: Path,
    data_dir: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    domains: Sequence[Domain] | None = None,
) -> dict[str, Any]:
    """Trains all members of a sweep, job by job, and reports their scores and each choice.

    Args:
      config: from `jdann.configuration.load_config`; `config.sweep` holds the values to sweep.
      path: the work directory.
      data_dir: where prepared corpora and cached features are kept.
      resume: continue the sweep of the same config in `path`; the outcome is the same as that of
        an uninterrupted sweep.
      overwrite: replace what is in `path`.
      domains: source and target that are loaded already; None: those that the config names.

    Returns:
      What results.json holds.

    Raises:
      InputError: something that the user gave cannot be used.
      DivergenceError: every member of every method diverged.
    """
    begun = time.monotonic()
    config = with_absolute_paths(config)
    with processes.together(), ExitStack() as stack:
        check_same_run(config, path, resume=resume, overwrite=overwrite)
        if processes.is_first():
            _check(config, path, overwrite)
            stack.enter_context(working_in(path, config, resume=resume, overwrite=overwrite))
        log.info("runs on %s", processes.describe())
        directions = open_directions(config, data_dir, path, domains)
        planned = _plan(config, directions)
        if processes.is_first():
            workdir.begin(path, config)
        processes.wait_for_all()
        check_shared(path)
        swept, failed = _train_jobs(planned, directions, config, path / workdir.CHECKPOINTS)
        if processes.is_first():
            results = heading(config, directions) | {"kind": "sweep", "failed": failed}
            return _report(config, path, directions, swept, results, begun)
    return workdir.read_json(path / workdir.RESULTS)  # when process 0 has written it


def _report(
    config: Any,
    path: Path,
    directions: Sequence[Direction],
    swept: Sequence[Swept],
    results: dict[str, Any],
    begun: float,
) -> dict[str, Any]:
    """Writes what the members have reached, beneath the heading in `results`; returns both."""
    results |= {"rows": [], "choices": []}
    table: list[tuple[Any, ...]] = []
    for job_swept in swept:
        direction = directions[job_swept.outcome.job.direction]
        results["rows"] += result_rows(job_swept, direction)
        results["choices"] += choices(job_swept, direction)
        table += member_rows(job_swept, direction)
        write_best(path, job_swept, config)
    results["scored"] = any(row["analysis"] for row in results["rows"])
    results["seconds"] = round(time.monotonic() - begun, 1)
    files.write_csv(path / "sweep.csv", member_columns(), table)
    sweep_figures.draw(path / workdir.FIGURES, results)
    files.write_json(path / workdir.RESULTS, results)
    return results


def _check(config: Any, path: Path, overwrite: bool) -> None:
    """Refuses what can be refused before a corpus is read."""
    if config.sweep.criterion not in selection.CRITERIA:
        known = ", ".join(selection.CRITERIA)
        raise InputError(
            f"config.sweep.criterion is {shown(config.sweep.criterion)}; choose one of {known}"
        )
    folders = path.glob(f"{workdir.CHECKPOINTS}/*")
    if not overwrite and any(not f.name.startswith(CHECKPOINT_PREFIX) for f in folders):
        raise InputError(f"{path}: holds a run of jdann train; give a sweep a --workdir of its own")


def _plan(config: Any, directions: Sequence[Direction]) -> list[Job]:
    """The jobs to sweep, without the supervised ceiling."""
    planned = [job for job in plan_jobs(config, directions) if not job.is_supervised]
    if "supervised" in config.methods:
        log.info("supervised is left out because it is trained on labels of the target")
    if not planned:
        raise InputError("config.methods names nothing that adapts; add a method such as dann")
    return planned


def _train_jobs(
    planned: Sequence[Job], directions: Sequence[Direction], config: Any, checkpoints: Path
) -> tuple[list[Swept], list[str]]:
    """Trains all jobs; returns their outcomes, and a message for each job that diverged.

    Raises:
      DivergenceError: every job diverged.
    """
    swept, failed = [], []
    for job in planned:
        try:
            swept.append(train_members(job, directions[job.direction], config, checkpoints))
        except DivergenceError as error:  # the other methods continue
            log.warning("%s", error)
            failed.append(str(error))
    if not swept:
        raise DivergenceError(failed[0])
    return swept, failed


def grid(config: Any, method: Method) -> tuple[Point, ...]:
    """The points of a sweep. A method that does not use the target has no strength."""
    sweep = config.sweep
    strengths = (sweep.strength or (config.strength.maximum,)) if method.uses_target else (None,)
    rates = sweep.learning_rate or (config.optimiser.learning_rate,)
    decays = sweep.weight_decay or (config.optimiser.weight_decay,)
    return tuple(Point(*values) for values in itertools.product(strengths, rates, decays))


def train_members(job: Job, direction: Direction, config: Any, checkpoints: Path) -> Swept:
    """Trains all members of a job in one program, or continues them.

    Raises:
      DivergenceError: every member diverged.
    """
    if config.selection == LAST:  # nothing reads the earlier records
        config = apply(config, {"evaluate_every": config.epochs})
    points, seeds = grid(config, make_job_method(job, config)), seeds_of(config)
    training, budget = make_job_training(job, direction, config, len(points) * len(seeds))
    members = _make_members(points, seeds, config.strength.maximum)
    fitted = []
    for split in job.splits:
        task = make_task(job, split, direction)
        log.info(
            "%s: %d epochs of %d steps, %d seeds x %d points",
            task.name,
            budget.epochs,
            budget.steps,
            len(seeds),
            len(points),
        )
        folder = checkpoints / f"{CHECKPOINT_PREFIX}{job.folder(split)}"
        fitted.append(loop.fit(training, task, budget, members, folder, selection=config.selection))
    outcome = join_splits(job, direction, fitted)
    return summarise(outcome, points, seeds, direction, config)


def _make_members(
    points: Sequence[Point], seeds: Sequence[int], default_strength: float
) -> Members:
    """One member per point and seed."""
    pairs = [(point, seed) for point in points for seed in seeds]

    def per_member(values: Sequence[float]) -> jax.Array:
        return jnp.asarray(values, jnp.float32)

    return Members(
        seeds=tuple(seed for _, seed in pairs),
        hyper=Hyper(
            learning_rate=per_member([point.learning_rate for point, _ in pairs]),
            weight_decay=per_member([point.weight_decay for point, _ in pairs]),
            strength=per_member(
                [
                    default_strength if point.strength is None else point.strength
                    for point, _ in pairs
                ]
            ),
        ),
        names=tuple(f"seed {seed} at {point}" for point, seed in pairs),
    )


def write_best(path: Path, swept: Swept, config: Any) -> None:
    """Writes best-METHOD-ENCODER.json for `jdann train`: the config of the chosen point.

    The criterion of `config.sweep` chooses. The file of the second direction ends in "-2.json".

    Args:
      path: the work directory.
      swept: a job's members.
      config: of the sweep.
    """
    index = choose(swept, config.sweep.criterion)
    job = swept.outcome.job
    name = f"best-{job.method}-{job.encoder}{'-2' if job.direction else ''}.json"
    if index is None:
        log.info(
            "%s: %s has no value here, so %s is not written",
            job.method,
            config.sweep.criterion,
            name,
        )
        return
    values: dict[str, Any] = {
        "methods": (job.method,),
        "encoder.name": job.encoder,
        "both_directions": False,
    }
    if job.direction:
        values |= {"source": config.target, "target": config.source, "target_labels": ""}
    for field, key in HYPER.items():
        values[f"sweep.{field}"] = ()
        if getattr(swept.points[index], field) is not None:
            values[key] = getattr(swept.points[index], field)
    files.write_json(path / name, configuration.to_dict(apply(config, values)))
