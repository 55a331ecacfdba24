"""A worker of a tuning: it claims trials of a study, runs them, and notices when others die.

Workers may start and end at any time, on any machine. They know of each other only by the study.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from jdann.experiments.attempts import (
    ATTEMPT,
    BEAT,
    LOST,
    REASON,
    TRIAL,
    WORKER,
    duplicates,
    finished,
    in_state,
    missing_attempts,
    sort_attempts,
)
from jdann.experiments.search_space import read_space
from jdann.experiments.study import SharedStudy, import_optuna, log_trial, set_sampler
from jdann.progress import silenced

log = logging.getLogger("jdann")
BEAT_S = 10.0  # a worker shows so often that it lives
LOST_AFTER_S = 60.0  # a worker that shows nothing for as long is taken for dead
_POLL_S = 1.0  # how often a worker looks whether there is work
_AHEAD = 16  # attempts that wait in the study, so that workers rarely add the same one


class Worker(NamedTuple):
    """Who runs a trial."""

    command: str  # machine and work directory of the command that started the worker
    index: int  # among the workers of the command

    def __str__(self) -> str:
        return f"{self.command}#{self.index}"


class Watch:
    """Finds workers that show no life, by the clock of this process only.

    A clock of another machine may be wrong, so what counts is how long a beat has stayed the same.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._seen: dict[int, tuple[int, float]] = {}  # by attempt: its beat, and since when

    def lost(self, running: list[Any]) -> list[Any]:
        """Those running attempts whose beat has not changed for too long."""
        now = self._clock()
        beats = {}
        for attempt in running:
            beat = attempt.user_attrs.get(BEAT, 0)
            before, since = self._seen.get(attempt.number, (beat, now))
            beats[attempt.number] = (beat, since if before == beat else now)
        self._seen = beats
        return [a for a in running if now - beats[a.number][1] > LOST_AFTER_S]


def work(
    shared: SharedStudy, config: Any, objective: Callable[[Any], float], worker: Worker
) -> Iterator[None]:
    """Runs trials until all trials of the config are finished, whoever runs them.

    Args:
      shared: the study.
      config: of the tuning.
      objective: from an `optuna.Trial` to its value.
      worker: this one.

    Yields:
      Nothing, after each trial and, while other workers run the last trials, each second.
    """
    trials, watch, waits = config.tune.trials, Watch(), False
    keys = {dimension.key for dimension in read_space(config)}
    while True:
        attempts = sort_attempts(shared.study)
        others = [
            attempt
            for attempt in in_state(attempts, "RUNNING", trials)
            if attempt.user_attrs.get(WORKER, "").rpartition("#")[0] != worker.command
        ]
        for attempt in watch.lost(others):
            give_back(shared, attempt, "its worker has shown no life", is_lost=True)
        with shared.claiming():
            _add_missing(shared, trials, keys)
            trial = _claim(shared, trials)
        if trial is not None:
            set_sampler(shared.study, config, trial.user_attrs[TRIAL])
            with silenced():
                _run(shared, objective, trial, worker)
            log_trial(shared.study, trial.number)
            waits = False
        elif len(finished(sort_attempts(shared.study), trials)) == trials:
            return
        else:
            if not waits:
                log.info("waits for trials that other workers run")
            waits = True
            time.sleep(_POLL_S)
        yield


def give_back_of(
    shared: SharedStudy, command: str, index: int | None = None, *, is_lost: bool = True
) -> None:
    """Gives back what workers of a command ran that have ended without a word.

    Args:
      shared: the study.
      command: as in `Worker`.
      index: of the worker; None: all workers of the command.
      is_lost: as for `give_back`; False: they were interrupted.
    """
    reason = "its worker was killed" if is_lost else "interrupted"
    for attempt in shared.study.get_trials(deepcopy=False):
        owner, _, number = attempt.user_attrs.get(WORKER, "").rpartition("#")
        if attempt.state.name == "RUNNING" and owner == command and index in (None, int(number)):
            give_back(shared, attempt, reason, is_lost=is_lost)


def give_back(shared: SharedStudy, attempt: Any, reason: str, *, is_lost: bool) -> None:
    """Ends an attempt without a result, so that its trial is repeated.

    Args:
      shared: the study.
      attempt: an `optuna.Trial` or `optuna.FrozenTrial`.
      reason: why there is no result.
      is_lost: whether it counts towards the losses after which a trial is given up.
    """
    states, finished_already = _states(), import_optuna().exceptions.UpdateFinishedTrialError
    trial_id = shared.id_of(attempt.number)
    with suppress(finished_already):  # another worker was faster
        shared.storage.set_trial_user_attr(trial_id, REASON, reason)
        if is_lost:
            shared.storage.set_trial_user_attr(trial_id, LOST, True)
        shared.storage.set_trial_state_values(trial_id, states.FAIL)
        if is_lost:
            log.info("trial %d: %s", attempt.user_attrs.get(TRIAL, attempt.number), reason)


def _states() -> Any:
    return import_optuna().trial.TrialState


def _add_missing(shared: SharedStudy, trials: int, keys: set[str]) -> None:
    """Adds attempts that are missing, as many as workers may soon need.

    A repeated trial has the values of the attempt before. If that one was lost while its values
    were proposed, all are proposed anew: with half of them given, a sampler would draw others.
    """
    optuna, study = import_optuna(), shared.study
    while True:
        attempts = sort_attempts(study)
        missing = missing_attempts(attempts, trials)
        if not missing or len(in_state(attempts, "WAITING", trials)) >= _AHEAD:
            break
        trial, attempt, previous = missing[0]
        if previous is not None and set(previous.params) != keys:
            previous = None
        study.add_trial(
            optuna.trial.create_trial(
                state=_states().WAITING,
                params=previous.params if previous else {},
                distributions=previous.distributions if previous else {},
                user_attrs={TRIAL: trial, ATTEMPT: attempt},
            )
        )
    for attempt in duplicates(study):
        give_back(shared, attempt, "another worker had added it before", is_lost=False)


def _claim(shared: SharedStudy, trials: int) -> Any:
    """Makes a waiting attempt one's own: an `optuna.Trial`, or None if none is waiting."""
    optuna = import_optuna()
    for attempt in in_state(sort_attempts(shared.study), "WAITING", trials):
        trial_id = shared.id_of(attempt.number)
        # The storage lets only one worker change the state.
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            if shared.storage.set_trial_state_values(trial_id, _states().RUNNING):
                return optuna.Trial(shared.study, trial_id)
    return None


def _run(
    shared: SharedStudy, objective: Callable[[Any], float], trial: Any, worker: Worker
) -> None:
    """Runs a claimed attempt, and tells the study its result."""
    optuna, states = import_optuna(), _states()
    try:
        with _beating(trial):
            trial.set_user_attr(WORKER, str(worker))
            value = _value(objective, trial)
            state = states.PRUNED if value is None else states.COMPLETE
            told = shared.study.tell(trial, value, state=state, skip_if_finished=True)
            is_taken = told.state != state
    except optuna.exceptions.UpdateFinishedTrialError:
        is_taken = True
    except BaseException as error:
        is_failure = isinstance(error, Exception)  # and not an interrupt
        reason = f"{type(error).__name__}: {error}" if is_failure else "interrupted"
        give_back(shared, trial, reason, is_lost=is_failure)
        raise
    if is_taken:
        log.warning(
            "trial %d: other workers took this one for dead and repeat the trial, so this result "
            "is not used",
            trial.user_attrs[TRIAL],
        )


def _value(objective: Callable[[Any], float], trial: Any) -> float | None:
    """The value of a trial; None if it was pruned."""
    try:
        value = objective(trial)
    except import_optuna().TrialPruned:
        return None
    if math.isfinite(value):
        return value
    trial.set_user_attr(REASON, "it has no finite value")
    return None


@contextmanager
def _beating(trial: Any) -> Iterator[None]:
    """Shows the other workers that this one lives."""
    ended = threading.Event()

    def beat() -> None:
        beats = 0
        while not ended.wait(BEAT_S):
            beats += 1
            with suppress(Exception):  # the storage may be away for a while
                trial.set_user_attr(BEAT, beats)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
