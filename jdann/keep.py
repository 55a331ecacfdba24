"""What a run keeps of a training for later use: a model that needs neither corpus nor checkpoints."""

import logging
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jdann import configuration, fitting, model, normalise
from jdann.directions import Direction, Domain
from jdann.errors import InputError
from jdann.experiment import SUPERVISED, Job, seeds
from jdann.training import Train

PACKAGES = ("jdann", "jax", "jaxlib", "flax", "optax", "numpy", "librosa", "scikit-learn")
log = logging.getLogger("jdann")


def keep(path: Path, job: Job, direction: Direction, config: Any, train: Train, fitted: list[fitting.Fitted], order: int) -> Path:
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
    model.save(folder, make_model(job, direction, config, train, fitted, order))
    return folder


def make_model(
    job: Job, direction: Direction, config: Any, train: Train, fitted: list[fitting.Fitted], order: int = 0
) -> model.Model:
    """The model of one job, in memory; see `keep`.

    Raises:
      InputError: every member diverged.
    """
    del train
    domain = "source" if job.method in SUPERVISED else "target"  # a ceiling learns within the target, as its source
    members = [
        {"split": split.name, "seed": seed}
        for split, one in zip(job.splits, fitted, strict=True)
        for seed, diverged in zip(seeds(config), one.diverged, strict=True)
        if diverged is None
    ]
    if not members:
        raise InputError(f"{job.method} with {job.encoder}: every seed diverged; there is nothing to keep")
    averages = []
    for one in fitted:
        finite = np.array([d is None for d in one.diverged])
        average = one.chosen_state.average
        kept = {
            "encoder": {"params": average["encoder"], "batch_stats": average["batch_stats"][domain]},
            "classifier": average["classifier"],
        }
        averages.append(jax.tree.map(lambda x, finite=finite: np.asarray(x)[finite], jax.device_get(kept)))
    variables = jax.tree.map(lambda *of: np.concatenate(of), *averages)
    statistics = pooled(direction.target, direction.statistics[1], config.features.normalise)
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
        "temperature": 1.0,
        "values": len(statistics.mean[0]),
        "config": configuration.to_dict(config),
        "versions": versions(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    return model.Model(variables, statistics.mean[0], statistics.std[0], card)


def pooled(target: Domain, statistics: normalise.Statistics, by: str) -> normalise.Statistics:
    """The normalisation of a clip of whose speaker nothing is known: that of all of the target's speech together."""
    if by == "speaker" and len(statistics.groups) > 1:
        features = target.features
        return normalise.fit(features.values, features.start, features.length, ["target"] * len(features.length))
    if by == "utterance":
        return normalise.identity(target.features.bins)
    return statistics


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
