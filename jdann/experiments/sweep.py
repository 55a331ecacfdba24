"""Sweeps: every seed at every combination of strength, learning rate and weight decay, trained in one program.

What a criterion without target labels would have chosen of them stands beside what labels would have.
"""

import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jdann import configuration, files, selection
from jdann.data.pairs import Direction
from jdann.errors import DivergenceError, InputError
from jdann.evaluation import metrics
from jdann.experiments import jobs, workdir
from jdann.experiments.jobs import Job, Outcome
from jdann.experiments.results import chosen_logits, heading
from jdann.experiments.search_space import apply
from jdann.experiments.settings import seeds_of
from jdann.experiments.train import open_directions
from jdann.figures import sweep as sweep_figures
from jdann.methods import Method
from jdann.training import loop
from jdann.training.members import Members
from jdann.training.state import Hyper

log = logging.getLogger("jdann")
HYPER = {
    "strength": "strength.maximum",
    "learning_rate": "optimiser.learning_rate",
    "weight_decay": "optimiser.weight_decay",
}
ANALYSIS = "analysis: needs target labels, which choose nothing"


class Point(NamedTuple):
    """One combination of hyper-parameters."""

    strength: float | None  # the largest lambda; None where the method has none
    learning_rate: float
    weight_decay: float

    def __str__(self) -> str:
        strength = "" if self.strength is None else f"strength {self.strength:g}, "
        return f"{strength}learning rate {self.learning_rate:g}, weight decay {self.weight_decay:g}"


class Swept(NamedTuple):
    """What a job's members say: members are every point with every seed, point by point."""

    outcome: Outcome
    points: tuple[Point, ...]
    seeds: tuple[int, ...]
    by: str  # how each member's record was chosen
    criteria: dict[
        str, np.ndarray
    ]  # [points, seeds] of the chosen records, the mean over folds; NaN where there is none
    scores: tuple[
        tuple[metrics.Scores | None, ...], ...
    ]  # [points][seeds], None where diverged or unlabelled

    @property
    def uar(self) -> np.ndarray:
        """[points, seeds], NaN where there is none."""
        return np.array(
            [[np.nan if s is None else s.uar for s in of_point] for of_point in self.scores]
        )


def sweep(
    config: Any, path: Path, data_dir: Path, *, resume: bool = False, overwrite: bool = False
) -> dict[str, Any]:
    """Trains all members of a sweep, method by method, direction by direction; reports what they reach and who chooses what.

    Args:
      config: from `jdann.configuration.load_config`; `config.sweep` says over what.
      path: the work directory.
      data_dir: where prepared corpora and cached features live.
      resume: continue the sweep of the same config in `path`; the outcome is that of an uninterrupted one.
      overwrite: replace what is in `path`.

    Returns:
      What results.json holds.

    Raises:
      InputError: something given cannot be used.
      DivergenceError: no member of any method stayed finite.
    """
    begun = time.monotonic()
    _check(config, path, overwrite)
    workdir.check(path, config, resume, overwrite)
    with workdir.log_to(path):
        directions = open_directions(config, data_dir, path)
        planned = [
            job for job in jobs.plan_jobs(config, directions) if job.method not in jobs.SUPERVISED
        ]
        if "supervised" in config.methods:
            log.info(
                "supervised is left out: it learns from the labels that a sweep has to do without"
            )
        if not planned:
            raise InputError("config.methods names nothing that adapts; add a method such as dann")
        workdir.begin(path, config, overwrite)
        swept, failed = [], []
        for job in planned:
            try:
                swept.append(
                    train_members(job, directions[job.direction], config, path / "checkpoints")
                )
            except DivergenceError as error:  # the other methods go on
                log.warning("%s", error)
                failed.append(str(error))
        if not swept:
            raise DivergenceError(failed[0])
        results = heading(config, directions) | {
            "kind": "sweep",
            "failed": failed,
            "rows": [],
            "choices": [],
        }
        table: list[tuple[Any, ...]] = []
        for one in swept:
            direction = directions[one.outcome.job.direction]
            results["rows"] += result_rows(one, direction)
            results["choices"] += choices(one, direction)
            table += member_rows(one, direction)
            write_best(path, one, config)
        results["scored"] = any(row["analysis"] for row in results["rows"])
        results["seconds"] = round(time.monotonic() - begun, 1)
        files.write_csv(path / "sweep.csv", _COLUMNS, table)
        sweep_figures.draw(path / "figures", results)
        files.write_json(path / "results.json", results)
        return results


def _check(config: Any, path: Path, overwrite: bool) -> None:
    if config.sweep.criterion not in selection.CRITERIA:
        known = ", ".join(selection.CRITERIA)
        raise InputError(
            f"config.sweep.criterion is {config.sweep.criterion!r}; choose one of {known}"
        )
    others = [p for p in path.glob("checkpoints/*") if not p.name.startswith("sweep-")]
    if others and not overwrite:
        raise InputError(f"{path}: holds a run of jdann train; give a sweep a --workdir of its own")


def grid(config: Any, method: Method) -> tuple[Point, ...]:
    """The points of a sweep; a method that never sees the target has no strength."""
    sweep = config.sweep
    strengths = (sweep.strength or (config.strength.maximum,)) if method.uses_target else (None,)
    rates = sweep.learning_rate or (config.optimiser.learning_rate,)
    decays = sweep.weight_decay or (config.optimiser.weight_decay,)
    return tuple(Point(*values) for values in itertools.product(strengths, rates, decays))


def train_members(job: Job, direction: Direction, config: Any, checkpoints: Path) -> Swept:
    """Trains a job's members in one program, or continues them.

    Raises:
      DivergenceError: none of them stays finite.
    """
    if config.selection == "last":  # the records before are read by nobody
        config = apply(config, {"evaluate_every": config.epochs})
    training, budget = jobs.make_job_training(job, direction, config)
    points, seeds = grid(config, training.program.method), seeds_of(config)
    pairs = [(point, seed) for point in points for seed in seeds]

    def per_member(name: str, default: float = 0.0) -> Any:
        values = [getattr(point, name) for point, _ in pairs]
        return jnp.asarray([default if v is None else v for v in values], jnp.float32)

    members = Members(
        seeds=tuple(seed for _, seed in pairs),
        hyper=Hyper(
            learning_rate=per_member("learning_rate"),
            weight_decay=per_member("weight_decay"),
            strength=per_member("strength", config.strength.maximum),
        ),
        names=tuple(f"seed {seed} at {point}" for point, seed in pairs),
    )
    fitted = []
    for split in job.splits:
        task = jobs.make_task(job, split, direction)
        log.info(
            "%s: %d epochs of %d steps, %d seeds x %d points",
            task.name,
            budget.epochs,
            budget.steps,
            len(seeds),
            len(points),
        )
        folder = checkpoints / f"sweep-{job.folder(split)}"
        fitted.append(loop.fit(training, task, budget, members, folder, selection=config.selection))
    outcome = jobs.join_splits(job, direction, fitted)
    return summarise(outcome, points, seeds, direction, config)


def summarise(
    outcome: Outcome,
    points: Sequence[Point],
    seeds: Sequence[int],
    direction: Direction,
    config: Any,
) -> Swept:
    """Criteria and scores of every member, at the record that the config's selection chooses."""
    shape = len(points), len(seeds)
    emotion = np.where(outcome.tested, direction.target.emotion, -1)
    by = config.selection
    logits = chosen_logits(outcome, by, emotion)
    if logits is None:
        log.warning("%s has no value here; the last epoch counts", by)
        by, logits = "last", outcome.logits[-1]
    finite = np.array([where is None for where in outcome.diverged])
    criteria = {}
    for name in selection.CRITERIA:
        of_splits = []
        for _, values in outcome.criteria:
            at = (
                np.full(len(finite), len(values[name]) - 1)
                if by == "last"
                else selection.choose(values[by], by)
            )
            of_splits.append(values[name][at, np.arange(len(at))])
        criteria[name] = np.where(finite, np.mean(of_splits, axis=0), np.nan).reshape(shape)
    scores = [
        metrics.score(emotion, of.argmax(-1), direction.target.speaker, len(config.emotions))
        if ok
        else None
        for of, ok in zip(logits, finite, strict=True)
    ]
    of_points = tuple(tuple(scores[p * shape[1] : (p + 1) * shape[1]]) for p in range(shape[0]))
    return Swept(outcome, tuple(points), tuple(seeds), by, criteria, of_points)


def _of(swept: Swept, direction: Direction) -> dict[str, Any]:
    job = swept.outcome.job
    names = direction.source.corpus.name, direction.target.corpus.name
    return {"method": job.method, "encoder": job.encoder, "source": names[0], "target": names[1]}


def _diverged(swept: Swept, point: int) -> dict[str, str]:
    """Seed and step of what diverged at a point."""
    n = len(swept.seeds)
    of = swept.outcome.diverged[point * n : (point + 1) * n]
    return {
        str(seed): where for seed, where in zip(swept.seeds, of, strict=True) if where is not None
    }


def result_rows(swept: Swept, direction: Direction) -> list[dict[str, Any]]:
    """A row of results.json for each point; what needs the target's labels stands under "analysis"."""
    rows = []
    for p, point in enumerate(swept.points):
        criteria = {
            name: values[p][np.isfinite(values[p])] for name, values in swept.criteria.items()
        }
        scores = [s for s in swept.scores[p] if s is not None]
        analysis = None
        if scores:
            analysis = {"label": ANALYSIS, "n": int(scores[0].confusion.sum())} | {
                name: metrics.summarise([getattr(s, name) for s in scores])
                for name in ("uar", "accuracy", "macro_f1")
            }
        rows.append(
            _of(swept, direction)
            | point._asdict()
            | {
                "selection": swept.by,
                "diverged": _diverged(swept, p),
                "criteria": {
                    name: metrics.summarise(values.tolist())
                    for name, values in criteria.items()
                    if len(values)
                },
                "analysis": analysis,
            }
        )
    return rows


def choose(swept: Swept, criterion: str) -> int | None:
    """The point that a criterion prefers by its mean over seeds; one with a diverged seed is passed over; None: it has no value."""
    mean = swept.criteria[criterion].mean(1, keepdims=True)  # [points, 1]
    return int(selection.choose(mean, criterion)[0]) if np.isfinite(mean).any() else None


def choices(swept: Swept, direction: Direction) -> list[dict[str, Any]]:
    """What each criterion would have chosen of all points, and last what the oracle would have, and a choice by lot."""
    uar, rows = swept.uar, []
    mean = uar.mean(1)  # [points], NaN where a seed diverged
    scored = bool(np.isfinite(mean).any())
    for name in selection.CRITERIA:
        p = choose(swept, name)
        if p is None:
            continue
        analysis = None
        if scored:
            analysis = {
                "label": ANALYSIS,
                "uar": metrics.summarise(uar[p].tolist()),
                "loss_to_oracle": float(np.nanmax(mean) - mean[p]),
                "rank_correlation": selection.rank_correlation(swept.criteria[name], uar, name),
            }
        rows.append(
            {"criterion": name, "achievable": True}
            | swept.points[p]._asdict()
            | {"analysis": analysis}
        )
    if scored:
        for name, p in (("oracle", int(np.nanargmax(mean))), ("by lot", None)):
            of = mean[np.isfinite(mean)] if p is None else uar[p]
            loss = float(np.nanmax(mean) - of.mean())
            analysis = {"label": ANALYSIS, "uar": metrics.summarise(of.tolist()), "loss_to_oracle": loss,
                        "rank_correlation": None}  # fmt: skip
            point = dict.fromkeys(Point._fields) if p is None else swept.points[p]._asdict()
            rows.append(
                {"criterion": name, "achievable": p is None} | point | {"analysis": analysis}
            )
    return [_of(swept, direction) | row for row in rows]


_SCORES = ("uar", "accuracy", "macro_f1")
_COLUMNS = ("method", "encoder", "source", "target", *Point._fields, "seed", "diverged", *selection.CRITERIA,
            *(f"{name} (analysis only)" for name in _SCORES))  # fmt: skip


def member_rows(swept: Swept, direction: Direction) -> Iterator[tuple[Any, ...]]:
    """Rows of sweep.csv, one for each member."""
    for p, point in enumerate(swept.points):
        diverged = _diverged(swept, p)
        for s, seed in enumerate(swept.seeds):
            values = [float(of[p, s]) for of in swept.criteria.values()]
            scores = swept.scores[p][s]
            yield (
                *_of(swept, direction).values(), *point, seed, diverged.get(str(seed)),
                *(v if np.isfinite(v) else None for v in values),
                *(None if scores is None else getattr(scores, name) for name in _SCORES),
            )  # fmt: skip


def write_best(path: Path, swept: Swept, config: Any) -> None:
    """Writes best-METHOD-ENCODER[-2].json: the config of the point that the config's criterion prefers, for `jdann train`."""
    p = choose(swept, config.sweep.criterion)
    job = swept.outcome.job
    name = f"best-{job.method}-{job.encoder}{'-2' if job.direction else ''}.json"
    if p is None:
        log.info(
            "%s: %s has no value here; %s is not written", job.method, config.sweep.criterion, name
        )
        return
    values: dict[str, Any] = {
        "methods": (job.method,),
        "encoder.name": job.encoder,
        "both_directions": False,
    }
    if job.direction:
        values |= {"source": config.target, "target": config.source}
    for field, key in HYPER.items():
        values[f"sweep.{field}"] = ()
        if getattr(swept.points[p], field) is not None:
            values[key] = getattr(swept.points[p], field)
    files.write_json(path / name, configuration.to_dict(apply(config, values)))
