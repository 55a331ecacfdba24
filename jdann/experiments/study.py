"""An Optuna study that workers share: where it is kept, how it is opened, what its trials gave."""

import json
import logging
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jdann import configuration, locks, selection
from jdann.errors import InputError
from jdann.experiments.attempts import REASON, TRIAL, finished, sort_attempts
from jdann.experiments.corpus_paths import absolute_values
from jdann.experiments.search_space import apply
from jdann.parameters import pick

log = logging.getLogger("jdann")
JOURNAL = ".journal"  # how the name of a journal ends
_SQLITE = "sqlite:///"
_FIRST_WORD = b'{"op_code":'  # of a journal
_LONGEST_LINE = 2**20  # of a journal, in bytes
_LOCK_POLL_S = 0.05
_LOCK_TIMEOUT_S = 60  # how long a worker waits while another one writes to SQLite
_PASSWORD = re.compile(r"(?<=://)([^:/@]*):([^@/]*)@")


class StudyPlace(NamedTuple):
    """Where a study is kept."""

    storage: str  # the URL of a database, or the absolute path of a journal
    name: str

    def __str__(self) -> str:
        """For messages and files: without the password."""
        return f"study {self.name!r} in {_PASSWORD.sub(r'***@', self.storage)}"


class SharedStudy(NamedTuple):
    """An open study, and what it is kept in."""

    study: Any  # an `optuna.Study`
    storage: Any  # an `optuna.storages.BaseStorage`
    place: StudyPlace

    def id_of(self, number: int) -> int:
        """By which the storage knows the study's trial of a number."""
        study_id = self.storage.get_study_id_from_name(self.place.name)
        return self.storage.get_trial_id_from_study_id_trial_number(study_id, number)

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """Keeps other workers from claiming trials, where the storage does not do it itself.

        In SQLite two processes can change the same row at the same time. Its workers are on one
        machine, so they can use a lock file.
        """
        path = self.place.storage.removeprefix(_SQLITE).partition("?")[0]
        if path == self.place.storage or path in ("", ":memory:"):
            yield
            return
        with locks.hold(Path(f"{path}.lock"), lambda: time.sleep(_LOCK_POLL_S)):
            yield


def find_place(storage: str | None, name: str, default: Path) -> StudyPlace:
    """Where a study is kept.

    Args:
      storage: a database's URL, or the path of a journal, which ends in `.journal`; None: SQLite.
      name: of the study.
      default: the file of SQLite.

    Raises:
      InputError: `storage` is neither.
    """
    if storage is None:
        return StudyPlace(f"{_SQLITE}{default.absolute()}", name)
    if "://" in storage:
        return StudyPlace(storage, name)
    if not storage.endswith(JOURNAL):
        raise InputError(
            f"--storage is {storage!r}; expected a file that ends in {JOURNAL}, in a folder that "
            "all workers see, or the URL of a database, such as sqlite:///tune.db or "
            "postgresql://user:password@host/name"
        )
    return StudyPlace(str(Path(storage).expanduser().absolute()), name)


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
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def open_study(config: Any, place: StudyPlace) -> SharedStudy:
    """Opens a study, or makes it if it does not exist.

    Args:
      config: a whole jdann config as the user gave it. On several machines its relative paths
        stand for different folders, so the study keeps them relative.
      place: where the study is kept.

    Raises:
      InputError: the storage cannot be opened, or its study of this name has another config.
    """
    optuna = import_optuna()
    higher_is_better = selection.CRITERIA[config.tune.criterion].higher_is_better
    try:
        storage = _make_storage(place.storage)
        study = optuna.create_study(
            storage=storage,
            study_name=place.name,
            load_if_exists=True,
            direction="maximize" if higher_is_better else "minimize",
        )
    except InputError:
        raise
    except Exception as error:  # the type depends on the database's driver
        reason = str(error).splitlines()[0] if str(error) else ""
        password = _PASSWORD.search(place.storage)
        if password and password[2]:
            reason = reason.replace(password[2], "***")
        raise InputError(
            f"--storage: {place} cannot be opened ({type(error).__name__}: {reason}); expected a "
            f"file that ends in {JOURNAL}, or a URL such as sqlite:///tune.db or "
            "postgresql://user:password@host/name, with its driver installed"
        ) from None
    _check_same_config(study, config, place)
    study.pruner = (
        optuna.pruners.MedianPruner(config.tune.prune_after)
        if config.tune.prune
        else optuna.pruners.NopPruner()
    )
    return SharedStudy(study, storage, place)


# How values are proposed: from a seed to an Optuna sampler.
SAMPLERS: Mapping[str, Callable[[int], Any]] = {
    "tpe": lambda seed: import_optuna().samplers.TPESampler(seed=seed),
    "random": lambda seed: import_optuna().samplers.RandomSampler(seed=seed),
}


def set_sampler(study: Any, config: Any, trial: int) -> None:
    """Gives a study the sampler of one trial: it depends on the trial's number, not on who asks."""
    seed = np.random.SeedSequence([config.seed, trial]).generate_state(1)[0]
    make = pick(SAMPLERS, config.tune.sampler, "config.tune.sampler")
    study.sampler = make(int(seed))


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


def _make_storage(storage: str) -> Any:
    if storage.endswith(JOURNAL) and "://" not in storage:
        return _make_journal(Path(storage))
    engine_arguments = {}
    if storage.startswith("sqlite"):
        engine_arguments = {"connect_args": {"timeout": _LOCK_TIMEOUT_S}}
        if storage.startswith(_SQLITE):
            Path(storage.removeprefix(_SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    return import_optuna().storages.RDBStorage(storage, engine_arguments)


def _make_journal(path: Path) -> Any:
    """A storage that is one file in a folder which several machines may see."""
    from optuna.storages import journal  # an optional dependency, as in `import_optuna`

    class MendingLock(journal.JournalFileSymlinkLock):
        """Removes the part of a line that a writer left who was killed, or had a full disk.

        Nobody has read it. With the next line behind it, nobody could read the journal any more.
        """

        def acquire(self) -> bool:
            acquired = super().acquire()
            _remove_unfinished_line(path)
            return acquired

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not _is_journal(path):
        raise InputError(f"{path}: holds something else than a study; give another file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna may warn that the journal is experimental
        backend = journal.JournalFileBackend(str(path), MendingLock(str(path)))
        return import_optuna().storages.JournalStorage(backend)


def _is_journal(path: Path) -> bool:
    with path.open("rb") as file:
        return _FIRST_WORD.startswith(file.read(len(_FIRST_WORD)))


def _remove_unfinished_line(path: Path) -> None:
    with path.open("rb+") as file:
        end = file.seek(0, 2)
        start = max(0, end - _LONGEST_LINE)
        file.seek(start)
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(start + tail.rfind(b"\n") + 1)


def finished_study(shared: SharedStudy, trials: int) -> Any:
    """A study in memory of the finished trials only, one attempt of each, in order.

    So what is computed from it does not depend on who ran which trial when.
    """
    optuna = import_optuna()
    study = optuna.create_study(direction=shared.study.direction)
    study.add_trials(finished(sort_attempts(shared.study), trials))
    return study


def log_trial(study: Any, number: int) -> None:
    """Logs the result of a trial, given by Optuna's number, and the best value so far."""
    trials = study.get_trials(deepcopy=False)
    newest = trials[number]
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
        best = f"; best {study.best_value:.4f}, trial {study.best_trial.user_attrs[TRIAL]}"
    log.info("trial %d: %s (%s)%s", newest.user_attrs[TRIAL], result, values, best)


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
