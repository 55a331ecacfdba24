"""The estimated accuracy of a job on its target, without the target's labels."""

from typing import Any

from jdann.data.pairs import Direction, is_by_speaker
from jdann.evaluation.metrics import mean_probabilities
from jdann.experiments.jobs import Job, Outcome
from jdann.methods import Method
from jdann.selection import accuracy


def has_estimate(job: Job, protocol: str, method: Method) -> bool:
    """Whether the accuracy of a job can be estimated.

    The estimate was fitted to labels by co-training, for the audio that was adapted to.
    """
    adapts = method.initial_labels is not None and not job.is_supervised
    return adapts and protocol == "transductive"


def estimate_row(
    outcome: Outcome, direction: Direction, protocol: str, method: Method
) -> dict[str, Any] | None:
    """What results.json says about a job's accuracy; None if it cannot be estimated."""
    job = outcome.job
    finite = [place is None for place in outcome.diverged]
    if not has_estimate(job, protocol, method) or not any(finite):
        return None
    logits = outcome.logits[-1][finite][:, outcome.tested]
    by_speaker = is_by_speaker(direction.target)
    estimate = accuracy.estimate(mean_probabilities(logits, 1.0), by_speaker)
    return {
        "utterances": int(outcome.tested.sum()),
        "by_speaker": by_speaker,
        **estimate._asdict(),
    }
