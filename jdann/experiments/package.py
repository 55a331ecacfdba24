"""What a run keeps of a training for later use: a model that needs neither corpus nor checkpoints."""

import logging
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jdann import configuration
from jdann.data import normalise
from jdann.data.pairs import Direction, Domain
from jdann.errors import InputError
from jdann.experiments.jobs import SUPERVISED, Job, seeds
from jdann.inference import model
from jdann.inference.model import Normaliser
from jdann.selection import Evidence as SelectionEvidence
from jdann.selection import calibration
from jdann.selection.contract import evenly
from jdann.selection.density_ratio import ROWS, importance_weights
from jdann.speakers import similar_voices
from jdann.training import loop
from jdann.training.step import Train

PACKAGES = ("jdann", "jax", "jaxlib", "flax", "optax", "numpy", "librosa", "scikit-learn")
_importance_weights = jax.jit(importance_weights)
log = logging.getLogger("jdann")


def keep(
    path: Path,
    job: Job,
    direction: Direction,
    config: Any,
    train: Train,
    fitted: list[loop.Fitted],
    order: int,
) -> Path:
    """Writes the model of one job to `recogniser/` in the work directory.

    Args:
      path: the work directory.
      job: what was trained.
      direction: its two domains.
      config: of the run.
      train: the job's functions.
      fitted: the outcome of each of the job's splits.
      order: of the job among the run's, so that the last one can be told.

    Returns:
      The folder written. It holds the chosen averages of every split and seed that did not diverge.
    """
    folder = path / model.FOLDER / job.folder(job.splits[0]).removesuffix(f"-{job.splits[0].name}")
    model.save_model(folder, make_model(job, direction, config, train, fitted, order))
    return folder


def make_model(
    job: Job,
    direction: Direction,
    config: Any,
    train: Train,
    fitted: list[loop.Fitted],
    order: int = 0,
) -> model.Model:
    """The model of one job, in memory; see `keep`.

    Raises:
      InputError: every member diverged.
    """
    domain = (
        "source" if job.method in SUPERVISED else "target"
    )  # a ceiling learns within the target, as its source
    members = [
        {"split": split.name, "seed": seed}
        for split, one in zip(job.splits, fitted, strict=True)
        for seed, diverged in zip(seeds(config), one.diverged, strict=True)
        if diverged is None
    ]
    if not members:
        raise InputError(
            f"{job.method} with {job.encoder}: every seed diverged; there is nothing to keep"
        )
    averages = []
    for one in fitted:
        finite = np.array([d is None for d in one.diverged])
        average = one.chosen_state.average
        kept = {
            "encoder": {
                "params": average["encoder"],
                "batch_stats": average["batch_stats"][domain],
            },
            "classifier": average["classifier"],
        }
        averages.append(
            jax.tree.map(lambda x, finite=finite: np.asarray(x)[finite], jax.device_get(kept))
        )
    variables = jax.tree.map(lambda *of: np.concatenate(of), *averages)
    normaliser = of_anyone(direction.target, direction.statistics[1], config.features.normalise)
    calibrated = _calibration(job, direction, train, fitted)
    card = {
        "labels": list(config.emotions),
        "method": job.method,
        "encoder": job.encoder,
        "direction": job.direction,
        "order": order,
        "source": _described(direction.source),
        "target": _described(direction.target),
        "members": members,
        "seeds": sorted({member["seed"] for member in members}),
        "temperature": calibrated["temperature"],
        "calibration": calibrated,
        "values": normaliser.mean.shape[1],
        "config": configuration.to_dict(config),
        "versions": versions(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    return model.Model(variables, normaliser, card)


def _calibration(
    job: Job, direction: Direction, train: Train, fitted: list[loop.Fitted]
) -> dict[str, Any]:
    """The temperature, how it came about, and the calibration error on held-out source and on the target, before and after.

    Target labels are read for the errors alone, after the temperature is fixed.
    """
    within = job.method in SUPERVISED
    source, frames = (
        (direction.target, direction.target_frames)
        if within
        else (direction.source, direction.source_frames)
    )
    domain = "source" if within else "target"
    found, tested = [], []
    for split, one in zip(job.splits, fitted, strict=True):
        finite = np.array([d is None for d in one.diverged])
        if not finite.any():
            continue
        state = one.chosen_state

        def of(
            frames: Any, rows: np.ndarray, domain: str, state: Any = state, finite: Any = finite
        ) -> Any:
            return tuple(x[finite] for x in loop.outputs(train, state, frames, rows, domain))

        test = of(direction.target_frames, split.test, domain)[0]
        tested.append((test, direction.target.emotion[split.test]))
        if len(split.validation):
            held, learnt = (
                of(frames, split.validation, "source"),
                of(frames, evenly(split.source, ROWS), "source"),
            )
            aimed = of(direction.target_frames, evenly(split.target, ROWS), domain)
            emotion = source.emotion[split.validation]
            found.append(
                calibration.Evidence(
                    held[0], emotion, _ratios(held, emotion, learnt, aimed), aimed[0]
                )
            )
    each = [calibration.temperatures(evidence) for evidence in found]
    names = each[0] if each else {"none": 1.0}
    mean = {
        name: float(np.exp(np.mean([np.log(of_split[name]) for of_split in each]))) if each else 1.0
        for name in names
    }
    errors = {}
    for name, temperature in mean.items():
        sets = {"source": [(e.source, e.emotion) for e in found], "target": tested}
        errors[name] = {
            of: calibration.expected_calibration_error(
                np.concatenate(
                    [calibration.ensemble_probability(logits, temperature) for logits, _ in pairs]
                ),
                np.concatenate([emotion for _, emotion in pairs]),
            )
            for of, pairs in sets.items()
            if pairs
        }
    chosen = calibration.CHOSEN if each else "none"
    return {
        "by": chosen,
        "temperature": mean[chosen],
        "temperatures": mean,
        "expected_calibration_error": errors,
    }


def _ratios(held: Any, emotion: np.ndarray, learnt: Any, aimed: Any) -> np.ndarray:
    """Density ratios [held-out source], the mean over members, each of mean one."""
    each = []
    for member in range(len(held[0])):
        logits, representation = (x[member] for x in held)
        seen = SelectionEvidence(
            logits, emotion, representation, learnt[1][member], aimed[0][member], aimed[1][member]
        )  # pyright: ignore
        weight = np.asarray(_importance_weights(seen))
        each.append(weight / max(float(weight.mean()), 1e-30))
    return np.mean(each, axis=0)


def of_anyone(target: Domain, statistics: normalise.Statistics, by: str) -> Normaliser:
    """How a clip is normalised of whose speaker nothing is known: as the target's voices like theirs, or as all its speech."""
    features = target.features
    voice = np.zeros((1, 0), np.float32)
    if by == "utterance":
        statistics = normalise.identity(features.bins)
    elif len(statistics.groups) > 1 and target.voices is not None:
        voice = similar_voices.grid(target.voices.place)
        near = normalise.moments_at(features.read(), target.voices.place, voice)
        statistics = normalise.statistics(near, tuple(f"voice {i}" for i in range(len(voice))))
    elif len(statistics.groups) > 1:  # speakers, of a recipe that tells no voices
        statistics = normalise.fit(features.read(), ["target"] * len(target.emotion))
    return Normaliser(statistics.mean, statistics.std, voice)


def versions() -> dict[str, str]:
    """Of Python and of the packages that a run depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _described(domain: Domain) -> dict[str, Any]:
    languages = sorted({u.language for u in domain.features.utterances if u.language})
    return {
        "name": domain.corpus.name,
        "description": domain.corpus.description,
        "synthetic": domain.corpus.synthetic,
        "languages": languages,
        "utterances": len(domain.emotion),
    }
