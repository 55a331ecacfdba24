"""Report tables with one row per emotion, speaker or gender."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jdann.evaluation import metrics
from jdann.report.gather import Predictions, Run
from jdann.report.page_tables import PageTable, label, mean_and_spread, share

Json = Mapping[str, Any]  # an object of results.json


def recall_tables(results: Json) -> list[PageTable]:
    """Recall of each emotion: a table for each direction with scores.

    Args:
      results: the content of results.json.
    """
    tables = []
    for direction in results["directions"]:
        rows = _last_checkpoints(results, direction)
        if rows:
            cells = tuple(
                (name, *(mean_and_spread(row["recall"].get(name)) for row in rows))
                for name in results["emotions"]
            )
            caption = f"Recall of each emotion, last checkpoint, {_direction_text(direction)}."
            tables.append(PageTable(caption, ("emotion", *map(label, rows)), cells))
    return tables


def speaker_tables(results: Json) -> list[PageTable]:
    """Accuracy of each target speaker: a table for each direction with scores.

    Args:
      results: the content of results.json.
    """
    tables = []
    for direction in results["directions"]:
        rows = [row for row in _last_checkpoints(results, direction) if row["per_speaker"]]
        if not rows:
            continue
        counts = direction["target"]["per_speaker"]
        names = list(dict.fromkeys(name for row in rows for name in row["per_speaker"]))
        cells = [
            (
                name,
                f"{counts.get(name, 0):,}",
                *(mean_and_spread(row["per_speaker"].get(name)) for row in rows),
            )
            for name in names
        ]
        cells.append(("highest minus lowest", "", *(_range(row["per_speaker"]) for row in rows)))
        caption = f"Accuracy of each target speaker, last checkpoint, {_direction_text(direction)}."
        caption += _partly_labelled(direction["target"])
        header = ("speaker", "utterances", *map(label, rows))
        tables.append(PageTable(caption, header, tuple(cells)))
    return tables


def _range(per_speaker: Json) -> str:
    """The difference between the highest and the lowest mean accuracy; "–" if there is none."""
    means = [value["mean"] for value in per_speaker.values() if value["mean"] is not None]
    return share(max(means) - min(means)) if means else "–"


def _partly_labelled(domain: Json) -> str:
    """A sentence that counts the unlabelled target utterances; "" if all are labelled."""
    unlabelled = domain["per_emotion"].get("unlabelled", 0)
    if not unlabelled:
        return ""
    return f" Only labelled utterances are scored: {unlabelled:,} have no label."


def _gender_per_utterance(run: Run, predictions: Predictions) -> np.ndarray:
    """The gender of each target utterance, "unknown" where the corpus does not name it."""
    known = run.described.genders.get(predictions.target, {})
    return np.array([known.get(place, "unknown") for place in predictions.places])


def gender_tables(run: Run) -> list[PageTable]:
    """Scores of each gender, if the corpus names genders and has labels.

    Args:
      run: a finished run.
    """
    tables = []
    for source, target in dict.fromkeys((p.source, p.target) for p in run.predictions):
        methods = [
            predictions
            for predictions in run.predictions
            if (predictions.source, predictions.target) == (source, target)
            and (predictions.emotion != metrics.UNLABELLED).any()
        ]
        if not methods:
            continue
        gender = _gender_per_utterance(run, methods[0])
        names = [name for name in sorted(set(gender.tolist())) if name != "unknown"]
        if not names:
            continue
        names += ["unknown"] if "unknown" in gender else []
        rows = []
        for name in names:
            cells = [cell for method in methods for cell in _gender_scores(run, method, name)]
            rows.append((name, f"{int((gender == name).sum()):,}", *cells))
        scored = (f"{score}, {m.name}" for m in methods for score in ("accuracy", "UAR"))
        caption = (
            "Scores of each gender, last checkpoint, probabilities averaged over seeds, "
            f"{source} → {target}."
        )
        for direction in (run.results or {}).get("directions", ()):
            domain_names = (direction["source"]["name"], direction["target"]["name"])
            if domain_names == (source, target):
                caption += _partly_labelled(direction["target"])
        tables.append(PageTable(caption, ("gender", "utterances", *scored), tuple(rows)))
    return tables


def _gender_scores(run: Run, predictions: Predictions, gender: str) -> tuple[str, str]:
    """Accuracy and UAR of one gender."""
    chosen = _gender_per_utterance(run, predictions) == gender
    probability = predictions.probability[chosen]
    score = metrics.score(
        predictions.emotion[chosen],
        probability.argmax(-1),
        [None] * len(probability),
        probability.shape[1],
    )
    return ("–", "–") if score is None else (share(score.accuracy), share(score.uar))


def why_no_genders(run: Run) -> str:
    """Why there is no table of genders.

    Args:
      run: a finished run.
    """
    assert run.results is not None
    if not run.results["scored"]:
        return "No table of genders: the target has no labels."
    if not run.predictions:
        return "No table of genders: predictions.csv is missing."
    target = run.results["directions"][0]["target"]["name"]
    if target in run.described.unavailable:
        reason = run.described.unavailable[target]
        return f"No table of genders: the target's corpus is not available ({reason})."
    return (
        "No table of genders: the target's corpus does not name them (a manifest can, in a column "
        "gender)."
    )


def _last_checkpoints(results: Json, direction: Json) -> list[Json]:
    """The rows of a direction that score the last checkpoint."""
    names = (direction["source"]["name"], direction["target"]["name"])
    return [
        row
        for row in results["rows"]
        if row["selection"] == "last" and (row["source"], row["target"]) == names
    ]


def _direction_text(direction: Json) -> str:
    """The names of a direction, such as "esd:en → esd:zh"."""
    return f"{direction['source']['name']} → {direction['target']['name']}"
