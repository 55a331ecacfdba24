"""Draws the figures of a run into its work directory."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jdann.data.pairs import Direction, Domain
from jdann.experiments.jobs import SUPERVISED
from jdann.experiments.outcomes import Outcome
from jdann.figures import plots, training


def corpora(folder: Path, directions: Sequence[Direction], emotions: Sequence[str]) -> None:
    """Draws how many utterances of each emotion and of each speaker both corpora have."""
    source, target = directions[0].source, directions[0].target
    names = (source.corpus.description, target.corpus.description)
    counts = [_by_emotion(domain, emotions) for domain in (source, target)]
    plots.save(plots.class_distribution(counts[0], counts[1], names), folder / "classes.png")
    speakers = [_by_speaker(domain, emotions) for domain in (source, target)]
    plots.save(plots.speaker_distribution(speakers[0], speakers[1], names), folder / "speakers.png")


def outcomes(
    folder: Path,
    directions: Sequence[Direction],
    outcomes: Sequence[Outcome],
    results: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    tsne: bool,
) -> None:
    """Draws training curves, confusion matrices and the accuracy of each speaker.

    Args:
      folder: folder of the figures.
      directions: the directions of the run.
      outcomes: what the jobs of the run returned.
      results: the content of results.json.
      history: the rows of history.csv.
      tsne: whether to draw the representations too.
    """
    for index, direction in enumerate(directions):
        suffix = f"-{index + 1}" if len(directions) > 1 else ""
        names = (direction.source.corpus.name, direction.target.corpus.name)
        title = " -> ".join(names)
        rows = [row for row in history if (row["source"], row["target"]) == names]
        if rows:
            figure = training.training_curves(rows, f"Training, {title}")
            plots.save(figure, folder / f"training{suffix}.png")
        _scores(folder, suffix, names, results)
        if tsne:
            of_direction = [outcome for outcome in outcomes if outcome.job.direction == index]
            _representations(folder, suffix, direction, of_direction, results["emotions"])


def _scores(folder: Path, suffix: str, names: tuple[str, str], results: Mapping[str, Any]) -> None:
    """Draws the confusion matrix of each method, and the accuracy of each target speaker."""
    title = " -> ".join(names)
    scored = [
        row
        for row in results["rows"]
        if (row["source"], row["target"]) == names and row["selection"] == "last"
    ]
    for row in scored:
        label = _label(row["method"], row["encoder"])
        seeds = len(row["uar"]["values"])
        figure = plots.confusion(row["confusion"], results["emotions"], f"{label}, {title}", seeds)
        file_name = label.replace(", ", "-").replace(" ", "-")
        plots.save(figure, folder / f"confusion-{file_name}{suffix}.png")
    if scored and scored[0]["per_speaker"]:
        per_speaker = {_label(row["method"], row["encoder"]): row["per_speaker"] for row in scored}
        figure = plots.per_speaker(per_speaker, f"Accuracy of each target speaker, {title}")
        plots.save(figure, folder / f"per-speaker{suffix}.png")


def _representations(
    folder: Path,
    suffix: str,
    direction: Direction,
    outcomes: Sequence[Outcome],
    emotions: Sequence[str],
) -> None:
    """Draws the representations of each adapted method beside those of source_only."""
    source, target = direction.source, direction.target
    source_only = {o.job.encoder: o for o in outcomes if o.job.method == "source_only"}
    for adapted in outcomes:
        method, encoder = adapted.job.method, adapted.job.encoder
        if method in ("source_only", *SUPERVISED) or encoder not in source_only:
            continue
        before, shown = training.tsne(np.concatenate(source_only[encoder].representation), seed=0)
        after, _ = training.tsne(np.concatenate(adapted.representation), seed=0)
        source_rows, target_rows = adapted.rows
        domain = [f"source: {source.corpus.name}"] * len(source_rows)
        domain += [f"target: {target.corpus.name}"] * len(target_rows)
        emotion = np.concatenate([source.emotion[source_rows], target.emotion[target_rows]])
        figure = training.representations(
            before,
            after,
            [domain[i] for i in shown],
            [str(emotions[e]) if e >= 0 else None for e in emotion[shown].tolist()],
            f"Representations ({_label(method, encoder)}), laid out by t-SNE",
        )
        plots.save(figure, folder / f"tsne-{method}-{encoder}{suffix}.png")


def _label(method: str, encoder: str) -> str:
    """Method and encoder; the encoder "-" of the baseline is left out."""
    return method if encoder == "-" else f"{method}, {encoder}"


def _by_emotion(domain: Domain, emotions: Sequence[str]) -> dict[str | None, int]:
    counts: dict[str | None, int] = {
        str(name): int((domain.emotion == i).sum()) for i, name in enumerate(emotions)
    }
    unlabelled = int((domain.emotion < 0).sum())
    return counts | ({None: unlabelled} if unlabelled else {})


def _by_speaker(domain: Domain, emotions: Sequence[str]) -> dict[str | None, Counter[str | None]]:
    counts: dict[str | None, Counter[str | None]] = {}
    for speaker, emotion in zip(domain.speaker, domain.emotion.tolist(), strict=True):
        counts.setdefault(speaker, Counter())[str(emotions[emotion]) if emotion >= 0 else None] += 1
    return counts
