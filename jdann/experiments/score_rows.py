"""The rows of results.json: scores with intervals, compared with each other on the same clips."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jdann.data.pairs import Domain
from jdann.evaluation import intervals, metrics
from jdann.evaluation.intervals import Resamples, Samples

BASELINE = "svm"
ORACLE = "oracle"  # the selection that reads target labels
_SCORES = ("accuracy", "macro_f1", "uar")


class Scored(NamedTuple):
    """A row of results.json, and what is needed to compare it with other rows."""

    row: dict[str, Any]
    resamples: Resamples | None
    samples: Samples | None  # None: there are too few speakers and clips for an interval
    least_half_width: float  # of an interval of UAR


class Clips(NamedTuple):
    """The clips of a target, of which those with a label are scored."""

    emotion: np.ndarray  # [n] int, UNLABELLED for a clip that is not scored
    speaker: tuple[str | None, ...]
    gender: tuple[str | None, ...]
    resamples: Resamples | None  # None: fewer than two clips are scored
    weight: np.ndarray | None = None  # [n] float, the mean is 1; None: all clips count alike


def make_clips(target: Domain, tested: np.ndarray, classes: int) -> Clips:
    """The clips of a target; only those with `tested`, [n] bool, are scored."""
    emotion = np.where(tested, target.emotion, metrics.UNLABELLED)
    gender = tuple(utterance.gender for utterance in target.features.utterances)
    resamples = intervals.draw_resamples(emotion, target.speaker, classes)
    return Clips(emotion, target.speaker, gender, resamples)


def score_predictions(
    names: dict[str, str],
    selection: str,
    protocol: str,
    clips: Clips,
    predicted: Sequence[np.ndarray],
    emotions: Sequence[str],
) -> list[Scored]:
    """One row of results.json in a list; an empty list if nothing is labelled.

    Args:
      names: method, encoder, source and target.
      selection: how the checkpoint was chosen.
      protocol: "transductive", "inductive" or "elsewhere".
      clips: those of the target.
      predicted: one [n] int for each seed.
      emotions: names of the classes.
    """
    count = len(emotions)
    scores = [
        score
        for labels in predicted
        if (score := metrics.score(clips.emotion, labels, clips.speaker, count, clips.weight))
    ]
    if not scores:
        return []
    domains = names["source"], names["target"]
    row = metrics.row(
        names["method"], names["encoder"], domains, selection, protocol, scores, emotions
    )
    row["worst_emotion"] = _worst(row["recall"])
    row["worst_speaker"] = _worst(row["per_speaker"])
    row["per_gender"] = _gender_scores(clips, predicted)
    recall = np.mean([score.recall for score in scores], axis=0)
    per_class = intervals.clips_of_classes(clips.emotion, count, clips.weight)
    least = intervals.least_half_width(recall, per_class)
    resamples = clips.resamples
    if resamples is None:
        return [Scored(row | {"interval": None}, None, None, least)]
    samples = intervals.resample_scores(resamples, clips.emotion, predicted, count, clips.weight)
    row["interval"] = {
        "level": intervals.LEVEL,
        "resampled": resamples.unit,
        "count": resamples.units,
    }
    for name in _SCORES:
        half = max(least, intervals.half_width(getattr(samples, name), resamples))
        row["interval"][name] = intervals.interval(row[name]["mean"], half)
    return [Scored(row, resamples, samples, least)]


def _worst(values: dict[str, dict[str, float | None]]) -> dict[str, Any] | None:
    """The name with the lowest mean; None if at most one name has a mean."""
    means = {name: value["mean"] for name, value in values.items() if value["mean"] is not None}
    if len(means) < 2:
        return None
    name = min(means, key=lambda name: means[name])
    return {"name": name} | values[name]


def _gender_scores(clips: Clips, predicted: Sequence[np.ndarray]) -> dict[str, Any]:
    """UAR by gender, a spread over seeds; empty where fewer than two genders are labelled."""
    gender = np.array([name or "" for name in clips.gender])
    scored = clips.emotion != metrics.UNLABELLED
    names = [name for name in sorted(set(gender[scored].tolist())) if name]
    if len(names) < 2:
        return {}
    per_gender = {}
    for name in names:
        rows = scored & (gender == name)
        uar = metrics.unweighted_average_recall(
            clips.emotion[rows], np.array([labels[rows] for labels in predicted])
        )
        summary = metrics.summarise(uar.tolist())
        per_gender[name] = {"mean": summary["mean"], "std": summary["std"]}
    return per_gender


def compare(scored: Sequence[Scored], kept: str) -> list[dict[str, Any]]:
    """The rows, each with its gains over `source_only` and the baseline, and its oracle gap.

    Gains are paired: by seed in their spread, and by resample of the speakers in their interval.

    Args:
      scored: all rows of a run.
      kept: the selection of the checkpoint that the run keeps.

    Returns:
      The rows in the same order.
    """
    references = {_group(item.row): item for item in scored if item.row["method"] == "source_only"}
    baselines = {_direction(item.row): item for item in scored if item.row["method"] == BASELINE}
    oracles = {_training(item.row): item.row for item in scored if item.row["selection"] == ORACLE}
    for item in scored:
        row = item.row
        reference = references.get(_group(row))
        if reference is not None and reference is not item:
            gain = metrics.paired_gain(row["uar"]["values"], reference.row["uar"]["values"])
            row["uar_gain"] = gain | {"interval": _gain_interval(item, reference)}
        baseline = baselines.get(_direction(row))
        if baseline is not None and row["method"] != BASELINE and row["achievable"]:
            row["uar_over_baseline"] = {
                "mean": row["uar"]["mean"] - baseline.row["uar"]["mean"],
                "interval": _gain_interval(item, baseline),
            }
        oracle = oracles.get(_training(row))
        if oracle is not None and row["selection"] == kept:
            row["oracle_gap"] = metrics.paired_gain(oracle["uar"]["values"], row["uar"]["values"])
    return [item.row for item in scored]


def _gain_interval(item: Scored, reference: Scored) -> list[float] | None:
    """The interval of a gain in UAR; None if the two did not score the same clips."""
    resamples, reference_resamples = item.resamples, reference.resamples
    if resamples is None or reference_resamples is None:
        return None
    if item.samples is None or reference.samples is None:
        return None
    if not np.array_equal(resamples.unit_of_clip, reference_resamples.unit_of_clip):
        return None
    gain = item.row["uar"]["mean"] - reference.row["uar"]["mean"]
    half = intervals.half_width(item.samples.uar - reference.samples.uar, resamples)
    return intervals.interval(gain, half, lowest=-1.0)


def _group(row: dict[str, Any]) -> tuple[str, ...]:
    """The key that is the same for rows that differ only in their method."""
    return *_direction(row), row["encoder"], row["selection"], row["protocol"]


def _training(row: dict[str, Any]) -> tuple[str, ...]:
    """The key that is the same for rows that differ only in their checkpoint."""
    return *_direction(row), row["encoder"], row["method"], row["protocol"]


def _direction(row: dict[str, Any]) -> tuple[str, ...]:
    return row["source"], row["target"]
