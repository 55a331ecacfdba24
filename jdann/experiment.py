"""What a run trains, in which order, and the rows that come of it."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jdann import baseline, evaluation, fitting, protocol
from jdann.directions import Direction, Domain
from jdann.encoders import make_encoder
from jdann.errors import InputError
from jdann.features.recipe import make_recipe
from jdann.methods import make_method
from jdann.training import Hyper, Train, check, make_train

log = logging.getLogger("jdann")
SUPERVISED = {"supervised, random split": False, "supervised, unseen speakers": True}  # method: folds by speaker
BASELINE = "svm"
_DIAGNOSED = 1000  # utterances of each domain in t-SNE and A-distance


class Job(NamedTuple):
    """One method with one encoder in one direction: a training for each split."""

    direction: int
    encoder: str
    method: str
    splits: tuple[protocol.Split, ...]

    def folder(self, split: protocol.Split) -> str:
        """Where its checkpoints lie below the work directory's `checkpoints`."""
        method = self.method.replace(", ", "-").replace(" ", "-")
        return f"{self.direction}-{self.encoder}-{method}-{split.name}"


class Outcome(NamedTuple):
    """What a job's trainings say of the target, all splits together."""

    job: Job
    logits: np.ndarray  # [records, seeds, target utterances, classes] float32
    tested: np.ndarray  # [target utterances] bool
    record_at: tuple[int, ...]  # epochs
    best: np.ndarray  # [seeds, target utterances] int, the record chosen by source validation
    history: tuple[tuple[str, dict[str, np.ndarray]], ...]  # split name and [epochs, seeds] means
    representation: tuple[np.ndarray, np.ndarray]  # of the first split and seed: [some rows, d] of source and target
    rows: tuple[np.ndarray, np.ndarray]  # which rows these are


def seeds(config: Any) -> tuple[int, ...]:
    """The seeds of a run."""
    return tuple(range(config.seed, config.seed + config.seeds))


def encoder_names(config: Any) -> list[str]:
    """The encoders that a config names."""
    return [name.strip() for name in config.encoder.name.split(",")]


def plan_jobs(config: Any, directions: list[Direction]) -> list[Job]:
    """All trainings of a run, in order.

    Raises:
      InputError: a method or encoder is unknown, or lacks what it needs of the data. Nothing has been trained then.
    """
    check(config)
    jobs = []
    for d, direction in enumerate(directions):
        for encoder in encoder_names(config):
            _make_encoder(config, encoder)
            for method in config.methods:
                jobs += [Job(d, encoder, name, tuple(splits)) for name, splits in _splits(config, direction, method)]
    return jobs


def _splits(config: Any, direction: Direction, method: str) -> Iterator[tuple[str, list[protocol.Split]]]:
    source, target = direction.source, direction.target
    fraction, seed = config.validation_fraction, config.seed
    if method == "supervised":
        for name, by_speaker in SUPERVISED.items():
            yield name, protocol.supervised(target.emotion, target.speaker, config.folds, by_speaker, fraction, seed)
        return
    make_method(method, config)
    if config.protocol == "inductive":
        folds = protocol.inductive(source.emotion, source.speaker, target.speaker, config.folds, fraction, seed)
        yield method, folds
    else:
        yield method, protocol.transductive(source.emotion, source.speaker, len(target.emotion), fraction, seed)


def _make_encoder(config: Any, name: str) -> Any:
    encoder = ConfigDict(config.encoder)
    encoder.name = name
    return make_encoder(encoder)


def make_job_train(job: Job, direction: Direction, config: Any) -> tuple[Train, fitting.Budget, Hyper]:
    """The functions, budget and hyper-parameters that all of a job's splits share."""
    plan = fitting.budget(config, list(job.splits))
    method = make_method("source_only" if job.method in SUPERVISED else job.method, config)
    train = make_train(
        config,
        _make_encoder(config, job.encoder),
        method,
        bins=direction.bins,
        window=direction.window,
        total_steps=plan.steps * plan.epochs,
    )

    def each(value: float) -> Any:
        return jnp.full(config.seeds, value, jnp.float32)

    optimiser = config.optimiser
    hyper = Hyper(each(optimiser.learning_rate), each(optimiser.weight_decay), each(config.strength.maximum))
    return train, plan, hyper


def make_task(job: Job, split: protocol.Split, direction: Direction) -> fitting.Task:
    """What a split's training may see. The target's labels enter in the supervised ceiling only."""
    test_size = max(len(s.test) for s in job.splits)
    name = f"{direction.name}, {job.method}, {job.encoder}" + (f", {split.name}" if len(job.splits) > 1 else "")
    if job.method in SUPERVISED:
        frames = direction.target_frames
        identity = _identity((direction.target, direction.target), split)
        return fitting.Task(name, split, frames, direction.target.emotion, frames, test_size, identity)
    identity = _identity((direction.source, direction.target), split)
    frames = (direction.source_frames, direction.target_frames)
    return fitting.Task(name, split, frames[0], direction.source.emotion, frames[1], test_size, identity)


def _identity(domains: tuple[Domain, Domain], split: protocol.Split) -> bytes:
    """A digest of what the rows of a split mean: utterances of both domains, labels learnt from, the split itself."""
    digest = hashlib.blake2b(digest_size=16)
    for domain in domains:
        for u in domain.features.utterances:
            digest.update(f"{u.file}|{u.start_s}|{u.end_s}\n".encode("utf-8", "surrogateescape"))
    learnt = np.concatenate([split.source, split.validation])
    for values in (*split[1:], domains[0].emotion[learnt]):
        digest.update(np.asarray(values, np.int64).tobytes() + b"|")
    return digest.digest()


def run_job(
    job: Job,
    direction: Direction,
    config: Any,
    checkpoints: Path,
    on_epoch: Callable[[str, int, dict[str, np.ndarray]], None] = lambda split, epoch, means: None,
) -> Outcome:
    """Trains a job's splits, or continues them, and gathers their outputs over the target."""
    train, plan, hyper = make_job_train(job, direction, config)
    fitted = []
    for split in job.splits:
        task = make_task(job, split, direction)
        log.info("%s: %d epochs of %d steps, %d seeds", task.name, plan.epochs, plan.steps, config.seeds)

        def report(epoch: int, means: dict[str, np.ndarray], name: str = split.name) -> None:
            on_epoch(name, epoch, means)

        fitted.append(fitting.fit(train, task, plan, seeds(config), hyper, checkpoints / job.folder(split), report))
    return _gather(job, direction, train, fitted, len(config.emotions))


def restore_job(job: Job, direction: Direction, config: Any, checkpoints: Path) -> Outcome:
    """The outcome of a job that has been trained.

    Raises:
      InputError: a split has not been trained to its end.
    """
    train, plan, hyper = make_job_train(job, direction, config)
    fitted = []
    for split in job.splits:
        folder = checkpoints / job.folder(split)
        one = fitting.restore(train, make_task(job, split, direction), plan, seeds(config), hyper, folder)
        if one is None:
            raise InputError(f"{folder}: this training is not finished; continue it by --resume")
        fitted.append(one)
    return _gather(job, direction, train, fitted, len(config.emotions))


def _gather(job: Job, direction: Direction, train: Train, fitted: list[fitting.Fitted], classes: int) -> Outcome:
    first = fitted[0]
    n, count = len(direction.target.emotion), len(first.state.step)
    logits = np.zeros((len(first.record_at), count, n, classes), np.float32)
    tested, best = np.zeros(n, bool), np.zeros((count, n), int)
    for split, one in zip(job.splits, fitted, strict=True):
        logits[:, :, split.test] = one.test_logits[:, :, : len(split.test)]
        tested[split.test] = True
        risk = one.history["validation_risk"][np.array(one.record_at) - 1]  # [records, seeds]
        chosen = np.where(np.isnan(risk).any(0), len(risk) - 1, np.nan_to_num(risk, nan=np.inf).argmin(0))
        best[:, split.test] = chosen[:, None]
    task = make_task(job, job.splits[0], direction)
    random = np.random.default_rng(0)
    rows = tuple(np.sort(random.permutation(r)[:_DIAGNOSED]) for r in (job.splits[0].source, job.splits[0].test))
    representation = tuple(
        fitting.outputs(train, first.state, frames, r)[1][0] for frames, r in zip((task.source, task.target), rows, strict=True)
    )
    history = tuple((split.name, one.history) for split, one in zip(job.splits, fitted, strict=True))
    return Outcome(job, logits, tested, first.record_at, best, history, representation, rows)  # pyright: ignore


def chosen_logits(outcome: Outcome, selection: str, emotion: np.ndarray) -> np.ndarray | None:
    """The target's logits at the record that a selection chooses, seed by seed.

    Args:
      outcome: of a job.
      selection: "last", "source_validation" or "oracle"; the oracle is the only one to look at `emotion`.
      emotion: [n] int, the target's labels, -1 where unlabelled.

    Returns:
      [seeds, n, classes], or None where the selection cannot be made: no validation, or no labels for the oracle.
    """
    logits = outcome.logits
    if selection == "last":
        return logits[-1]
    if selection == "source_validation":
        if all(np.isnan(history["validation_risk"]).all() for _, history in outcome.history):
            return None
        return np.stack([logits[outcome.best[s], s, np.arange(logits.shape[2])] for s in range(logits.shape[1])])
    scored = outcome.tested & (emotion >= 0)
    if not scored.any():
        return None
    classes = logits.shape[-1]
    uar = np.zeros(logits.shape[:2])  # [records, seeds]
    for r, s in np.ndindex(*uar.shape):
        scores = evaluation.score(emotion[scored], logits[r, s][scored].argmax(-1), [None] * int(scored.sum()), classes)
        uar[r, s] = scores.uar if scores is not None else np.nan
    best = np.argmax(uar, axis=0)  # [seeds]
    return logits[best, np.arange(logits.shape[1])]


def result_rows(outcome: Outcome, direction: Direction, config: Any) -> list[dict[str, Any]]:
    """The rows of results.json that a job gives: one for each way of selecting; none where nothing is labelled."""
    emotion = np.where(outcome.tested, direction.target.emotion, -1)
    names = (direction.source.corpus.name, direction.target.corpus.name)
    rows = []
    for selection in ("last", "source_validation", "oracle"):
        logits = chosen_logits(outcome, selection, emotion)
        if logits is None:
            continue
        scores = [evaluation.score(emotion, one.argmax(-1), direction.target.speaker, len(config.emotions)) for one in logits]
        scores = [s for s in scores if s is not None]
        if scores:
            job = outcome.job
            within = "within target" if job.method in SUPERVISED else config.protocol
            row = evaluation.row(job.method, job.encoder, names, selection, within, scores, config.emotions)
            rows.append(row)
    return rows


def baseline_predictions(direction: Direction, config: Any) -> np.ndarray | None:
    """The SVM's predictions [n] of the target, or None where the recipe has no frames to take statistics of."""
    if direction.bins == 1:
        return None
    names = make_recipe(config.features, config.audio.sample_rate_hz).bins
    columns = [i for i, name in enumerate(names) if name != "voicing"]

    def of(domain: Domain) -> np.ndarray:
        f = domain.features
        return baseline.statistics(f.values, f.start, f.length, columns)

    source, target = of(direction.source), of(direction.target)
    if config.features.normalise not in ("source", "none", "utterance"):
        source = baseline.normalise(source, direction.source.group)
        target = baseline.normalise(target, direction.target.group)
    return baseline.svm_predict(source, direction.source.emotion, target)
