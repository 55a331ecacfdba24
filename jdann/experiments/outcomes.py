"""Trains jobs or restores them, and gathers what their trainings say about the target."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jdann.data.pairs import Direction
from jdann.errors import InputError
from jdann.experiments.job_training import make_job_training, make_task
from jdann.experiments.jobs import Job
from jdann.experiments.new_speakers import can_co_train, predict_new_speakers
from jdann.experiments.settings import make_members
from jdann.training import loop
from jdann.training.members import CompiledTraining
from jdann.training.records import outputs
from jdann.training.task import Fitted

log = logging.getLogger("jdann")
_DIAGNOSED_UTTERANCES = 1000  # of each domain, in t-SNE and A-distance


class Outcome(NamedTuple):
    """What a job's trainings say about the target, all splits together."""

    job: Job
    logits: np.ndarray  # [records, seeds, target utterances, classes] float32
    tested: np.ndarray  # [target utterances] bool
    record_at: tuple[int, ...]  # epochs
    criteria: tuple[tuple[np.ndarray, dict[str, np.ndarray]], ...]
    # Per split: its tested rows of the target, and each criterion's values [records, seeds].
    history: tuple[tuple[str, dict[str, np.ndarray]], ...]  # split name, [epochs, seeds] means
    diverged: tuple[str | None, ...]  # per seed, where its numbers ceased to be finite
    representation: tuple[np.ndarray, np.ndarray]
    # Of the first split and seed: [rows, d] of source and target.
    rows: tuple[np.ndarray, np.ndarray]  # the utterances of `representation`
    # [seeds, target utterances, classes] float32: log posteriors after adaptation to each new
    # speaker; None: the protocol is not inductive, or the features cannot co-train.
    new_speakers: np.ndarray | None = None


def ignore_epoch(split: str, epoch: int, values: dict[str, np.ndarray]) -> None:
    """An `on_epoch` that does nothing."""
    del split, epoch, values


def ignore_fitted(training: CompiledTraining, fitted: list[Fitted]) -> None:
    """An `on_fitted` that does nothing."""
    del training, fitted


def run_job(
    job: Job,
    direction: Direction,
    config: Any,
    checkpoints: Path,
    on_epoch: Callable[[str, int, dict[str, np.ndarray]], None] = ignore_epoch,
    on_fitted: Callable[[CompiledTraining, list[Fitted]], None] = ignore_fitted,
) -> Outcome:
    """Trains a job's splits, or continues them, and gathers their outputs over the target.

    Args:
      job: what to train.
      direction: its two domains.
      config: of the run.
      checkpoints: the folder of all trainings' checkpoints.
      on_epoch: called with a split's name, the epochs done and their metrics [seeds].
      on_fitted: called once, when all splits are trained.
    """
    training, budget = make_job_training(job, direction, config)
    members, fitted = make_members(config), []
    for split in job.splits:
        task = make_task(job, split, direction)
        log.info(
            "%s: %d epochs of %d steps, %d seeds",
            task.name,
            budget.epochs,
            budget.steps,
            config.seeds,
        )

        def report(epoch: int, values: dict[str, np.ndarray], name: str = split.name) -> None:
            on_epoch(name, epoch, values)

        fitted.append(
            loop.fit(
                training,
                task,
                budget,
                members,
                checkpoints / job.folder(split),
                selection=config.selection,
                on_epoch=report,
            )
        )
    on_fitted(training, fitted)
    return _gather(job, direction, config, training, fitted)


def restore_job(job: Job, direction: Direction, config: Any, checkpoints: Path) -> Outcome:
    """The outcome of a job that has been trained.

    Raises:
      InputError: a split has not been trained to its end.
    """
    training, budget = make_job_training(job, direction, config)
    fitted = []
    for split in job.splits:
        folder = checkpoints / job.folder(split)
        task = make_task(job, split, direction)
        restored = loop.restore(training, task, budget, make_members(config), folder)
        if restored is None:
            raise InputError(f"{folder}: this training is not finished; continue it by --resume")
        fitted.append(restored)
    return _gather(job, direction, config, training, fitted)


def join_splits(job: Job, direction: Direction, fitted: list[Fitted]) -> Outcome:
    """What trainings say about the target, all splits together; without representations."""
    records, seeds, _, classes = fitted[0].test_logits.shape
    targets = len(direction.target.emotion)
    logits = np.zeros((records, seeds, targets, classes), np.float32)
    tested = np.zeros(targets, bool)
    for split, result in zip(job.splits, fitted, strict=True):
        logits[:, :, split.test] = result.test_logits[:, :, : len(split.test)]
        tested[split.test] = True
    pairs = list(zip(job.splits, fitted, strict=True))
    per_seed = zip(*(result.diverged for result in fitted), strict=True)
    nothing, no_rows = np.zeros((0, 0), np.float32), np.zeros(0, int)
    return Outcome(
        job=job,
        logits=logits,
        tested=tested,
        record_at=fitted[0].record_at,
        criteria=tuple((split.test, result.criteria) for split, result in pairs),
        history=tuple((split.name, result.history) for split, result in pairs),
        diverged=tuple(next((place for place in places if place), None) for places in per_seed),
        representation=(nothing, nothing),
        rows=(no_rows, no_rows),
    )


def _gather(
    job: Job, direction: Direction, config: Any, training: CompiledTraining, fitted: list[Fitted]
) -> Outcome:
    """The outcome with representations of some utterances, and predictions for new speakers."""
    split, data = job.splits[0], make_task(job, job.splits[0], direction).data
    random = np.random.default_rng(0)
    source_rows, target_rows = (
        np.sort(random.permutation(rows)[:_DIAGNOSED_UTTERANCES])
        for rows in (split.source, split.test)
    )
    state = fitted[0].state
    source = outputs(training, state, data.source, source_rows, "source")
    target = outputs(training, state, data.target, target_rows, "target")
    representation = source.representation[0], target.representation[0]
    new_speakers = None
    inductive = config.protocol == "inductive" and not job.is_supervised
    if inductive and can_co_train(direction):
        new_speakers = predict_new_speakers(job.method, job.splits, direction, training, fitted)
    return join_splits(job, direction, fitted)._replace(
        representation=representation,
        rows=(source_rows, target_rows),
        new_speakers=new_speakers,
    )
