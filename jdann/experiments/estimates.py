"""The estimated accuracy of a job on its target, without the target's labels."""

from typing import Any

import numpy as np

from jdann.data.pairs import Direction, Domain, is_by_speaker
from jdann.evaluation.metrics import mean_probabilities
from jdann.experiments.jobs import Job, Outcome
from jdann.methods import Method
from jdann.selection import accuracy
from jdann.selection.accuracy import Estimate


def has_estimate(job: Job, protocol: str, method: Method) -> bool:
    """Whether the accuracy of a job can be estimated.

    The estimate was fitted to labels by co-training, for the audio that was adapted to.
    """
    adapts = method.initial_labels is not None and not job.is_supervised
    return adapts and protocol == "transductive"


def estimate_accuracy(logits: np.ndarray, target: Domain) -> Estimate:
    """The estimated accuracy of an ensemble's logits [members, n, classes] for the target."""
    return accuracy.estimate(mean_probabilities(logits, 1.0), is_by_speaker(target))


def estimate_row(
    outcome: Outcome, direction: Direction, protocol: str, method: Method
) -> dict[str, Any] | None:
    """What results.json says about a job's accuracy; None if it cannot be estimated."""
    finite = [place is None for place in outcome.diverged]
    if not has_estimate(outcome.job, protocol, method) or not any(finite):
        return None
    logits = outcome.logits[-1][finite][:, outcome.tested]
    return {
        "utterances": int(outcome.tested.sum()),
        "by_speaker": is_by_speaker(direction.target),
        **estimate_accuracy(logits, direction.target)._asdict(),
    }
