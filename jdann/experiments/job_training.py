"""What a job is trained with: its program, its budget, and what each split may see."""

import hashlib
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jdann.cluster.mesh import make_mesh
from jdann.configuration import method_settings
from jdann.data import batches
from jdann.data.batches import TrainingData
from jdann.data.pairs import Direction, Domain, is_by_speaker, speaker_numbers
from jdann.data.splits import Split
from jdann.experiments.jobs import Job, count_speakers, make_job_encoder
from jdann.experiments.settings import make_training_settings
from jdann.methods import Method, Settings, make_method, settings_for_classes
from jdann.methods.co_training import LEAST_SHARE_UNKNOWN
from jdann.training.members import CompiledTraining
from jdann.training.state import Program
from jdann.training.task import Budget, Task, make_budget

_EVIDENCE_UTTERANCES = 1024  # of each domain, that the selection criteria see


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
        encoder=make_job_encoder(config, job.encoder, direction),
        method=_make_job_method(job, _settings_for(config, direction)),
        settings=make_training_settings(config),
        classes=len(config.emotions),
        speakers=count_speakers(direction.source),
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
