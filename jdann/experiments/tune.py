"""Tuning: Optuna searches a declared space for the config that a criterion prefers.

The criterion needs no target labels. A trial trains all seeds of the config in one program, fold
by fold and direction by direction. Nothing here is scored.
"""

import logging
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jdann import configuration, files, selection
from jdann.errors import DivergenceError, InputError
from jdann.experiments import workdir
from jdann.experiments.attempts import ATTEMPT, REASON, finished, sort_attempts
from jdann.experiments.corpus_paths import with_absolute_paths
from jdann.experiments.jobs import Job, plan_jobs
from jdann.experiments.owner import owned
from jdann.experiments.results import heading
from jdann.experiments.search_space import apply, parse, read_space
from jdann.experiments.settings import encoder_names
from jdann.experiments.study import (
    SAMPLERS,
    SharedStudy,
    find_place,
    finished_study,
    import_optuna,
    importance,
    open_study,
)
from jdann.experiments.train import open_directions
from jdann.experiments.trial import CHECKPOINT_PREFIX, make_objective
from jdann.experiments.worker_processes import work_in_processes
from jdann.experiments.workers import Worker, give_back_of, work
from jdann.figures import tuning
from jdann.parameters import pick, shown
from jdann.progress import track

log = logging.getLogger("jdann")


def tune(
    config: Any,
    path: Path,
    data_dir: Path,
    *,
    storage: str | None = None,
    study_name: str = "jdann",
    workers: int = 1,
) -> dict[str, Any]:
    """Searches until the config's number of trials is finished. A second call continues.

    Args:
      config: from `jdann.configuration.load_config`; `config.tune` declares the search.
      path: the work directory.
      data_dir: where prepared corpora and cached features are kept.
      storage: the URL of a database, or a file in a shared folder that ends in `.journal`; None:
        `tune.db` in the work directory.
      study_name: of the study in the storage.
      workers: the number of processes that run trials.

    Returns:
      What results.json holds.

    Raises:
      InputError: something that the user gave cannot be used, or Optuna is not installed.
      DivergenceError: no trial has a value.
    """
    begun = time.monotonic()
    import_optuna()
    if workers < 1:
        raise InputError(f"--workers is {workers}; expected at least 1")
    read_space(config)
    _check(config)
    place = find_place(storage, study_name, path / workdir.STUDY)
    with ExitStack() as stack:
        stack.enter_context(owned(path))
        _check_directory(path, config)
        stack.enter_context(workdir.log_to(path))
        directions = open_directions(config, data_dir, path)
        _check_splits(config, plan_jobs(config, directions))
        workdir.begin(path, config)
        shared = open_study(config, place)
        command = f"{socket.gethostname()}:{path.absolute()}"
        give_back_of(shared, command)  # an earlier command in this directory was killed
        remaining = config.tune.trials - _count_finished(shared, config)
        log.info("%s: %d of %d trials are left", place, remaining, config.tune.trials)
        if workers == 1:
            objective = make_objective(config, path, data_dir, directions)
            steps = work(shared, config, objective, Worker(command, 0))
        else:
            count = min(workers, remaining)
            steps = work_in_processes(shared, config, path, data_dir, command, count)
        for _ in track(_newly_finished(shared, config, steps), "Tuning", remaining, "trials"):
            pass
        for folder in (path / workdir.CHECKPOINTS).glob(f"{CHECKPOINT_PREFIX}*"):
            shutil.rmtree(folder, ignore_errors=True)  # of trials that another worker finished
        study = finished_study(shared, config.tune.trials)
        config = with_absolute_paths(config)
        results = heading(config, directions) | summarise(study, config, str(place))
        results["seconds"] = round(time.monotonic() - begun, 1)
        _write(path, study, config, results)
        return results


def _count_finished(shared: SharedStudy, config: Any) -> int:
    return len(finished(sort_attempts(shared.study), config.tune.trials))


def _newly_finished(shared: SharedStudy, config: Any, steps: Iterable[None]) -> Iterator[None]:
    """Yields once per trial that is finished while steps are made, by whatever worker."""
    reported = _count_finished(shared, config)
    for _ in steps:
        count = _count_finished(shared, config)
        for _ in range(count - reported):
            yield
        reported = count


def _check(config: Any) -> None:
    """Refuses what can be refused before a corpus is read."""
    criterion = config.tune.criterion
    if criterion not in selection.CRITERIA:
        raise InputError(
            f"config.tune.criterion is {shown(criterion)}; choose one of "
            f"{', '.join(selection.CRITERIA)}"
        )
    pick(SAMPLERS, config.tune.sampler, "config.tune.sampler")
    if config.tune.trials < 1:
        raise InputError(f"config.tune.trials is {config.tune.trials}; expected at least 1")
    methods, encoders = tuple(config.methods), encoder_names(config)
    if len(methods) != 1 or "supervised" in methods or len(encoders) != 1:
        raise InputError(
            f"config.methods is {methods} and config.encoder.name {config.encoder.name!r}; tune "
            "one method that adapts, with one encoder, at a time: --config.methods=dann "
            "--config.encoder.name=conv1d"
        )


def _check_splits(config: Any, planned: Sequence[Job]) -> None:
    """Refuses a criterion that needs held-out source where nothing is held out."""
    needs_labels = "source_emotion" in selection.CRITERIA[config.tune.criterion].needs
    nothing_held_out = any(not len(split.validation) for job in planned for split in job.splits)
    if needs_labels and nothing_held_out:
        raise InputError(
            f"config.tune.criterion is {config.tune.criterion!r}, which needs labelled source that "
            "is not trained on; set --config.validation_fraction above 0, or choose a criterion "
            "that looks at the target alone"
        )


def _check_directory(path: Path, config: Any) -> None:
    """Refuses a work directory of another command or config; the number of trials may differ."""
    folders = path.glob(f"{workdir.CHECKPOINTS}/*")
    other_trainings = any(not f.name.startswith(CHECKPOINT_PREFIX) for f in folders)
    if other_trainings or (path / workdir.PREDICTIONS).exists():
        raise InputError(
            f"{path}: holds a run of another command; give tuning a --workdir of its own"
        )
    if (path / workdir.CONFIG).exists():
        before = workdir.read_json(path / workdir.CONFIG)
        if "tune" in before:
            config = apply(config, {"tune.trials": before["tune"]["trials"]})
    workdir.check(path, config, resume=True, overwrite=False)


def summarise(study: Any, config: Any, place: str) -> dict[str, Any]:
    """What results.json says about a study of finished trials.

    Raises:
      DivergenceError: no trial has a value.
    """
    trials = study.get_trials(deepcopy=False)
    if not any(t.state.name == "COMPLETE" for t in trials):
        reasons = [t.user_attrs[REASON] for t in trials if REASON in t.user_attrs]
        reason = reasons[-1] if reasons else "none was finished"
        raise DivergenceError(
            f"{place}: no trial came to a value ({reason}); narrow config.tune.space"
        )
    best = study.best_trial
    return {
        "kind": "tune",
        "study": place,
        "criterion": config.tune.criterion,
        "higher_is_better": selection.CRITERIA[config.tune.criterion].higher_is_better,
        "trials": {
            name: sum(t.state.name == name.upper() for t in trials)
            for name in ("complete", "pruned", "fail")
        },
        "best": {
            "number": best.number,
            "value": best.value,
            "values": parse(best.params, read_space(config)),
        },
        "importance": importance(study),
    }


def _write(path: Path, study: Any, config: Any, results: dict[str, Any]) -> None:
    """Writes trials.csv, best.json, the figures and results.json."""
    keys = [dimension.key for dimension in read_space(config)]
    columns = (
        "number",
        "state",
        config.tune.criterion,
        "seconds",
        "records",
        "attempts",
        "why",
        *keys,
    )
    rows = [_trial_row(trial, keys) for trial in study.get_trials(deepcopy=False)]
    files.write_csv(path / "trials.csv", columns, rows)
    best = apply(config, {**results["best"]["values"], "tune.space": ()})
    files.write_json(path / "best.json", configuration.to_dict(best))
    tuning.draw(path / workdir.FIGURES, results, [(row[0], row[1], row[2]) for row in rows])
    files.write_json(path / workdir.RESULTS, results)


def _trial_row(trial: Any, keys: Sequence[str]) -> tuple[Any, ...]:
    """A row of trials.csv."""
    seconds = None
    if trial.datetime_complete and trial.datetime_start:
        seconds = (trial.datetime_complete - trial.datetime_start).total_seconds()
    return (
        trial.number,
        trial.state.name.lower(),
        trial.value if trial.state.name == "COMPLETE" else None,
        seconds,
        len(trial.intermediate_values),
        trial.user_attrs[ATTEMPT] + 1,
        trial.user_attrs.get(REASON),
        *(trial.params.get(key) for key in keys),
    )
