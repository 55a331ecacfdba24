"""Tuning: Optuna searches a declared space for the config that a criterion prefers.

The criterion needs no target labels. A trial trains all seeds of the config in one program, fold
by fold and direction by direction. Nothing here is scored.
"""

import logging
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ml_collections import FrozenConfigDict

from jdann import configuration, files, interruption, jax_cache, selection
from jdann.errors import DivergenceError, InputError
from jdann.experiments import jobs, workdir
from jdann.experiments.corpus_paths import with_absolute_paths
from jdann.experiments.owner import owned
from jdann.experiments.results import heading
from jdann.experiments.search_space import apply, parse, read_space
from jdann.experiments.settings import encoder_names
from jdann.experiments.study import (
    REASON,
    StudyPlace,
    count_finished,
    import_optuna,
    importance,
    log_newest,
    open_study,
)
from jdann.experiments.train import open_directions
from jdann.experiments.trial import CHECKPOINT_PREFIX, make_objective
from jdann.figures import tuning
from jdann.parameters import shown
from jdann.progress import silenced, track

log = logging.getLogger("jdann")
_POLL_S = 0.5


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
      storage: an Optuna storage URL; None: `tune.db` in the work directory.
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
    place = StudyPlace(storage or f"sqlite:///{(path / workdir.STUDY).absolute()}", study_name)
    with ExitStack() as stack:
        stack.enter_context(owned(path))
        _check_directory(path, config)
        stack.enter_context(workdir.log_to(path))
        directions = open_directions(config, data_dir, path)
        _check_splits(config, jobs.plan_jobs(config, directions))
        workdir.begin(path, config)
        study = open_study(config, place)
        remaining = max(config.tune.trials - count_finished(study), 0)
        log.info("%s: %d of %d trials are left", place, remaining, config.tune.trials)
        if workers == 1:
            objective = make_objective(config, path, data_dir, directions)
            for _ in track(range(remaining), "Tuning", remaining, "trials"):
                with silenced():
                    study.optimize(objective, n_trials=1)
                log_newest(study)
        elif remaining:
            _tune_in_processes(config, path, data_dir, place, remaining, workers, study)
        config = with_absolute_paths(config)
        results = heading(config, directions) | summarise(study, config, str(place))
        results["seconds"] = round(time.monotonic() - begun, 1)
        _write(path, study, config, results)
        return results


def _check(config: Any) -> None:
    """Refuses what can be refused before a corpus is read."""
    criterion = config.tune.criterion
    if criterion not in selection.CRITERIA:
        raise InputError(
            f"config.tune.criterion is {shown(criterion)}; choose one of "
            f"{', '.join(selection.CRITERIA)}"
        )
    if config.tune.trials < 1:
        raise InputError(f"config.tune.trials is {config.tune.trials}; expected at least 1")
    methods, encoders = tuple(config.methods), encoder_names(config)
    if len(methods) != 1 or "supervised" in methods or len(encoders) != 1:
        raise InputError(
            f"config.methods is {methods} and config.encoder.name {config.encoder.name!r}; tune "
            "one method that adapts, with one encoder, at a time: --config.methods=dann "
            "--config.encoder.name=conv1d"
        )


def _check_splits(config: Any, planned: Sequence[jobs.Job]) -> None:
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


def _tune_in_processes(
    config: Any,
    path: Path,
    data_dir: Path,
    place: StudyPlace,
    trials: int,
    workers: int,
    study: Any,
) -> None:
    """Distributes trials over worker processes, and shows how many are finished."""
    shares = [trials // workers + (w < trials % workers) for w in range(workers)]
    arguments = (configuration.to_dict(config), path, data_dir, place)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        with interruption.left_to_this_process():
            futures = [
                pool.submit(_run_worker, *arguments, w, share)
                for w, share in enumerate(shares)
                if share
            ]
        try:
            for _ in track(_wait_for_trials(study, futures), "Tuning", trials, "trials"):
                pass
            for future in futures:
                future.result()
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise


def _wait_for_trials(study: Any, futures: list[Future[None]]) -> Iterator[None]:
    """Yields once per finished trial, until all workers are done or one of them has failed."""
    reported = count_finished(study)
    while True:
        running = [future for future in futures if not future.done()]
        failed = [future for future in futures if future.done() and future.exception() is not None]
        finished = count_finished(study)
        for _ in range(finished - reported):
            yield
        reported = finished
        if failed or not running:
            return
        time.sleep(_POLL_S)


def _run_worker(
    values: dict[str, Any], path: Path, data_dir: Path, place: StudyPlace, worker: int, trials: int
) -> None:
    """A worker process: runs its share of the trials of a config, given as plain values."""
    jax_cache.remove_damaged()
    log.setLevel(logging.INFO)
    log.propagate = False
    with workdir.log_to(path, f"worker-{worker}.log"), silenced():
        config = FrozenConfigDict(configuration.tuples(values))
        directions = open_directions(config, data_dir)
        study = open_study(config, place, worker)
        objective = make_objective(config, path, data_dir, directions)
        for _ in range(trials):
            study.optimize(objective, n_trials=1)
            log_newest(study)


def summarise(study: Any, config: Any, place: str) -> dict[str, Any]:
    """What results.json says about a study.

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
    columns = ("number", "state", config.tune.criterion, "seconds", "records", "why", *keys)
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
        trial.user_attrs.get(REASON),
        *(trial.params.get(key) for key in keys),
    )
