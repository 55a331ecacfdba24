"""What a run trains, and in which order: one job per direction, encoder and method."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jdann import selection
from jdann.cluster.mesh import make_mesh
from jdann.configuration import method_settings
from jdann.data import batches, splits
from jdann.data.batches import TrainingData
from jdann.data.pairs import Direction, Domain, is_by_speaker, speaker_numbers
from jdann.data.splits import Split
from jdann.errors import InputError
from jdann.experiments.new_speakers import can_co_train, predict_new_speakers
from jdann.experiments.settings import (
    check_training_names,
    encoder_names,
    make_members,
    make_training_settings,
)
from jdann.features.prosody import begins_with_prosody
from jdann.methods import Method, Settings, make_method, settings_for_classes
from jdann.methods.co_training import LEAST_SHARE_UNKNOWN
from jdann.models import make_encoder, network
from jdann.models.pretrained_top import with_statistics
from jdann.parameters import shown
from jdann.training import loop
from jdann.training.members import CompiledTraining
from jdann.training.records import outputs
from jdann.training.state import Program
from jdann.training.task import LAST, Budget, Fitted, Task, make_budget

log = logging.getLogger("jdann")
# The labelled ceiling: name of the job, and whether its folds keep speakers apart.
SUPERVISED = {"supervised, random split": False, "supervised, unseen speakers": True}
_DIAGNOSED_UTTERANCES = 1000  # of each domain, in t-SNE and A-distance
_EVIDENCE_UTTERANCES = 1024  # of each domain, that the selection criteria see


class Job(NamedTuple):
    """One method with one encoder in one direction: a training per split."""

    direction: int
    encoder: str
    method: str
    splits: tuple[Split, ...]

    @property
    def is_supervised(self) -> bool:
        """Whether it learns from the target's labels, as the ceiling does."""
        return self.method in SUPERVISED

    def folder(self, split: Split) -> str:
        """Where its checkpoints lie in the work directory's `checkpoints`."""
        return f"{self.name}-{split.name}"

    @property
    def name(self) -> str:
        """For folders: "0-conv1d-dann"."""
        method = self.method.replace(", ", "-").replace(" ", "-")
        return f"{self.direction}-{self.encoder}-{method}"


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


def plan_jobs(config: Any, directions: Sequence[Direction]) -> list[Job]:
    """All trainings of a run, in order.

    Raises:
      InputError: a method or encoder is unknown, or the data lack what it needs. Nothing has been
        trained then.
    """
    check_training_names(config)
    if config.selection not in (LAST, *selection.CRITERIA):
        known = ", ".join(selection.CRITERIA)
        raise InputError(
            f'config.selection is {shown(config.selection)}; choose "last" or one of {known}'
        )
    planned = []
    for d, direction in enumerate(directions):
        for encoder in encoder_names(config):
            _make_encoder(config, encoder, direction)
            for method in config.methods:
                if method != "supervised":
                    _check_needs(config, direction, encoder, method)
                planned += [
                    Job(d, encoder, name, tuple(parts))
                    for name, parts in _make_splits(config, direction, method)
                ]
    return planned


def _make_splits(
    config: Any, direction: Direction, method: str
) -> Iterator[tuple[str, list[Split]]]:
    """Yields the name and the splits of each job of a method."""
    source, target = direction.source, direction.target
    fraction, seed = config.validation_fraction, config.seed
    labelled = np.flatnonzero(target.is_trained_on)
    if method == "supervised":
        for name, by_speaker in SUPERVISED.items():
            folds = splits.supervised(
                target.emotion, target.speaker, config.folds, by_speaker, fraction, seed
            )
            yield (
                name,
                [
                    fold._replace(test=splits.without_labelled(fold.test, labelled))
                    for fold in folds
                ],
            )
        return
    if config.protocol == "inductive":
        parts = splits.inductive(
            source.emotion, source.speaker, target.speaker, config.folds, fraction, seed
        )
    else:
        targets = len(target.emotion)
        parts = splits.transductive(source.emotion, source.speaker, targets, fraction, seed)
    yield method, [splits.with_target_labels(part, labelled) for part in parts]


def _check_needs(config: Any, direction: Direction, encoder: str, method: str) -> None:
    """Refuses a method whose needs the data or the encoder do not meet."""
    needs = make_method(method, method_settings(config)).needs
    source = direction.source
    if "speakers" in needs and _count_speakers(source) < 2:
        raise InputError(
            f"{method} needs two known speakers or more in the source, {source.corpus.name}; "
            "name them or drop the method"
        )
    if "statistics" in needs and not begins_with_prosody(source.bins):
        raise InputError(
            f"{method} needs one vector of statistics per utterance, and features.recipe is "
            f"{config.features.recipe!r}; set --config.features.recipe=statistics and "
            "--config.encoder.name=mlp (or, with pretrained, --config.features.beside=prosody)"
        )
    if "batch_norm" in needs:
        features, length = network.blank_batch(direction.window, direction.bins)
        module = _make_encoder(config, encoder, direction)
        variables = jax.eval_shape(lambda: module.init(jax.random.key(0), features, length, False))
        if "batch_stats" not in variables:
            raise InputError(
                f"{method} needs an encoder with batch norm, and {encoder} has none; "
                "choose conv1d or resnet50"
            )


def _count_speakers(domain: Domain) -> int:
    return len({speaker for speaker in domain.speaker if speaker is not None})


def _make_encoder(config: Any, name: str, direction: Direction) -> nn.Module:
    encoder = make_encoder(name, config.encoder, config.precision, direction.recipe_settings)
    normalised_by = direction.statistics[0]  # of the source
    return with_statistics(encoder, normalised_by.mean, normalised_by.std)


def make_job_method(job: Job, config: Any) -> Method:
    """The method by which a job trains."""
    return _make_job_method(job, method_settings(config))


def _make_job_method(job: Job, settings: Settings) -> Method:
    return make_method("source_only" if job.is_supervised else job.method, settings)


def _settings_for(config: Any, direction: Direction) -> Settings:
    """The methods' settings, as far as they depend on the corpora.

    Each prior is restricted to the emotions that have labels. Where the target is not
    normalised by speaker, co-training is trusted less.
    """
    labels = np.concatenate([direction.source.emotion, direction.target.target_labels])
    present = [bool((labels == i).any()) for i in range(len(config.emotions))]
    settings = settings_for_classes(method_settings(config), present)
    least_share = settings["co_training"]["least_share"]
    if least_share and not is_by_speaker(direction.target):
        settings["co_training"]["least_share"] = max(least_share, LEAST_SHARE_UNKNOWN)
    return settings


def make_job_budget(job: Job, config: Any) -> Budget:
    """The budget of each of a job's trainings."""
    return make_budget(
        job.splits,
        make_job_method(job, config),
        epochs=config.epochs,
        batch_size=config.batch_size,
        evaluate_every=config.evaluate_every,
        checkpoint_every_s=config.checkpoint_every_s,
    )


def make_job_training(
    job: Job, direction: Direction, config: Any, members: int | None = None
) -> tuple[CompiledTraining, Budget]:
    """The compiled functions and the budget that all of a job's splits share.

    Args:
      job: what to train.
      direction: its two domains.
      config: of the run.
      members: how many are trained side by side; None: the config's seeds.

    Raises:
      InputError: the processes cannot share the work equally.
    """
    budget = make_job_budget(job, config)
    program = Program(
        encoder=_make_encoder(config, job.encoder, direction),
        method=_make_job_method(job, _settings_for(config, direction)),
        settings=make_training_settings(config),
        classes=len(config.emotions),
        speakers=_count_speakers(direction.source),
        bins=direction.bins,
        window=direction.window,
        phase_steps=tuple(budget.steps * epochs for epochs in budget.phases),
    )
    mesh = make_mesh(members or config.seeds, config.batch_size)
    return CompiledTraining(program, config.seeds_in, mesh), budget


def make_task(job: Job, split: Split, direction: Direction) -> Task:
    """What a split's training may see; only the supervised ceiling sees the target's labels."""
    name = f"{direction.name}, {job.method}, {job.encoder}"
    if len(job.splits) > 1:
        name += f", {split.name}"
    source, frames, labelled = direction.source, direction.source_frames, split.labelled
    if job.is_supervised:
        source, frames = direction.target, direction.target_frames
    labels = direction.target.target_labels[labelled]
    group = _numbers([u.corpus for u in source.features.utterances])
    # The utterances with labels by the user are one more corpus. Their speakers are not those of
    # the source.
    data = TrainingData(
        source=batches.append(frames, direction.target_frames, labelled),
        emotion=jnp.asarray(np.concatenate([source.emotion, labels])),
        speaker=jnp.asarray(np.concatenate([_numbers(source.speaker), np.full_like(labels, -1)])),
        target=direction.target_frames,
    )
    rows = zip(*((s.validation, s.source, s.target) for s in job.splits), strict=True)
    sizes = [min(_EVIDENCE_UTTERANCES, *map(len, per_split)) for per_split in rows]
    return Task(
        name=name,
        split=split,
        data=data,
        group=np.concatenate([group, np.full_like(labels, group.max() + 1)]),
        test_size=max(len(s.test) for s in job.splits),
        evidence_sizes=(sizes[0], sizes[1], sizes[2]),
        identity=_identity((source, direction.target), split, labels),
        target_speaker=speaker_numbers(direction.target),
    )


def _numbers(names: Sequence[str | None]) -> np.ndarray:
    """A number [n] for each different name, -1 for None."""
    known = sorted({name for name in names if name is not None})
    number = {name: i for i, name in enumerate(known)}
    return np.array([-1 if name is None else number[name] for name in names], np.int32)


def _identity(domains: tuple[Domain, Domain], split: Split, labels: np.ndarray) -> bytes:
    """A digest of what the rows of a split mean: the utterances, the split, labels trained on."""
    digest = hashlib.blake2b(digest_size=16)
    for domain in domains:
        for u in domain.features.utterances:
            line = f"{u.file}|{u.start_s}|{u.end_s}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    labelled = np.concatenate([split.source, split.validation])
    rows = (split.source, split.validation, split.target, split.test)
    target_labels = (split.labelled, labels) if len(labels) else ()
    for values in (*rows, domains[0].emotion[labelled], *target_labels):
        digest.update(np.asarray(values, np.int64).tobytes() + b"|")
    return digest.digest()


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
