"""An Optuna study: where it is kept, how it is opened, and what its trials gave."""

import json
import logging
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jdann import configuration, selection
from jdann.errors import InputError
from jdann.experiments.corpus_paths import absolute_values
from jdann.experiments.search_space import apply

log = logging.getLogger("jdann")
FIRST = "first"  # attribute of a repeated trial: the number of the first attempt
REASON = "why"  # attribute of a trial that has no value
_HEARTBEAT_S = 10  # a trial whose worker misses three heartbeats is repeated
_LOCK_TIMEOUT_S = 60  # how long a worker waits while another one writes to SQLite
_PASSWORD = re.compile(r"(?<=://)([^:/@]*):([^@/]*)@")


class StudyPlace(NamedTuple):
    """Where a study is kept."""

    storage: str  # an Optuna storage URL
    name: str

    def __str__(self) -> str:
        """For messages and files: without the password."""
        return f"study {self.name!r} in {_PASSWORD.sub(r'***@', self.storage)}"


def import_optuna() -> Any:
    """Optuna, which only tuning needs.

    Raises:
      InputError: it is not installed.
    """
    try:
        import optuna  # an optional dependency, in the extra "tune"
    except ImportError:
        raise InputError(
            'jdann tune needs Optuna, which is not installed: pip install "jdann[tune]"'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_study(config: Any, place: StudyPlace, worker: int = 0) -> Any:
    """Opens a study, or makes it if it does not exist.

    Args:
      config: a whole jdann config as the user gave it. On several machines its relative paths
        stand for different folders, so the study keeps them relative.
      place: where the study is kept.
      worker: the number of the process, so that each one proposes other values.

    Returns:
      An `optuna.Study`.

    Raises:
      InputError: the storage cannot be opened, or its study of this name has another config.
    """
    optuna = import_optuna()
    higher_is_better = selection.CRITERIA[config.tune.criterion].higher_is_better
    try:
        study = optuna.create_study(
            storage=_make_storage(place.storage),
            study_name=place.name,
            load_if_exists=True,
            direction="maximize" if higher_is_better else "minimize",
        )
    except Exception as error:  # the type depends on the database's driver
        reason = str(error).splitlines()[0] if str(error) else ""
        password = _PASSWORD.search(place.storage)
        if password and password[2]:
            reason = reason.replace(password[2], "***")
        raise InputError(
            f"--storage: {place} cannot be opened ({type(error).__name__}: {reason}); expected a "
            "URL such as sqlite:///tune.db or postgresql://user:password@host/name, with its "
            "driver installed"
        ) from None
    _check_same_config(study, config, place)
    # A sampler starts anew in each worker and at each continuation, so each gets another seed.
    entropy = [config.seed, worker, len(study.get_trials(deepcopy=False))]
    seed = np.random.SeedSequence(entropy).generate_state(1)[0]
    study.sampler = optuna.samplers.TPESampler(seed=int(seed))
    study.pruner = (
        optuna.pruners.MedianPruner(config.tune.prune_after)
        if config.tune.prune
        else optuna.pruners.NopPruner()
    )
    return study


def _check_same_config(study: Any, config: Any, place: StudyPlace) -> None:
    """Stores the config in a new study; refuses a study of another config.

    The number of trials may differ, because more of them may be asked for later.
    """
    values = configuration.to_dict(apply(config, {"tune.trials": 1}))
    stored = study.user_attrs.get("config")
    if stored is None:
        study.set_user_attr("config", json.dumps(values, sort_keys=True))
        return
    before = json.loads(stored)
    if before != values and absolute_values(before) != absolute_values(values):
        raise InputError(
            f"{place}: is of another config; give another --study, or another --storage"
        )


def _make_storage(url: str) -> Any:
    optuna = import_optuna()
    engine_arguments = {}
    if url.startswith("sqlite"):
        engine_arguments = {"connect_args": {"timeout": _LOCK_TIMEOUT_S}}
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns that the heartbeat is experimental
        return optuna.storages.RDBStorage(
            url,
            engine_arguments,
            heartbeat_interval=_HEARTBEAT_S,
            grace_period=3 * _HEARTBEAT_S,
            failed_trial_callback=_repeat,
        )


def _repeat(study: Any, trial: Any) -> None:
    """Queues a trial again whose worker was lost.

    The new trial has the same values and continues from the checkpoints of the first attempt.
    """
    trials = import_optuna().trial
    attributes = {**trial.user_attrs, FIRST: trial.user_attrs.get(FIRST, trial.number)}
    study.add_trial(
        trials.create_trial(
            state=trials.TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=attributes,
        )
    )


def count_finished(study: Any) -> int:
    """How many trials have a value or were pruned."""
    return sum(t.state.name in ("COMPLETE", "PRUNED") for t in study.get_trials(deepcopy=False))


def log_newest(study: Any) -> None:
    """Logs the result of the newest finished trial, and the best value so far."""
    trials = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
    newest = max(trials, key=lambda t: t.datetime_complete)
    values = ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in newest.params.items()
    )
    if newest.state.name == "COMPLETE":
        result = f"{newest.value:.4f}"
    else:
        result = newest.user_attrs.get(REASON, newest.state.name.lower())
    best = ""
    if any(t.state.name == "COMPLETE" for t in trials):
        best = f"; best {study.best_value:.4f}, trial {study.best_trial.number}"
    log.info("trial %d: %s (%s)%s", newest.number, result, values, best)


def importance(study: Any) -> dict[str, float]:
    """Each key's share of the variance of the trials' values, by fANOVA (Hutter et al. 2014).

    Args:
      study: an `optuna.Study`.

    Returns:
      A share per key; the shares add up to 1. The dict is empty if fewer than four trials are
      complete, or if all their values are equal.
    """
    optuna = import_optuna()
    values = [t.value for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    if len(values) < 4 or np.ptp(values) == 0:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(share) for key, share in shares.items()}
