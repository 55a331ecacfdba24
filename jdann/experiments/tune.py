"""Tuning: Optuna searches a config's declared space for what a criterion without target labels prefers.

A trial trains all of the config's seeds in one program, fold by fold, direction by direction. Nothing here scores anything.
"""

import json
import logging
import multiprocessing
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import FrozenConfigDict

from jdann import configuration, files, selection
from jdann.data.pairs import Direction
from jdann.errors import DivergenceError, InputError
from jdann.experiments import jobs, workdir
from jdann.experiments.results import heading
from jdann.experiments.search_space import apply, parse, propose, read_space
from jdann.experiments.settings import encoder_names, make_members
from jdann.experiments.study import Place, finished, import_optuna, importance, open_study, tell
from jdann.experiments.train import open_directions
from jdann.figures import tuning
from jdann.progress import silenced, track
from jdann.training import loop

log = logging.getLogger("jdann")
_POLL_S = 0.5
_STEPS_PER_TRAINING = 10**6  # of a pruner: fine enough to tell any two epochs apart


def tune(
    config: Any,
    path: Path,
    data_dir: Path,
    *,
    storage: str | None = None,
    study_name: str = "jdann",
    workers: int = 1,
) -> dict[str, Any]:
    """Searches until the config's number of trials is finished; running it again continues.

    Args:
      config: from `jdann.configuration.load_config`; `config.tune` says where to look, and what for.
      path: the work directory.
      data_dir: where prepared corpora and cached features live.
      storage: an Optuna storage URL; None: `tune.db` in the work directory.
      study_name: of the study in the storage.
      workers: processes that try side by side.

    Returns:
      What results.json holds.

    Raises:
      InputError: something given cannot be used, or Optuna is not installed.
      DivergenceError: no trial came to a value.
    """
    begun = time.monotonic()
    import_optuna()
    if workers < 1:
        raise InputError(f"--workers is {workers}; expected at least 1")
    read_space(config)
    _check(config)
    _check_directory(path, config)
    place = Place(storage or f"sqlite:///{(path / 'tune.db').absolute()}", study_name)
    with workdir.log_to(path):
        directions = open_directions(config, data_dir, path)
        _check_splits(config, jobs.plan_jobs(config, directions))
        workdir.begin(path, config, overwrite=False)
        study = open_study(config, place)
        left = config.tune.trials - finished(study)
        log.info("%s: %d of %d trials are left", place, max(left, 0), config.tune.trials)
        if workers == 1:
            objective = _objective(config, path, data_dir, directions)
            for _ in track(range(left), "Tuning", max(left, 0), "trials"):
                with silenced():
                    study.optimize(objective, n_trials=1)
                tell(study)
        elif left > 0:
            _work_side_by_side(config, path, data_dir, place, left, workers, study)
        results = heading(config, directions) | summarise(study, config, str(place))
        results["seconds"] = round(time.monotonic() - begun, 1)
        _write(path, study, config, results)
        return results


def _check(config: Any) -> None:
    """Refuses what can be told before a corpus is looked at."""
    criterion = config.tune.criterion
    if criterion not in selection.CRITERIA:
        raise InputError(
            f"config.tune.criterion is {criterion!r}; choose one of {', '.join(selection.CRITERIA)}"
        )
    if config.tune.trials < 1:
        raise InputError(f"config.tune.trials is {config.tune.trials}; expected at least 1")
    if (
        len(config.methods) != 1
        or "supervised" in config.methods
        or len(encoder_names(config)) != 1
    ):
        raise InputError(
            f"config.methods is {tuple(config.methods)} and config.encoder.name {config.encoder.name!r}; tune one method that "
            "adapts, with one encoder, at a time: --config.methods=dann --config.encoder.name=conv1d"
        )


def _check_splits(config: Any, planned: list[jobs.Job]) -> None:
    needs = selection.CRITERIA[config.tune.criterion].needs
    if "source_emotion" in needs and any(
        not len(split.validation) for job in planned for split in job.splits
    ):
        raise InputError(
            f"config.tune.criterion is {config.tune.criterion!r}, which needs labelled source that is not trained on; set "
            "--config.validation_fraction above 0, or choose a criterion that looks at the target alone"
        )


def _check_directory(path: Path, config: Any) -> None:
    """A work directory belongs to one config; the number of trials alone may be raised later."""
    if any((path / "checkpoints").glob("[0-9s]*")) or (path / "predictions.csv").exists():
        raise InputError(
            f"{path}: holds a run of another command; give tuning a --workdir of its own"
        )
    mine = config
    if (path / "config.json").exists():
        theirs = workdir.read_json(path / "config.json")
        if "tune" in theirs:
            mine = apply(config, {"tune.trials": theirs["tune"]["trials"]})
    workdir.check(path, mine, resume=True, overwrite=False)


def _objective(config: Any, path: Path, data_dir: Path, directions: list[Direction]) -> Any:
    """A trial's value: the criterion's mean over seeds, folds and directions, at the records that the config selects."""
    from optuna import TrialPruned

    space, opened = read_space(config), {_features_of(config): directions}

    def objective(trial: Any) -> float:
        changed = apply(config, propose(trial, space))
        if _features_of(changed) not in opened:
            opened.clear()  # one set of features fits into memory
            opened[_features_of(changed)] = open_directions(changed, data_dir)
        at = opened[_features_of(changed)]
        folder = path / "checkpoints" / f"trial-{trial.user_attrs.get('first', trial.number)}"
        try:
            value = _train(trial, changed, at, folder)
        except DivergenceError as error:
            trial.set_user_attr("why", f"diverged: {error}")
            raise TrialPruned from None  # the sampler then avoids its like
        except TrialPruned:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
        return value

    return objective


def _features_of(config: Any) -> str:
    """What the features depend on, of the keys that a space may name."""
    return json.dumps(
        [configuration.to_dict(config.audio), configuration.to_dict(config.features)],
        sort_keys=True,
    )


def _train(trial: Any, config: Any, directions: list[Direction], folder: Path) -> float:
    """Trains all of a trial's seeds, folds and directions; reports at every record, and stops where the pruner says so."""
    from optuna import TrialPruned

    name, finals = config.tune.criterion, []
    for job in jobs.plan_jobs(config, directions):
        direction = directions[job.direction]
        training, budget = jobs.make_job_training(job, direction, config)
        for split in job.splits:

            def on_record(
                epoch: int, criteria: dict[str, np.ndarray], epochs: int = budget.epochs
            ) -> None:
                value = float(np.mean(criteria[name]))
                if not np.isfinite(value):
                    trial.set_user_attr("why", f"a seed diverged, or {name} has no value")
                    raise TrialPruned
                trial.report(
                    float(np.mean([*finals, value])), _pruning_step(len(finals), epoch, epochs)
                )
                _stop_without_parent()
                if trial.should_prune():
                    trial.set_user_attr(
                        "why", f"pruned in training {len(finals) + 1} at epoch {epoch}"
                    )
                    raise TrialPruned

            task = jobs.make_task(job, split, direction)
            fitted = loop.fit(
                training,
                task,
                budget,
                make_members(config),
                folder / job.folder(split),
                selection=config.selection,
                on_record=on_record,
            )
            values = fitted.criteria[name]  # [records, seeds]
            by = config.selection
            at = (
                np.full(config.seeds, len(values) - 1)
                if by == "last"
                else selection.choose(fitted.criteria[by], by)
            )
            finals.append(float(values[at, np.arange(len(at))].mean()))
    return float(np.mean(finals))


def _pruning_step(trainings: int, epoch: int, epochs: int) -> int:
    """How much of a trial is done, as a whole number that trials of other lengths share.

    Optuna's pruner compares trials at equal steps, and a search space may contain `epochs`.
    """
    return _STEPS_PER_TRAINING * trainings + _STEPS_PER_TRAINING * epoch // epochs


def _stop_without_parent() -> None:
    """Ends a worker whose parent was killed; its trial is tried again by the next run."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        sys.exit(1)


def _work_side_by_side(
    config: Any, path: Path, data_dir: Path, place: Place, trials: int, workers: int, study: Any
) -> None:
    """Shares trials out to worker processes and shows how many are finished."""
    parts = [trials // workers + (w < trials % workers) for w in range(workers)]
    given = (configuration.to_dict(config), path, data_dir, place)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_work, *given, w, part) for w, part in enumerate(parts) if part]
        try:
            for _ in track(_finishing(study, futures), "Tuning", trials, "trials"):
                pass
            for future in futures:
                future.result()
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise


def _finishing(study: Any, futures: list[Future[None]]) -> Iterator[None]:
    """Yields once for each trial that is finished, until all workers are done or one has failed."""
    said = finished(study)
    while True:
        running = [future for future in futures if not future.done()]
        failed = [future for future in futures if future.done() and future.exception() is not None]
        now = finished(study)
        for _ in range(now - said):
            yield
        said = now
        if failed or not running:
            return
        time.sleep(_POLL_S)


def _work(
    config: dict[str, Any], path: Path, data_dir: Path, place: Place, worker: int, trials: int
) -> None:
    """A worker process: makes its share of the trials."""
    log.setLevel(logging.INFO)
    log.propagate = False
    with workdir.log_to(path, f"worker-{worker}.log"), silenced():
        frozen = FrozenConfigDict(configuration.tuples(config))
        directions = open_directions(frozen, data_dir)
        study = open_study(frozen, place, worker)
        objective = _objective(frozen, path, data_dir, directions)
        for _ in range(trials):
            study.optimize(objective, n_trials=1)
            tell(study)


def summarise(study: Any, config: Any, place: str) -> dict[str, Any]:
    """What a study found.

    Raises:
      DivergenceError: no trial came to a value.
    """
    trials = study.get_trials(deepcopy=False)
    complete = [t for t in trials if t.state.name == "COMPLETE"]
    if not complete:
        why = next(
            (t.user_attrs["why"] for t in reversed(trials) if "why" in t.user_attrs),
            "none was finished",
        )
        raise DivergenceError(
            f"{place}: no trial came to a value ({why}); narrow config.tune.space"
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
    space = read_space(config)
    keys = [dimension.key for dimension in space]
    rows = []
    for t in study.get_trials(deepcopy=False):
        seconds = (
            (t.datetime_complete - t.datetime_start).total_seconds()
            if t.datetime_complete and t.datetime_start
            else None
        )
        value = t.value if t.state.name == "COMPLETE" else None
        steps = len(t.intermediate_values)
        why = t.user_attrs.get("why")
        rows.append(
            (
                t.number,
                t.state.name.lower(),
                value,
                seconds,
                steps,
                why,
                *(t.params.get(k) for k in keys),
            )
        )
    files.write_csv(
        path / "trials.csv",
        ("number", "state", config.tune.criterion, "seconds", "records", "why", *keys),
        rows,
    )
    best = apply(config, {**results["best"]["values"], "tune.space": ()})
    files.write_json(path / "best.json", configuration.to_dict(best))
    tuning.draw(path / "figures", results, [(row[0], row[1], row[2]) for row in rows])
    files.write_json(path / "results.json", results)
