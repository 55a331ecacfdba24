"""An Optuna study: where it is kept, how it is opened, what it says of its trials."""

import json
import logging
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jdann import configuration, selection
from jdann.errors import InputError
from jdann.experiments.search_space import apply

log = logging.getLogger("jdann")
_HEARTBEAT_S = 10  # a trial whose worker has been silent for three of them is tried again
_PASSWORD = re.compile(r"(?<=://)([^:/@]*):([^@/]*)@")


class Place(NamedTuple):
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
        import optuna
    except ImportError:
        raise InputError(
            'jdann tune needs Optuna, which is not installed: pip install "jdann[tune]"'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_study(config: Any, place: Place, worker: int = 0) -> Any:
    """Opens a study, and makes it where it is missing.

    Args:
      config: a whole jdann config; read are `tune` and `seed`.
      place: where it is kept.
      worker: which of several workers asks: each proposes in an order of its own.

    Returns:
      An `optuna.Study`.

    Raises:
      InputError: the storage cannot be opened, or holds a study of this name with another config.
    """
    optuna = import_optuna()
    try:
        study = optuna.create_study(
            storage=_storage(place.storage),
            study_name=place.name,
            load_if_exists=True,
            direction="maximize"
            if selection.CRITERIA[config.tune.criterion].higher_is_better
            else "minimize",
        )
    except Exception as error:  # whatever the database's driver raises
        reason = str(error).splitlines()[0] if str(error) else ""
        password = _PASSWORD.search(place.storage)
        reason = reason.replace(password[2], "***") if password and password[2] else reason
        raise InputError(
            f"--storage: {place} cannot be opened ({type(error).__name__}: {reason}); expected a URL such as sqlite:///tune.db or "
            "postgresql://user:password@host/name, with its driver installed"
        ) from None
    identity = json.dumps(configuration.to_dict(apply(config, {"tune.trials": 1})), sort_keys=True)
    if study.user_attrs.get("config", identity) != identity:
        raise InputError(
            f"{place}: is of another config; give another --study, or another --storage"
        )
    study.set_user_attr("config", identity)
    # A sampler begins anew wherever it is made: another seed for each worker and each continuation.
    seed = np.random.SeedSequence(
        [config.seed, worker, len(study.get_trials(deepcopy=False))]
    ).generate_state(1)[0]
    study.sampler = optuna.samplers.TPESampler(seed=int(seed))
    study.pruner = (
        optuna.pruners.MedianPruner(config.tune.prune_after)
        if config.tune.prune
        else optuna.pruners.NopPruner()
    )
    return study


def _storage(url: str) -> Any:
    from optuna.storages import RDBStorage

    connection = {}
    if url.startswith("sqlite"):
        connection = {
            "connect_args": {"timeout": 60}
        }  # seconds that one worker waits for another's lock
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the heartbeat is called experimental
        return RDBStorage(
            url,
            connection,
            heartbeat_interval=_HEARTBEAT_S,
            grace_period=3 * _HEARTBEAT_S,
            failed_trial_callback=_again,
        )


def _again(study: Any, trial: Any) -> None:
    """Queues a trial whose worker is gone, with the same values; it continues from the checkpoints of the first."""
    from optuna.trial import TrialState, create_trial

    attributes = {**trial.user_attrs, "first": trial.user_attrs.get("first", trial.number)}
    of = {"params": trial.params, "distributions": trial.distributions, "user_attrs": attributes}
    study.add_trial(create_trial(state=TrialState.WAITING, **of))


def finished(study: Any) -> int:
    """How many trials came to a value or were pruned."""
    return sum(t.state.name in ("COMPLETE", "PRUNED") for t in study.get_trials(deepcopy=False))


def tell(study: Any) -> None:
    """Logs what the newest trial gave, and the best so far."""
    trials = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
    last = max(trials, key=lambda t: t.datetime_complete)
    values = ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in last.params.items()
    )
    how = (
        f"{last.value:.4f}"
        if last.state.name == "COMPLETE"
        else last.user_attrs.get("why", last.state.name.lower())
    )
    complete = any(t.state.name == "COMPLETE" for t in trials)
    best = f"; best {study.best_value:.4f}, trial {study.best_trial.number}" if complete else ""
    log.info("trial %d: %s (%s)%s", last.number, how, values, best)


def importance(study: Any) -> dict[str, float]:
    """Each key's share of the variance of the trials' values, by fANOVA (Hutter et al. 2014).

    Args:
      study: an `optuna.Study`.

    Returns:
      A dict from each key to a share, all adding up to 1; empty where fewer than four trials are complete or none differ.
    """
    optuna = import_optuna()
    values = [t.value for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    if len(values) < 4 or np.ptp(values) == 0:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return {
        key: float(value)
        for key, value in optuna.importance.get_param_importances(
            study, evaluator=evaluator
        ).items()
    }
