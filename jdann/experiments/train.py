"""The main job, start to end: a config in, a work directory with results, predictions, figures and checkpoints out."""

import errno
import logging
import platform
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from jdann import configuration, corpora, files
from jdann.data.pairs import Direction, Domain, check_failures, load_domain, make_direction
from jdann.evaluation import metrics
from jdann.experiments import draw, jobs, workdir
from jdann.experiments.jobs import Job, Outcome
from jdann.experiments.package import keep, versions
from jdann.training import loop
from jdann.training.step import Train

log = logging.getLogger("jdann")
_LEAST_FREE_BYTES = 2**23


def run(
    config: Any, path: Path, data_dir: Path, *, resume: bool = False, overwrite: bool = False
) -> dict[str, Any]:
    """Trains, evaluates and reports everything that a config names.

    Args:
      config: from `jdann.configuration.load_config`.
      path: the work directory.
      data_dir: where prepared corpora and cached features live.
      resume: continue the run of the same config in `path`.
      overwrite: replace a run in `path`.

    Returns:
      What results.json holds.

    Raises:
      InputError: something given cannot be used.
      DivergenceError: training left the finite numbers.
    """
    begun = time.monotonic()
    workdir.check(path, config, resume, overwrite)
    with workdir.log_to(path):
        directions = open_directions(config, data_dir, path)
        planned = jobs.plan_jobs(config, directions)
        workdir.begin(path, config, overwrite)
        for i, direction in enumerate(directions):
            workdir.save_statistics(path / f"normalisation-{i}.npz", direction)
        draw.corpora(path / "figures", directions, config.emotions)
        outcomes, history = _train(config, directions, planned, path)
        results = summarise(config, directions, outcomes)
        results["seconds"] = round(time.monotonic() - begun, 1)
        write_predictions(path, config, directions, outcomes)
        if not results["scored"]:
            log.info(
                "nothing could be scored, the target having no labels; its predictions are in predictions.csv"
            )
        draw.outcomes(path / "figures", directions, outcomes, results, history, config.tsne)
        files.write_json(path / "results.json", results)
        return results


def open_directions(config: Any, data_dir: Path, path: Path | None = None) -> list[Direction]:
    """Loads both corpora and pairs them, in one direction or both; says what the user must know of them.

    Args:
      config: names them.
      data_dir: where prepared corpora and cached features live.
      path: a work directory to write skipped.csv to; None: nowhere.
    """
    specs = (config.source, config.target)
    both = [
        corpora.load_all(spec, tuple(config.emotions), data_dir) for spec in specs
    ]  # mistakes in either, before any work
    if both[0].name == both[1].name:  # two manifests of one name in different folders
        both = [corpus._replace(name=str(spec)) for corpus, spec in zip(both, specs, strict=True)]
    domains = [load_domain(corpus, config, data_dir) for corpus in both]
    if path is not None:
        workdir.write_skipped(path, domains)
    for domain in domains:
        check_failures(domain, config.max_failed_fraction)
        _describe(domain)
    source, target = domains
    directions = [make_direction(source, target, config)]
    if config.both_directions:
        directions.append(make_direction(target, source, config, opposite=directions[0]))
    return directions


def _describe(domain: Domain) -> None:
    features = domain.features
    speakers = len({s for s in domain.speaker if s is not None})
    minutes = features.duration_s.sum() / 60
    log.info(
        "%s: %s, %d utterances, %s, %.1f minutes",
        domain.corpus.name, domain.corpus.description, len(features.utterances),
        f"{speakers} speakers" if speakers else "speakers unknown", minutes,
    )  # fmt: skip
    if domain.corpus.outside:
        counts = ", ".join(f"{label} {count}" for label, count in domain.corpus.outside)
        log.info("%s: left out, being outside the chosen emotions: %s", domain.corpus.name, counts)
    if features.skipped:
        log.warning(
            "%s: %d files could not be used; skipped.csv says why",
            domain.corpus.name,
            len(features.skipped),
        )
    for note in domain.notes:
        log.info("%s: %s", domain.corpus.name, note)


def _train(
    config: Any, directions: list[Direction], planned: list[Job], path: Path
) -> tuple[list[Outcome], list[dict[str, Any]]]:
    """Runs all planned jobs; returns their outcomes and the rows of history.csv."""
    from tensorboardX import SummaryWriter

    history: list[dict[str, Any]] = []
    outcomes = []
    for order, job in enumerate(planned):
        direction = directions[job.direction]
        names = (direction.source.corpus.name, direction.target.corpus.name)
        steps = loop.budget(config, list(job.splits), jobs.make_job_method(job, config)).steps
        writers = {
            s.name: SummaryWriter(str(path / "tensorboard" / job.folder(s)), purge_step=1)
            for s in job.splits
        }

        def on_epoch(
            split: str,
            epoch: int,
            means: dict[str, np.ndarray],
            job: Job = job,
            names: tuple[str, str] = names,
            steps: int = steps,
            writers: dict[str, Any] = writers,
        ) -> None:
            seeds = jobs.seeds(config)
            history.extend(
                workdir.history_rows(
                    names, job.encoder, job.method, split, seeds, epoch, steps, means
                )
            )
            if (
                shutil.disk_usage(path).free < _LEAST_FREE_BYTES
            ):  # the event writer would wait for room for ever
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            for name, values in means.items():
                if np.isfinite(values).all():
                    writers[split].add_scalar(name, float(values.mean()), epoch)

        def on_fitted(
            train: Train,
            fitted: list[loop.Fitted],
            job: Job = job,
            direction: Direction = direction,
            order: int = order,
        ) -> None:
            keep(path, job, direction, config, train, fitted, order)

        try:
            outcomes.append(
                jobs.run_job(job, direction, config, path / "checkpoints", on_epoch, on_fitted)
            )
        finally:
            for writer in writers.values():
                writer.close()
            workdir.write_history(path / "history.csv", history)
    return outcomes, history


def summarise(
    config: Any, directions: Sequence[Direction], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """Scores outcomes: what results.json holds, but for the seconds.

    Target labels are read here, after all training, and nowhere before but in the supervised ceiling.
    """
    rows, shares, diagnostics, selections = [], [], [], []
    for outcome in outcomes:
        direction = directions[outcome.job.direction]
        rows += jobs.result_rows(outcome, direction, config)
        of = {"source": direction.source.corpus.name, "target": direction.target.corpus.name,
              "method": outcome.job.method, "encoder": outcome.job.encoder}  # fmt: skip
        selections += [of | row for row in jobs.selection_rows(outcome, direction)]
        logits = outcome.logits[-1][:, outcome.tested]
        within = outcome.job.method in jobs.SUPERVISED
        shares.append(
            _share(
                config,
                direction,
                outcome.job.method,
                outcome.job.encoder,
                metrics.mean_probabilities(logits).argmax(-1),
            )
        )
        diagnostics.append(
            of
            | {
                "a_distance": None
                if within
                else metrics.a_distance(*outcome.representation, seed=0)
            }
        )
    if config.baseline:
        for direction in directions:
            predicted = jobs.baseline_predictions(direction, config)
            if predicted is None:
                continue
            shares.append(_share(config, direction, jobs.BASELINE, "-", predicted))
            scores = metrics.score(
                direction.target.emotion, predicted, direction.target.speaker, len(config.emotions)
            )
            if scores is not None:
                names = (direction.source.corpus.name, direction.target.corpus.name)
                rows.append(
                    metrics.row(
                        jobs.BASELINE, "-", names, "last", "transductive", [scores], config.emotions
                    )
                )
    _add_gains(rows)
    return heading(config, directions) | {
        "scored": bool(rows),
        "rows": rows,
        "selection": selections,
        "predicted_share": shares,
        "diagnostics": diagnostics,
    }


def heading(config: Any, directions: Sequence[Direction]) -> dict[str, Any]:
    """What results.json says of any run: what was trained on what, from which config, with which versions, where and when."""
    notes = _notes(directions, config)
    for note in notes:
        log.info(note)
    return {
        "schema": 1,
        "title": _title(directions),
        "synthetic": any(
            d.source.corpus.synthetic or d.target.corpus.synthetic for d in directions
        ),
        "protocol": config.protocol,
        "normalise": config.features.normalise,
        "seeds": list(jobs.seeds(config)),
        "emotions": list(config.emotions),
        "directions": [
            {"source": _counts(d.source, config), "target": _counts(d.target, config)}
            for d in directions
        ],
        "notes": notes,
        "config": configuration.to_dict(config),
        "versions": versions(),
        "machine": f"{platform.machine()}, {_devices()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def _notes(directions: Sequence[Direction], config: Any) -> list[str]:
    """What a reader of the figures has to know of how they came about."""
    notes = []
    for direction in directions:
        absent = [
            name
            for i, name in enumerate(config.emotions)
            if not (direction.source.emotion == i).any()
        ]
        if absent:
            notes.append(
                f"{direction.source.corpus.name}: has no utterance labelled {' or '.join(absent)}: nothing trained on it "
                "recognises that; leave it out of config.emotions unless the target's recall of it is to count as 0"
            )
        outside = sum(count for _, count in direction.target.corpus.outside)
        if outside:
            notes.append(
                f"{direction.target.corpus.name}: {outside} utterances labelled outside the chosen emotions were left out of "
                "adaptation too; a target without labels would have contained them"
            )
    if config.protocol == "inductive" and config.features.normalise in ("voice", "corpus"):
        notes.append(
            "inductive: the target's statistics, of its corpus, include the audio of the speakers that are scored"
        )
    return notes


def _title(directions: Sequence[Direction]) -> str:
    first = directions[0]
    arrow = "<->" if len(directions) > 1 else "->"
    return f"{first.source.corpus.description} {arrow} {first.target.corpus.description}"


def _counts(domain: Domain, config: Any) -> dict[str, Any]:
    def count(values: Sequence[Any]) -> dict[str, int]:
        names, counts = np.unique(
            [str(v) if v is not None else "unknown" for v in values], return_counts=True
        )
        return {str(name): int(c) for name, c in zip(names, counts, strict=True)}

    per_emotion = count([config.emotions[e] if e >= 0 else "unlabelled" for e in domain.emotion])
    return {
        "name": domain.corpus.name,
        "description": domain.corpus.description,
        "utterances": len(domain.emotion),
        "minutes": round(float(domain.features.duration_s.sum()) / 60, 2),
        "per_emotion": per_emotion,
        "per_speaker": count(domain.speaker),
        "outside": dict(domain.corpus.outside),
        "skipped": len(domain.features.skipped),
        "notes": list(domain.notes),
    }


def _share(
    config: Any, direction: Direction, method: str, encoder: str, predicted: np.ndarray
) -> dict[str, Any]:
    share = np.bincount(predicted, minlength=len(config.emotions)) / len(predicted)
    return {
        "method": method,
        "encoder": encoder,
        "source": direction.source.corpus.name,
        "target": direction.target.corpus.name,
        "share": dict(zip(config.emotions, share.tolist(), strict=True)),
    }


def _add_gains(rows: list[dict[str, Any]]) -> None:
    """Adds to each adapted row its gain in UAR over source_only, seed by seed."""

    def same(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[k] for k in ("encoder", "source", "target", "selection", "protocol"))

    reference = {same(row): row for row in rows if row["method"] == "source_only"}
    for row in rows:
        other = reference.get(same(row))
        if other is not None and other is not row:
            row["uar_gain"] = metrics.paired_gain(row["uar"]["values"], other["uar"]["values"])


def write_predictions(
    path: Path, config: Any, directions: Sequence[Direction], outcomes: Sequence[Outcome]
) -> None:
    """Writes predictions.csv: every tested target utterance with each method's probabilities, the mean over seeds."""
    rows = []
    for outcome in outcomes:
        direction = directions[outcome.job.direction]
        rows += workdir.prediction_rows(
            direction,
            outcome.job.method,
            outcome.job.encoder,
            outcome.logits[-1],
            outcome.tested,
            config.emotions,
        )
    files.write_csv(path / "predictions.csv", workdir.prediction_columns(config.emotions), rows)


def _devices() -> str:
    import jax

    return ", ".join(sorted({d.device_kind for d in jax.devices()}))
