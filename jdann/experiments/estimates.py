"""The estimated accuracy of a job on its target, and its probabilities, without target labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jdann.data.pairs import Direction, Domain, clips_per_speaker, is_by_speaker
from jdann.evaluation.metrics import mean_probabilities
from jdann.experiments.new_speakers import ADAPTED
from jdann.experiments.outcomes import Outcome
from jdann.methods import Method
from jdann.selection import accuracy, calibration
from jdann.selection.accuracy import Estimate


def estimate_accuracy(logits: Sequence[np.ndarray], target: Domain, method: str) -> Estimate:
    """The estimated accuracy of predictions for a target.

    Args:
      logits: [members, n, classes] of each split's ensemble, for the utterances that it tests.
      target: to which the utterances belong.
      method: by which the predictions were made; it ends with ADAPTED if a model has adapted to
        each speaker, which is done by co-training.
    """
    probabilities = np.concatenate([mean_probabilities(values, 1.0) for values in logits])
    by_co_training = method.endswith(ADAPTED) or "co_training" in method.split("+")
    return accuracy.estimate(probabilities, clips_per_speaker(target), by_co_training)


def find_temperature(logits: Sequence[np.ndarray], estimate: Estimate) -> float:
    """The temperature at which the mean confidence is the estimated accuracy; at least 1.

    Args:
      logits: as for `estimate_accuracy`.
      estimate: of the same predictions.
    """
    return max(1.0, calibration.match_confidence(logits, estimate.accuracy))


def estimate_rows(outcome: Outcome, direction: Direction, method: Method) -> list[dict[str, Any]]:
    """What results.json says about a job's accuracy; nothing about the labelled ceiling.

    In the inductive protocol there may be a second row, for the model that has adapted to each new
    speaker.

    Args:
      outcome: of the job.
      direction: its two domains.
      method: by which it trained.
    """
    if outcome.job.is_supervised:
        return []
    logits = {"": outcome.logits[-1]}
    if outcome.new_speakers is not None:
        logits[ADAPTED] = outcome.new_speakers
    return [
        {
            "method": f"{outcome.job.method}{adapted}",
            "utterances": int(outcome.tested.sum()),
            "by_speaker": is_by_speaker(direction.target),
            **estimate_accuracy(
                [_finite(outcome, values)], direction.target, f"{outcome.job.method}{adapted}"
            )._asdict(),
            "evidence": {} if adapted else _evidence(outcome, method),
        }
        for adapted, values in logits.items()
    ]


def calibrated_probabilities(outcome: Outcome, direction: Direction) -> np.ndarray:
    """The probabilities [tested utterances, classes] of a job, with a temperature.

    The labelled ceiling is not calibrated.
    """
    logits = _finite(outcome, outcome.logits[-1])
    if outcome.job.is_supervised:
        return mean_probabilities(logits, 1.0)
    estimate = estimate_accuracy([logits], direction.target, outcome.job.method)
    return mean_probabilities(logits, find_temperature([logits], estimate))


def _finite(outcome: Outcome, logits: np.ndarray) -> np.ndarray:
    """Logits [seeds, tested utterances, classes] of the seeds that did not diverge."""
    finite = [place is None for place in outcome.diverged]
    return logits[finite][:, outcome.tested]


def _evidence(outcome: Outcome, method: Method) -> dict[str, float]:
    """The evidence of the method's initial labels, the mean over splits and seeds."""
    last = [
        {name: history[name][-1] for name in method.evidence}
        for _, history in outcome.history
        if history
    ]
    names = method.evidence if last else ()
    return {name: float(np.nanmean([values[name] for values in last])) for name in names}
