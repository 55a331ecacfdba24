"""What a run trains, in which order, and the rows that come of it."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jdann import selection
from jdann.configuration import method_settings
from jdann.data import splits
from jdann.data.batches import Frames
from jdann.data.pairs import Direction, Domain
from jdann.data.splits import Split
from jdann.errors import InputError
from jdann.evaluation import baseline, metrics
from jdann.features.recipe import make_recipe
from jdann.methods import Method, Settings, make_method, settings_for_classes
from jdann.models import make_encoder
from jdann.training import loop
from jdann.training.step import Data, Hyper, Train, check, make_train
from jdann.training.streaming import StoredData

log = logging.getLogger("jdann")
SUPERVISED = {
    "supervised, random split": False,
    "supervised, unseen speakers": True,
}  # method: folds by speaker
BASELINE = "svm"
_DIAGNOSED = 1000  # utterances of each domain in t-SNE and A-distance
_EVIDENCE = 1024  # utterances of each domain that the selection criteria see


class Job(NamedTuple):
    """One method with one encoder in one direction: a training for each split."""

    direction: int
    encoder: str
    method: str
    splits: tuple[Split, ...]

    def folder(self, split: Split) -> str:
        """Where its checkpoints lie below the work directory's `checkpoints`."""
        method = self.method.replace(", ", "-").replace(" ", "-")
        return f"{self.direction}-{self.encoder}-{method}-{split.name}"


class Outcome(NamedTuple):
    """What a job's trainings say of the target, all splits together."""

    job: Job
    logits: np.ndarray  # [records, seeds, target utterances, classes] float32
    tested: np.ndarray  # [target utterances] bool
    record_at: tuple[int, ...]  # epochs
    criteria: tuple[tuple[np.ndarray, dict[str, np.ndarray]], ...]
    # of each split: its tested rows of the target, and each criterion's values [records, seeds]
    history: tuple[tuple[str, dict[str, np.ndarray]], ...]  # split name and [epochs, seeds] means
    diverged: tuple[str | None, ...]  # of each seed, where its numbers ceased to be finite
    representation: tuple[
        np.ndarray, np.ndarray
    ]  # of the first split and seed: [some rows, d] of source and target
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
    if config.selection not in ("last", *selection.CRITERIA):
        known = ", ".join(selection.CRITERIA)
        raise InputError(
            f'config.selection is {config.selection!r}; choose "last" or one of {known}'
        )
    jobs = []
    for d, direction in enumerate(directions):
        for encoder in encoder_names(config):
            _make_encoder(config, encoder)
            for method in config.methods:
                if method != "supervised":
                    _check_needs(config, direction, encoder, method)
                jobs += [
                    Job(d, encoder, name, tuple(parts))
                    for name, parts in _splits(config, direction, method)
                ]
    return jobs


def _splits(config: Any, direction: Direction, method: str) -> Iterator[tuple[str, list[Split]]]:
    source, target = direction.source, direction.target
    fraction, seed = config.validation_fraction, config.seed
    if method == "supervised":
        for name, by_speaker in SUPERVISED.items():
            yield (
                name,
                splits.supervised(
                    target.emotion, target.speaker, config.folds, by_speaker, fraction, seed
                ),
            )
        return
    if config.protocol == "inductive":
        folds = splits.inductive(
            source.emotion, source.speaker, target.speaker, config.folds, fraction, seed
        )
        yield method, folds
    else:
        yield (
            method,
            splits.transductive(
                source.emotion, source.speaker, len(target.emotion), fraction, seed
            ),
        )


def _check_needs(config: Any, direction: Direction, encoder: str, method: str) -> None:
    made = make_method(method, method_settings(config))
    if "speakers" in made.needs and len({s for s in direction.source.speaker if s is not None}) < 2:
        raise InputError(
            f"{method} needs two known speakers or more in the source, {direction.source.corpus.name}; name them or drop it"
        )
    if "statistics" in made.needs and config.features.recipe not in ("prosody", "statistics"):
        raise InputError(
            f"{method} needs one vector of statistics an utterance, and features.recipe is {config.features.recipe!r}; set "
            "--config.features.recipe=statistics and --config.encoder.name=mlp"
        )
    if "batch_norm" in made.needs:
        shape = jnp.zeros((2, direction.window, direction.bins)), jnp.full(2, direction.window)
        variables = jax.eval_shape(
            lambda: _make_encoder(config, encoder).init(jax.random.key(0), *shape, False)
        )
        if "batch_stats" not in variables:
            raise InputError(
                f"{method} needs an encoder with batch norm, and {encoder} has none; choose conv1d or resnet50"
            )


def _make_encoder(config: Any, name: str) -> Any:
    encoder = ConfigDict(config.encoder)
    encoder.name = name
    return make_encoder(encoder, config.precision)


def make_job_method(job: Job, config: Any) -> Method:
    """The method by which a job trains."""
    return _make_job_method(job, method_settings(config))


def _make_job_method(job: Job, settings: Settings) -> Method:
    return make_method("source_only" if job.method in SUPERVISED else job.method, settings)


def _settings_for(config: Any, source: Domain) -> Settings:
    """The methods' settings, in which each prior covers the emotions that the source has."""
    present = [bool((source.emotion == i).any()) for i in range(len(config.emotions))]
    return settings_for_classes(method_settings(config), present)


def make_job_train(job: Job, direction: Direction, config: Any) -> tuple[Train, loop.Budget]:
    """The functions and the budget that all of a job's splits share."""
    method = _make_job_method(job, _settings_for(config, direction.source))
    plan = loop.budget(config, list(job.splits), method)
    train = make_train(
        config,
        _make_encoder(config, job.encoder),
        method,
        bins=direction.bins,
        window=direction.window,
        speakers=len({s for s in direction.source.speaker if s is not None}),
        phase_steps=[plan.steps * epochs for epochs in plan.phases],
    )
    return train, plan


def make_hyper(config: Any) -> Hyper:
    """The config's hyper-parameters, the same for all seeds."""

    def each(value: float) -> Any:
        return jnp.full(config.seeds, value, jnp.float32)

    optimiser = config.optimiser
    return Hyper(
        each(optimiser.learning_rate), each(optimiser.weight_decay), each(config.strength.maximum)
    )


def make_task(job: Job, split: Split, direction: Direction) -> loop.Task:
    """What a split's training may see. The target's labels enter in the supervised ceiling only."""
    name = f"{direction.name}, {job.method}, {job.encoder}" + (
        f", {split.name}" if len(job.splits) > 1 else ""
    )
    within = job.method in SUPERVISED
    source, frames = (
        (direction.target, direction.target_frames)
        if within
        else (direction.source, direction.source_frames)
    )
    of = Data if isinstance(frames, Frames) else StoredData
    data = of(frames, source.emotion, _numbers(source.speaker), direction.target_frames)  # pyright: ignore
    rows = zip(*((s.validation, s.source, s.target) for s in job.splits), strict=True)
    held, other, aimed = (min(_EVIDENCE, *(len(r) for r in of)) for of in rows)
    group = _numbers([f"{u.corpus}, {u.language}" for u in source.features.utterances])
    identity = _identity((source, direction.target), split)
    return loop.Task(
        name,
        split,
        data,
        group,
        max(len(s.test) for s in job.splits),
        (held, other, aimed),
        identity,
    )


def _numbers(names: Sequence[str | None]) -> np.ndarray:
    """A number [n] for each different name, -1 for None."""
    number = {name: i for i, name in enumerate(sorted({n for n in names if n is not None}))}
    return np.array([-1 if name is None else number[name] for name in names], np.int32)


def _identity(domains: tuple[Domain, Domain], split: Split) -> bytes:
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
    on_fitted: Callable[[Train, list[loop.Fitted]], None] = lambda train, fitted: None,
) -> Outcome:
    """Trains a job's splits, or continues them, and gathers their outputs over the target.

    `on_epoch` is called with a split's name, the epochs done and their means, `on_fitted` once all splits are trained.
    """
    train, plan = make_job_train(job, direction, config)
    hyper, fitted = make_hyper(config), []
    for split in job.splits:
        task = make_task(job, split, direction)
        log.info(
            "%s: %d epochs of %d steps, %d seeds", task.name, plan.epochs, plan.steps, config.seeds
        )

        def report(epoch: int, means: dict[str, np.ndarray], name: str = split.name) -> None:
            on_epoch(name, epoch, means)

        folder = checkpoints / job.folder(split)
        fitted.append(
            loop.fit(train, task, plan, seeds(config), hyper, folder, config.selection, report)
        )
    on_fitted(train, fitted)
    return _gather(job, direction, train, fitted, len(config.emotions))


def restore_job(job: Job, direction: Direction, config: Any, checkpoints: Path) -> Outcome:
    """The outcome of a job that has been trained.

    Raises:
      InputError: a split has not been trained to its end.
    """
    train, plan = make_job_train(job, direction, config)
    fitted = []
    for split in job.splits:
        folder = checkpoints / job.folder(split)
        one = loop.restore(
            train, make_task(job, split, direction), plan, seeds(config), make_hyper(config), folder
        )
        if one is None:
            raise InputError(f"{folder}: this training is not finished; continue it by --resume")
        fitted.append(one)
    return _gather(job, direction, train, fitted, len(config.emotions))


def join_splits(job: Job, direction: Direction, fitted: list[loop.Fitted], classes: int) -> Outcome:
    """What trainings say of the target, all splits together; without representations."""
    first = fitted[0]
    n, count = len(direction.target.emotion), len(first.state.step)
    logits = np.zeros((len(first.record_at), count, n, classes), np.float32)
    tested = np.zeros(n, bool)
    for split, one in zip(job.splits, fitted, strict=True):
        logits[:, :, split.test] = one.test_logits[:, :, : len(split.test)]
        tested[split.test] = True
    history = tuple(
        (split.name, one.history) for split, one in zip(job.splits, fitted, strict=True)
    )
    criteria = tuple(
        (split.test, one.criteria) for split, one in zip(job.splits, fitted, strict=True)
    )
    diverged = tuple(
        next((d for d in of_seed if d), None)
        for of_seed in zip(*(one.diverged for one in fitted), strict=True)
    )
    none, no_rows = np.zeros((0, 0), np.float32), np.zeros(0, int)
    return Outcome(
        job,
        logits,
        tested,
        first.record_at,
        criteria,
        history,
        diverged,
        (none, none),
        (no_rows, no_rows),
    )


def _gather(
    job: Job, direction: Direction, train: Train, fitted: list[loop.Fitted], classes: int
) -> Outcome:
    data = make_task(job, job.splits[0], direction).data
    random = np.random.default_rng(0)
    rows = tuple(
        np.sort(random.permutation(r)[:_DIAGNOSED])
        for r in (job.splits[0].source, job.splits[0].test)
    )
    representation = tuple(
        loop.outputs(train, fitted[0].state, frames, r, domain)[1][0]
        for frames, r, domain in zip(
            (data.source, data.target), rows, ("source", "target"), strict=True
        )
    )
    return join_splits(job, direction, fitted, classes)._replace(
        representation=representation, rows=rows
    )  # pyright: ignore


def chosen_logits(outcome: Outcome, by: str, emotion: np.ndarray) -> np.ndarray | None:
    """The target's logits at the record that a selection chooses, seed by seed.

    Args:
      outcome: of a job.
      by: "last", a criterion of `jdann.selection`, or "oracle", the only one to look at `emotion`.
      emotion: [n] int, the target's labels, -1 where unlabelled.

    Returns:
      [seeds, n, classes], or None where the selection cannot be made: no validation, or no labels for the oracle.
    """
    logits = outcome.logits
    if by == "last":
        return logits[-1]
    if by == "oracle":
        uar = recorded_uar(outcome, emotion)
        return (
            None
            if uar is None
            else logits[np.nan_to_num(uar).argmax(0), np.arange(logits.shape[1])]
        )
    chosen = logits[-1].copy()
    for rows, criteria in outcome.criteria:
        if np.isnan(criteria[by]).all():
            return None
        at = selection.choose(criteria[by], by)  # [seeds]
        chosen[:, rows] = logits[at[:, None], np.arange(len(at))[:, None], rows]
    return chosen


def recorded_uar(outcome: Outcome, emotion: np.ndarray) -> np.ndarray | None:
    """Unweighted average recall [records, seeds] of the tested target; None where it has no labels."""
    scored = outcome.tested & (emotion >= 0)
    if not scored.any():
        return None
    right = outcome.logits[:, :, scored].argmax(-1) == emotion[scored]
    return np.mean(
        [right[:, :, emotion[scored] == label].mean(-1) for label in np.unique(emotion[scored])],
        axis=0,
    )


def result_rows(outcome: Outcome, direction: Direction, config: Any) -> list[dict[str, Any]]:
    """The rows of results.json that a job gives: one for each way of selecting; none where nothing is labelled."""
    emotion = np.where(outcome.tested, direction.target.emotion, -1)
    names = (direction.source.corpus.name, direction.target.corpus.name)
    finite = [s for s, where in enumerate(outcome.diverged) if where is None]
    rows = []
    for by in dict.fromkeys(("last", "source_risk", config.selection, "oracle")):
        logits = chosen_logits(outcome, by, emotion)
        if logits is None:
            continue
        scores = [
            metrics.score(
                emotion, logits[s].argmax(-1), direction.target.speaker, len(config.emotions)
            )
            for s in finite
        ]
        scores = [s for s in scores if s is not None]
        if scores:
            job = outcome.job
            within = "within target" if job.method in SUPERVISED else config.protocol
            row = metrics.row(job.method, job.encoder, names, by, within, scores, config.emotions)
            rows.append(row)
    return rows


def selection_rows(outcome: Outcome, direction: Direction) -> list[dict[str, Any]]:
    """What each criterion would have chosen, beside the oracle; none where nothing is labelled, or it has no value."""
    emotion = np.where(outcome.tested, direction.target.emotion, -1)
    uar = recorded_uar(outcome, emotion)
    if uar is None or len(outcome.criteria) != 1:
        return []
    values, rows = outcome.criteria[0][1], []
    seeds_ = np.arange(uar.shape[1])
    for name, of in values.items():
        if np.isnan(of).all():
            continue
        at = selection.choose(of, name)
        chosen = uar[at, seeds_]
        rows.append(
            {
                "criterion": name,
                "epochs": [outcome.record_at[i] for i in at],
                "uar": metrics.summarise(chosen.tolist()),
                "loss_to_oracle": float(np.nanmean(np.nanmax(uar, 0) - chosen)),
                "rank_correlation": selection.rank_correlation(of, uar, name),
            }
        )
    return rows


def baseline_predictions(direction: Direction, config: Any) -> np.ndarray | None:
    """The SVM's predictions [n] of the target, or None where the recipe has no frames to take statistics of."""
    if direction.bins == 1:
        return None
    log.info("%s: support vector machine on utterance statistics, the row to beat", direction.name)
    names = make_recipe(config.features, config.audio.sample_rate_hz).bins
    columns = [i for i, name in enumerate(names) if name != "voicing"]

    def of(domain: Domain) -> np.ndarray:
        return baseline.statistics(domain.features.read(), len(domain.emotion), columns)

    source, target = of(direction.source), of(direction.target)
    if config.features.normalise not in ("source", "none", "utterance"):
        source = baseline.normalise(source, direction.source.group, direction.source.voices)
        target = baseline.normalise(target, direction.target.group, direction.target.voices)
    return baseline.svm_predict(source, direction.source.emotion, target)
