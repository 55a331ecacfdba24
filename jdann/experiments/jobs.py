"""What a run trains, and in which order: one job per direction, encoder and method."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from jdann import selection
from jdann.configuration import method_settings
from jdann.data import splits
from jdann.data.pairs import Direction, Domain
from jdann.data.splits import Split
from jdann.errors import InputError
from jdann.experiments.settings import check_training_names, encoder_names, prosody_missing
from jdann.features.prosody import begins_with_prosody
from jdann.methods import make_method
from jdann.models import make_encoder, network
from jdann.models.pretrained_top import with_statistics
from jdann.parameters import shown
from jdann.training.task import LAST

# The labelled ceiling: name of the job, and whether its folds keep speakers apart.
SUPERVISED = {"supervised, random split": False, "supervised, unseen speakers": True}


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
            make_job_encoder(config, encoder, direction)
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
    if "speakers" in needs and count_speakers(source) < 2:
        raise InputError(
            f"{method} needs two known speakers or more in the source, {source.corpus.name}; "
            "name them or drop the method"
        )
    if "statistics" in needs and not begins_with_prosody(source.bins):
        raise InputError(prosody_missing(method, config.features))
    if "batch_norm" in needs:
        features, length = network.blank_batch(direction.window, direction.bins)
        module = make_job_encoder(config, encoder, direction)
        variables = jax.eval_shape(lambda: module.init(jax.random.key(0), features, length, False))
        if "batch_stats" not in variables:
            raise InputError(
                f"{method} needs an encoder with batch norm, and {encoder} has none; "
                "choose conv1d or resnet50"
            )


def count_speakers(domain: Domain) -> int:
    """How many known speakers a domain has."""
    return len({speaker for speaker in domain.speaker if speaker is not None})


def make_job_encoder(config: Any, name: str, direction: Direction) -> nn.Module:
    """The encoder of a job, which knows by what its features were normalised."""
    encoder = make_encoder(name, config.encoder, config.precision, direction.recipe_settings)
    normalised_by = direction.statistics[0]  # of the source
    return with_statistics(encoder, normalised_by.mean, normalised_by.std)
