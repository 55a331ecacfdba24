"""Which trials of a tuning are finished, running or missing, while many workers share its study.

A tuning of N trials has the trials 0 to N - 1. A trial may need several attempts, because workers
can die. Each attempt is one trial of Optuna, which carries the numbers of the trial and of the
attempt as attributes. Any worker adds attempts that are missing. If two workers add the same one
at the same time, the one that the study got first counts, and the other one is never run.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

TRIAL, ATTEMPT = "trial", "attempt"  # attributes: numbers from 0
WORKER = "worker"  # attribute: who runs the attempt
BEAT = "beat"  # attribute: a number that grows while the worker lives
LOST = "lost"  # attribute of an attempt whose worker died or failed
REASON = "why"  # attribute of an attempt that has no value
MOST_LOSSES = 5  # of one trial; then it is given up
_WITH_RESULT = ("COMPLETE", "PRUNED")
Attempts = dict[int, list[Any]]  # by trial: its attempts in order, each an `optuna.FrozenTrial`


class Missing(NamedTuple):
    """An attempt that a study lacks."""

    trial: int
    attempt: int
    previous: Any  # the attempt before, whose values are used again; None: there is none


def sort_attempts(study: Any) -> Attempts:
    """The attempts that count, by trial.

    Args:
      study: an `optuna.Study`.
    """
    counted: dict[tuple[int, int], Any] = {}
    for attempt in _with_numbers(study):
        counted.setdefault(_numbers(attempt), attempt)
    attempts: Attempts = {}
    for trial, number in sorted(counted):
        attempts.setdefault(trial, []).append(counted[trial, number])
    return attempts


def duplicates(study: Any) -> list[Any]:
    """The attempts that another worker had added before; they wait and are never run."""
    earlier, later = set(), []
    for attempt in _with_numbers(study):
        if _numbers(attempt) in earlier and attempt.state.name == "WAITING":
            later.append(attempt)
        earlier.add(_numbers(attempt))
    return later


def _with_numbers(study: Any) -> Iterable[Any]:
    attempts = (t for t in study.get_trials(deepcopy=False) if TRIAL in t.user_attrs)
    return sorted(attempts, key=lambda attempt: attempt.number)


def _numbers(attempt: Any) -> tuple[int, int]:
    return attempt.user_attrs[TRIAL], attempt.user_attrs[ATTEMPT]


def missing_attempts(attempts: Attempts, trials: int) -> list[Missing]:
    """The attempts that have to be added, so that each of the first `trials` trials is run."""
    missing = []
    for trial in range(trials):
        earlier = attempts.get(trial, [])
        if not earlier:
            missing.append(Missing(trial, 0, None))
        elif earlier[-1].state.name == "FAIL" and not is_finished(earlier):
            missing.append(Missing(trial, earlier[-1].user_attrs[ATTEMPT] + 1, earlier[-1]))
    return missing


def is_finished(attempts: Sequence[Any]) -> bool:
    """Whether a trial needs no other attempt: it has a result, or it is given up."""
    losses = sum(LOST in attempt.user_attrs for attempt in attempts)
    newest = attempts[-1].state.name
    return newest in _WITH_RESULT or (newest == "FAIL" and losses >= MOST_LOSSES)


def finished(attempts: Attempts, trials: int) -> list[Any]:
    """The newest attempt of each finished trial among the first `trials`, by trial."""
    return [
        attempts[trial][-1]
        for trial in range(trials)
        if trial in attempts and is_finished(attempts[trial])
    ]


def in_state(attempts: Attempts, state: str, trials: int) -> list[Any]:
    """The attempts of the first `trials` trials that are in a state, such as "WAITING"."""
    return [
        attempt
        for trial in range(trials)
        for attempt in attempts.get(trial, [])
        if attempt.state.name == state
    ]
