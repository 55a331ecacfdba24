"""What a sweep reports: criteria and scores of each point, and the point that a criterion chooses.

Target labels are read here, after all training. They choose nothing except the oracle, and every
value that needs them stands under "analysis".
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jdann import selection
from jdann.data.pairs import Direction
from jdann.evaluation import metrics
from jdann.experiments.outcomes import Outcome
from jdann.experiments.results import chosen_logits, job_names
from jdann.training.task import LAST

log = logging.getLogger("jdann")
ANALYSIS = "analysis: needs target labels, which choose nothing"
_SCORES = ("uar", "accuracy", "macro_f1")


class Point(NamedTuple):
    """One combination of hyper-parameters."""

    strength: float | None  # the largest lambda; None if the method has none
    learning_rate: float
    weight_decay: float

    def __str__(self) -> str:
        strength = "" if self.strength is None else f"strength {self.strength:g}, "
        return f"{strength}learning rate {self.learning_rate:g}, weight decay {self.weight_decay:g}"


class Swept(NamedTuple):
    """The criteria and scores of a job's members.

    There is one member per point and seed: all seeds of the first point, then of the second.
    """

    outcome: Outcome
    points: tuple[Point, ...]
    seeds: tuple[int, ...]
    by: str  # how the record of each member was chosen
    criteria: dict[str, np.ndarray]
    # [points, seeds] at the chosen records, the mean over folds; NaN if there is no value.
    scores: tuple[tuple[metrics.Scores | None, ...], ...]
    # [points][seeds]; None if the member diverged or nothing is labelled.

    @property
    def uar(self) -> np.ndarray:
        """Unweighted average recall [points, seeds]; NaN if there is none."""
        return np.array(
            [
                [np.nan if scores is None else scores.uar for scores in per_seed]
                for per_seed in self.scores
            ]
        )


def summarise(
    outcome: Outcome,
    points: Sequence[Point],
    seeds: Sequence[int],
    direction: Direction,
    config: Any,
) -> Swept:
    """The criteria and scores of each member, at the record that the config's selection chooses.

    Args:
      outcome: of a job whose members are all seeds of the first point, then of the second.
      points: of the sweep.
      seeds: of the run.
      direction: its two domains.
      config: of the run.
    """
    emotion = np.where(outcome.tested, direction.target.emotion, -1)
    by = config.selection
    logits = chosen_logits(outcome, by, emotion)
    if logits is None:
        log.warning("%s has no value here, so the last epoch is used", by)
        by, logits = LAST, outcome.logits[-1]
    finite = np.array([place is None for place in outcome.diverged])
    criteria = _criteria_at_records(outcome, by, finite)
    scores = [
        metrics.score(emotion, values.argmax(-1), direction.target.speaker, len(config.emotions))
        if is_finite
        else None
        for values, is_finite in zip(logits, finite, strict=True)
    ]
    count = len(seeds)
    return Swept(
        outcome=outcome,
        points=tuple(points),
        seeds=tuple(seeds),
        by=by,
        criteria={
            name: values.reshape(len(points), count)  # [points * seeds] -> [points, seeds]
            for name, values in criteria.items()
        },
        scores=tuple(
            tuple(scores[first : first + count]) for first in range(0, len(scores), count)
        ),
    )


def _criteria_at_records(outcome: Outcome, by: str, finite: np.ndarray) -> dict[str, np.ndarray]:
    """Each criterion [members] at the chosen records, averaged over splits; NaN if diverged."""
    criteria = {}
    for name in selection.CRITERIA:
        per_split = []
        for _, values in outcome.criteria:
            record = choose_records(values, by)
            per_split.append(values[name][record, np.arange(len(record))])
        criteria[name] = np.where(finite, np.mean(per_split, axis=0), np.nan)
    return criteria


def choose_records(criteria: dict[str, np.ndarray], by: str) -> np.ndarray:
    """The record [members] that a selection chooses for each member.

    Args:
      criteria: the values [records, members] of each criterion.
      by: "last" or a criterion.
    """
    if by == LAST:
        records, members = next(iter(criteria.values())).shape
        return np.full(members, records - 1)
    return selection.choose(criteria[by], by)


def _diverged(swept: Swept, point: int) -> dict[str, str]:
    """For each seed that diverged at a point, by its number: at which step."""
    count = len(swept.seeds)
    per_seed = swept.outcome.diverged[point * count : (point + 1) * count]
    return {
        str(seed): place
        for seed, place in zip(swept.seeds, per_seed, strict=True)
        if place is not None
    }


def result_rows(swept: Swept, direction: Direction) -> list[dict[str, Any]]:
    """One row of results.json per point; "analysis" holds everything that needs target labels."""
    rows = []
    for index, point in enumerate(swept.points):
        criteria = {
            name: values[index][np.isfinite(values[index])]
            for name, values in swept.criteria.items()
        }
        scored = [scores for scores in swept.scores[index] if scores is not None]
        analysis = None
        if scored:
            analysis = {"label": ANALYSIS, "n": int(scored[0].confusion.sum())} | {
                name: metrics.summarise([getattr(scores, name) for scores in scored])
                for name in _SCORES
            }
        rows.append(
            job_names(swept.outcome.job, direction)
            | point._asdict()
            | {
                "selection": swept.by,
                "diverged": _diverged(swept, index),
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
    """The point that a criterion prefers by its mean over seeds.

    A point with a diverged seed is not chosen. The result is None if the criterion has no value.
    """
    mean = swept.criteria[criterion].mean(1, keepdims=True)  # [points, 1]
    return int(selection.choose(mean, criterion)[0]) if np.isfinite(mean).any() else None


def choices(swept: Swept, direction: Direction) -> list[dict[str, Any]]:
    """Rows of results.json: the point that each criterion chooses of all points.

    The last two rows are the choice by target labels ("oracle"), and a random point ("by lot").
    Both need target labels.
    """
    uar = swept.uar
    mean = uar.mean(1)  # [points], NaN where a seed diverged
    scored = bool(np.isfinite(mean).any())
    rows = []
    for name in selection.CRITERIA:
        index = choose(swept, name)
        if index is None:
            continue
        analysis = None
        if scored:
            correlation = selection.rank_correlation(swept.criteria[name], uar, name)
            analysis = _analyse_choice(uar[index], np.nanmax(mean) - mean[index], correlation)
        rows.append(_choice_row(name, True, swept.points[index]._asdict(), analysis))
    if scored:
        index = int(np.nanargmax(mean))
        analysis = _analyse_choice(uar[index], np.nanmax(mean) - uar[index].mean(), None)
        rows.append(_choice_row("oracle", False, swept.points[index]._asdict(), analysis))
        expected = mean[np.isfinite(mean)]  # any of these points may be drawn
        analysis = _analyse_choice(expected, np.nanmax(mean) - expected.mean(), None)
        rows.append(_choice_row("by lot", True, dict.fromkeys(Point._fields), analysis))
    return [job_names(swept.outcome.job, direction) | row for row in rows]


def _choice_row(
    criterion: str, achievable: bool, point: dict[str, Any], analysis: dict[str, Any] | None
) -> dict[str, Any]:
    return {"criterion": criterion, "achievable": achievable} | point | {"analysis": analysis}


def _analyse_choice(uar: np.ndarray, loss: float, correlation: Any) -> dict[str, Any]:
    return {
        "label": ANALYSIS,
        "uar": metrics.summarise(uar.tolist()),
        "loss_to_oracle": float(loss),
        "rank_correlation": correlation,
    }


def member_columns() -> tuple[str, ...]:
    """The columns of sweep.csv."""
    names = ("method", "encoder", "source", "target", *Point._fields, "seed", "diverged")
    return (*names, *selection.CRITERIA, *(f"{name} (analysis only)" for name in _SCORES))


def member_rows(swept: Swept, direction: Direction) -> Iterator[tuple[Any, ...]]:
    """Rows of sweep.csv, one per member."""
    names = job_names(swept.outcome.job, direction)
    for index, point in enumerate(swept.points):
        diverged = _diverged(swept, index)
        for column, seed in enumerate(swept.seeds):
            criteria = [float(values[index, column]) for values in swept.criteria.values()]
            scores = swept.scores[index][column]
            yield (
                *names.values(),
                *point,
                seed,
                diverged.get(str(seed)),
                *(value if np.isfinite(value) else None for value in criteria),
                *(None if scores is None else getattr(scores, name) for name in _SCORES),
            )
