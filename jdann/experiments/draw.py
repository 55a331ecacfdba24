"""Draws a run's figures into its work directory."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jdann.data.pairs import Direction, Domain
from jdann.experiments.jobs import SUPERVISED, Outcome
from jdann.figures import plots, training


def corpora(folder: Path, directions: Sequence[Direction], emotions: Sequence[str]) -> None:
    """Draws how emotions and speakers are distributed in both corpora."""
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
    results: dict[str, Any],
    history: Sequence[Mapping[str, Any]],
    tsne: bool,
) -> None:
    """Draws training curves, confusion matrices, accuracy per speaker and, where wanted, t-SNE of the representations."""
    for d, direction in enumerate(directions):
        suffix = f"-{d + 1}" if len(directions) > 1 else ""
        names = (direction.source.corpus.name, direction.target.corpus.name)
        title = " -> ".join(names)
        rows = [h for h in history if (h["source"], h["target"]) == names]
        if rows:
            plots.save(
                training.training_curves(rows, f"Training, {title}"),
                folder / f"training{suffix}.png",
            )
        scored = [
            r
            for r in results["rows"]
            if (r["source"], r["target"]) == names and r["selection"] == "last"
        ]
        for row in scored:
            label = _label(row["method"], row["encoder"])
            figure = plots.confusion(row["confusion"], results["emotions"], f"{label}, {title}")
            plots.save(
                figure,
                folder / f"confusion-{label.replace(', ', '-').replace(' ', '-')}{suffix}.png",
            )
        if scored and scored[0]["per_speaker"]:
            per_speaker = {
                _label(row["method"], row["encoder"]): row["per_speaker"] for row in scored
            }
            figure = plots.per_speaker(per_speaker, f"Accuracy of each target speaker, {title}")
            plots.save(figure, folder / f"per-speaker{suffix}.png")
        if tsne:
            _representations(
                folder,
                suffix,
                direction,
                [o for o in outcomes if o.job.direction == d],
                results["emotions"],
            )


def _representations(
    folder: Path,
    suffix: str,
    direction: Direction,
    outcomes: Sequence[Outcome],
    emotions: Sequence[str],
) -> None:
    """Each adapted method's representations beside those of source_only with the same encoder."""
    before = {o.job.encoder: o for o in outcomes if o.job.method == "source_only"}
    for after in outcomes:
        if after.job.method in ("source_only", *SUPERVISED) or after.job.encoder not in before:
            continue
        before_layout, shown = training.tsne(
            np.concatenate(before[after.job.encoder].representation), seed=0
        )
        after_layout, _ = training.tsne(np.concatenate(after.representation), seed=0)
        source, target = direction.source, direction.target
        domain = [f"source: {source.corpus.name}"] * len(after.rows[0]) + [
            f"target: {target.corpus.name}"
        ] * len(after.rows[1])
        emotion = np.concatenate([source.emotion[after.rows[0]], target.emotion[after.rows[1]]])
        figure = training.representations(
            before_layout,
            after_layout,
            [domain[i] for i in shown],
            [str(emotions[e]) if e >= 0 else None for e in emotion[shown].tolist()],
            f"Representations ({_label(after.job.method, after.job.encoder)}), laid out by t-SNE",
        )
        plots.save(figure, folder / f"tsne-{after.job.method}-{after.job.encoder}{suffix}.png")


def _label(method: str, encoder: str) -> str:
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
