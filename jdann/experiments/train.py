"""The main job, start to end: a config in, a work directory out."""

import errno
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from jdann import corpora, files
from jdann.cluster import processes
from jdann.corpora.index import Corpus
from jdann.data.pairs import (
    NO_LABELS,
    Direction,
    Domain,
    FeatureSettings,
    check_failures,
    load_domain,
    make_direction,
)
from jdann.data.target_labels import read_target_labels
from jdann.experiments import draw, results, workdir
from jdann.experiments.corpus_paths import with_absolute_paths
from jdann.experiments.job_training import make_job_budget
from jdann.experiments.jobs import Job, plan_jobs
from jdann.experiments.layers import Kept, with_chosen_layer
from jdann.experiments.matching import match_domains
from jdann.experiments.outcomes import Outcome, ignore_epoch, run_job
from jdann.experiments.package import find_familiarity, write_recogniser
from jdann.experiments.replaced import working_in
from jdann.experiments.settings import (
    check_recipe,
    features_folder,
    make_feature_settings,
    naming_of,
    seeds_of,
)
from jdann.experiments.together import check_same_run, check_shared
from jdann.training.members import CompiledTraining
from jdann.training.task import Fitted

log = logging.getLogger("jdann")
_MINIMUM_FREE_BYTES = 2**23
History = list[dict[str, Any]]  # rows of history.csv


def run(
    config: Any,
    path: Path,
    data_dir: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    domains: Sequence[Domain] | None = None,
) -> dict[str, Any]:
    """Trains, evaluates and reports everything that a config names.

    Args:
      config: from `jdann.configuration.load_config`.
      path: the work directory.
      data_dir: where prepared corpora and cached features are kept.
      resume: continue the run of the same config in `path`.
      overwrite: replace a run in `path`.
      domains: source and target that are loaded already; None: those that the config names.

    Returns:
      What results.json holds.

    Raises:
      InputError: something that the user gave cannot be used.
      DivergenceError: the training's numbers ceased to be finite.
    """
    begun = time.monotonic()
    config = with_absolute_paths(config)
    with processes.together(), ExitStack() as stack:
        check_same_run(config, path, resume=resume, overwrite=overwrite)
        if processes.is_first():
            stack.enter_context(working_in(path, config, resume=resume, overwrite=overwrite))
        log.info("runs on %s", processes.describe())
        directions = open_directions(config, data_dir, path, domains)
        planned = plan_jobs(config, directions)
        if resume:
            workdir.check_groups(path, directions)
        if processes.is_first():
            workdir.begin(path, config)
            workdir.save_statistics(path, directions)
            draw.corpora(path / "figures", directions, config.emotions)
        processes.wait_for_all()
        check_shared(path)
        outcomes, history = _train(config, directions, planned, path)
        if processes.is_first():
            return _report(config, path, directions, outcomes, history, begun)
    return workdir.read_json(path / workdir.RESULTS)  # when process 0 has written it


def _report(
    config: Any,
    path: Path,
    directions: list[Direction],
    outcomes: list[Outcome],
    history: History,
    begun: float,
) -> dict[str, Any]:
    """Writes what the trainings have reached; returns what results.json holds."""
    summary = results.summarise(config, directions, outcomes)
    summary["seconds"] = round(time.monotonic() - begun, 1)
    write_predictions(path, config, directions, outcomes)
    if not summary["scored"]:
        log.info(
            "nothing could be scored because the target has no labels; its predictions are "
            "in predictions.csv"
        )
    draw.outcomes(path / "figures", directions, outcomes, summary, history, config.tsne)
    files.write_json(path / workdir.RESULTS, summary)
    return summary


def open_directions(
    config: Any,
    data_dir: Path,
    path: Path | None = None,
    domains: Sequence[Domain] | None = None,
    run: Path | None = None,
) -> list[Direction]:
    """Loads both corpora and pairs them, in one direction or both.

    Args:
      config: names them.
      data_dir: where prepared corpora and cached features are kept.
      path: a work directory to write skipped.csv and layers.json to; None: nowhere.
      domains: source and target that are loaded already; None: those that the config names.
      run: the work directory of a run whose layers are used; None: `path`.
    """
    settings, cache = make_feature_settings(config), features_folder(data_dir)
    folder = path or run

    def choose_layer(source: Corpus, target: Corpus, direction: int) -> FeatureSettings:
        kept = None if folder is None else Kept(folder / workdir.LAYERS, direction)
        return with_chosen_layer(config, source, target, data_dir, kept)

    if domains is None:
        check_recipe(config)
        listed = _load_corpora(config, data_dir)
        settings = choose_layer(*listed, 0)
        domains = [load_domain(corpus, settings, cache) for corpus in listed]
    elif domains[0].recipe_settings:  # corpora in memory, for which a layer has been chosen
        settings = settings._replace(recipe_settings=domains[0].recipe_settings)
    if path is not None and processes.is_first():
        workdir.write_skipped(path, domains)
    for domain in domains:
        check_failures(domain, config.max_failed_fraction)
    source, target = domains
    labels = target.target_labels  # of a target in memory
    if config.target_labels:
        labels = read_target_labels(
            config.target_labels,
            target.features.utterances,
            config.emotions,
            data_dir,
            naming_of(config, "target"),
        )
    target = target._replace(target_labels=NO_LABELS)  # in the other direction it is the source
    there = match_domains(source, target, settings, config, data_dir)
    for domain in there:
        _describe(domain)
    directions = [make_direction(there[0], _with_labels(there[1], labels), settings)]
    if config.both_directions:
        of_way_back = choose_layer(target.corpus, source.corpus, 1)
        if of_way_back.recipe_settings != settings.recipe_settings:  # another layer
            source, target = (load_domain(d.corpus, of_way_back, cache) for d in (source, target))
        back = match_domains(target, source, of_way_back, config, data_dir)
        for domain, described in zip(back, reversed(there), strict=True):
            _log_notes(domain, [n for n in domain.all_notes if n not in described.all_notes])
        directions.append(make_direction(*back, of_way_back, opposite=directions[0]))
    return directions


def _with_labels(target: Domain, labels: np.ndarray) -> Domain:
    """The target with labels to train on, [n] or NO_LABELS."""
    count = int((labels >= 0).sum())
    if count:
        log.info("%s: %d utterances are trained on with labels", target.corpus.name, count)
    return target._replace(target_labels=labels)


def _load_corpora(config: Any, data_dir: Path) -> tuple[Corpus, Corpus]:
    """Lists both corpora, so that a mistake in either is found before any work."""
    with processes.first_ahead():  # a demo corpus is made when it is needed first
        source, target = (
            corpora.load_all(
                config[domain], tuple(config.emotions), data_dir, naming_of(config, domain)
            )
            for domain in ("source", "target")
        )
    if source.name != target.name:
        return source, target
    # Two manifests of one name in different folders: each is named with its folder.
    source_name, target_name = (
        "/".join(Path(spec).parts[-2:]) for spec in (config.source, config.target)
    )
    if source_name == target_name:
        source_name, target_name = config.source, config.target
    return source._replace(name=source_name), target._replace(name=target_name)


def _describe(domain: Domain) -> None:
    """Logs what a user has to know about a domain."""
    corpus, features = domain.corpus, domain.features
    speakers = len({s for s in domain.speaker if s is not None})
    log.info(
        "%s: %s, %d utterances, %s, %.1f minutes",
        corpus.name,
        corpus.description,
        len(features.utterances),
        f"{speakers} speakers" if speakers else "speakers unknown",
        features.duration_s.sum() / 60,
    )
    if corpus.excluded_emotions:
        counts = ", ".join(f"{label} {count}" for label, count in corpus.excluded_emotions)
        log.info("%s: left out, outside the chosen emotions: %s", corpus.name, counts)
    # `all_notes` names the clips without speech.
    count = sum(not clip.no_speech for clip in features.skipped)
    if count:
        log.warning("%s: %d files could not be used; skipped.csv says why", corpus.name, count)
    _log_notes(domain, domain.all_notes)


def _log_notes(domain: Domain, notes: Sequence[str]) -> None:
    for note in notes:
        log.info("%s: %s", domain.corpus.name, note)


def _train(
    config: Any, directions: list[Direction], planned: list[Job], path: Path
) -> tuple[list[Outcome], History]:
    """Runs all planned jobs; returns their outcomes and the rows of history.csv."""
    history: History = []
    outcomes = []
    familiarity = [find_familiarity(direction) for direction in directions]
    for order, job in enumerate(planned):
        direction = directions[job.direction]
        with _recording(path, job, direction, config, history) as on_epoch:

            def on_fitted(
                training: CompiledTraining,
                fitted: list[Fitted],
                job: Job = job,
                direction: Direction = direction,
                order: int = order,
            ) -> None:
                familiar = familiarity[job.direction]
                write_recogniser(path, job, direction, config, training, fitted, order, familiar)

            outcomes.append(
                run_job(job, direction, config, path / "checkpoints", on_epoch, on_fitted)
            )
    return outcomes, history


@contextmanager
def _recording(
    path: Path, job: Job, direction: Direction, config: Any, history: History
) -> Iterator[Callable[[str, int, dict[str, np.ndarray]], None]]:
    """A callback that adds epochs to the history and to TensorBoard; history.csv at the end."""
    if not processes.is_first():
        yield ignore_epoch
        return
    steps, seeds = make_job_budget(job, config).steps, seeds_of(config)
    writers = {
        split.name: SummaryWriter(str(path / "tensorboard" / job.folder(split)), purge_step=1)
        for split in job.splits
    }

    def on_epoch(split: str, epoch: int, values: dict[str, np.ndarray]) -> None:
        history.extend(
            results.history_rows(job, direction, split, seeds, epoch, epoch * steps, values)
        )
        # On a full disk the event writer would wait for ever.
        if shutil.disk_usage(path).free < _MINIMUM_FREE_BYTES:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        for name, per_seed in values.items():
            if np.isfinite(per_seed).all():
                writers[split].add_scalar(name, float(per_seed.mean()), epoch)

    try:
        yield on_epoch
    finally:
        for writer in writers.values():
            writer.close()
        workdir.write_history(path / "history.csv", history)


def write_predictions(
    path: Path, config: Any, directions: Sequence[Direction], outcomes: Sequence[Outcome]
) -> None:
    """Writes predictions.csv: each tested target utterance with each method's probabilities."""
    rows = [
        row
        for outcome in outcomes
        for row in results.prediction_rows(
            outcome, directions[outcome.job.direction], config.emotions
        )
    ]
    columns = results.prediction_columns(config.emotions)
    files.write_csv(path / "predictions.csv", columns, rows)
