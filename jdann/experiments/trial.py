"""One trial of a tuning: its config, its trainings, and the value that the study sees."""

import json
import multiprocessing
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jdann import configuration
from jdann.data.pairs import Direction
from jdann.errors import DivergenceError
from jdann.experiments import workdir
from jdann.experiments.attempts import REASON, TRIAL
from jdann.experiments.job_training import make_job_training, make_task
from jdann.experiments.jobs import plan_jobs
from jdann.experiments.search_space import apply, propose, read_space
from jdann.experiments.settings import make_members
from jdann.experiments.study import import_optuna
from jdann.experiments.sweep_results import choose_records
from jdann.experiments.train import open_directions
from jdann.training import loop

CHECKPOINT_PREFIX = "trial-"  # of a folder in checkpoints/
_STEPS_PER_TRAINING = 10**6  # of the pruner; many, so that any two epochs have different steps


def make_objective(
    config: Any, path: Path, data_dir: Path, directions: list[Direction]
) -> Callable[[Any], float]:
    """A function from a trial to its value.

    The value is the mean of the criterion over seeds, folds and directions, at the records that
    the config selects.

    Args:
      config: of the tuning; each trial changes the keys of its space.
      path: the work directory.
      data_dir: where prepared corpora and cached features are kept.
      directions: the pairs of domains for the config's own features.

    Returns:
      The function. It raises `optuna.TrialPruned` for a trial that stops early or diverges.
    """
    trial_pruned = import_optuna().TrialPruned
    space, opened = read_space(config), {_feature_settings(config): directions}

    def objective(trial: Any) -> float:
        changed = apply(config, propose(trial, space))
        settings = _feature_settings(changed)
        if settings not in opened:
            opened.clear()  # the memory holds one set of features
            opened[settings] = open_directions(changed, data_dir)
        folder = path / workdir.CHECKPOINTS / f"{CHECKPOINT_PREFIX}{trial.user_attrs[TRIAL]}"
        try:
            value = _run_trial(trial, changed, opened[settings], folder)
        except DivergenceError as error:
            trial.set_user_attr(REASON, f"diverged: {error}")
            raise trial_pruned from None  # the sampler then avoids similar values
        except trial_pruned:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
        return value

    return objective


def _feature_settings(config: Any) -> str:
    """The settings on which the features depend, as text, among those that a space may name."""
    settings = [configuration.to_dict(config.audio), configuration.to_dict(config.features)]
    return json.dumps(settings, sort_keys=True)


def _run_trial(trial: Any, config: Any, directions: list[Direction], folder: Path) -> float:
    """Trains all seeds, folds and directions of a trial, and returns its value.

    The trial reports at each record, and stops where the pruner asks for it.
    """
    name, values = config.tune.criterion, []
    for job in plan_jobs(config, directions):
        direction = directions[job.direction]
        training, budget = make_job_training(job, direction, config)
        for split in job.splits:
            fitted = loop.fit(
                training,
                make_task(job, split, direction),
                budget,
                make_members(config),
                folder / job.folder(split),
                selection=config.selection,
                on_record=_make_reporter(trial, name, tuple(values), budget.epochs),
            )
            record = choose_records(fitted.criteria, config.selection)  # [seeds]
            per_seed = fitted.criteria[name][record, np.arange(len(record))]
            values.append(float(per_seed.mean()))
    return float(np.mean(values))


def _make_reporter(
    trial: Any, name: str, earlier: tuple[float, ...], epochs: int
) -> Callable[[int, dict[str, np.ndarray]], None]:
    """An `on_record` that reports to the pruner, and stops the trial where the pruner asks for it.

    Args:
      trial: an `optuna.Trial`.
      name: of the criterion.
      earlier: the values of the trial's earlier trainings.
      epochs: of this training.
    """
    trial_pruned = import_optuna().TrialPruned

    def on_record(epoch: int, criteria: dict[str, np.ndarray]) -> None:
        value = float(np.mean(criteria[name]))
        if not np.isfinite(value):
            trial.set_user_attr(REASON, f"a seed diverged, or {name} has no value")
            raise trial_pruned
        step = pruning_step(len(earlier), epoch, epochs)
        trial.report(float(np.mean([*earlier, value])), step)
        _stop_without_parent()
        if trial.should_prune():
            trial.set_user_attr(REASON, f"pruned in training {len(earlier) + 1} at epoch {epoch}")
            raise trial_pruned

    return on_record


def pruning_step(trainings: int, epoch: int, epochs: int) -> int:
    """How much of a trial is done, as a whole number that trials of other lengths share.

    Optuna's pruner compares trials at equal steps, and a search space may contain `epochs`.

    Args:
      trainings: how many trainings of the trial are finished.
      epoch: how many epochs of the present training are done.
      epochs: of the present training.
    """
    return _STEPS_PER_TRAINING * trainings + _STEPS_PER_TRAINING * epoch // epochs


def _stop_without_parent() -> None:
    """Ends a worker whose parent was killed; the next run repeats its trial."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        sys.exit(1)
