"""The reliability diagrams of the report, their numbers, and what a temperature does about them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jdann.report.gather import BINS, Predictions, Run
from jdann.report.page_tables import PageTable, label, share

CHART = {"side": 200, "counts": 40, "left": 34, "top": 8}  # of a diagram, in units of its viewBox


class Bar(NamedTuple):
    """A bin of a reliability diagram, in units of its viewBox, y downwards."""

    x: float
    width: float
    height: float  # of its accuracy
    gap_y: float  # where the confidence lies
    count_height: float


class Chart(NamedTuple):
    """A reliability diagram."""

    title: str
    alt: str
    bars: tuple[Bar, ...]
    said: str


def charts(predictions: Sequence[Predictions]) -> list[Chart]:
    """A reliability diagram for each method that can be scored."""
    return [_chart(p, p.ece) for p in predictions if p.ece is not None]


def _chart(of: Predictions, ece: float) -> Chart:
    found, side = of.reliability, CHART["side"]
    most = int(found.count.max())
    full = np.flatnonzero(found.count)
    bars = [
        Bar(
            side * b / BINS + 1,
            side / BINS - 2,
            side * accuracy,
            side * (1 - confidence),
            CHART["counts"] * int(found.count[b]) / most,
        )
        for b, accuracy, confidence in zip(
            full.tolist(),
            found.accuracy[full].tolist(),
            found.confidence[full].tolist(),
            strict=True,
        )
    ]
    listed = ", ".join(
        f"{found.edges[b]:.1f} to {found.edges[b + 1]:.1f}: {found.accuracy[b]:.2f}" for b in full
    )
    weight = found.count[full] / found.count.sum()
    confidence, accuracy = (
        float(weight @ found.confidence[full]),
        float(weight @ found.accuracy[full]),
    )
    title = f"{of.name}, {of.source} → {of.target}"
    over = "more" if confidence > accuracy else "less"
    said = f"ECE {share(ece)}; mean confidence {share(confidence)}, accuracy {share(accuracy)}: {over} confident than right"
    return Chart(
        title,
        f"Reliability diagram of {title}: accuracy by confidence, {listed}. {said}.",
        tuple(bars),
        said,
    )


def reliability(predictions: Sequence[Predictions]) -> PageTable | None:
    """The numbers behind the diagrams."""
    methods = [p for p in predictions if p.ece is not None]
    if not methods:
        return None
    rows = []
    for b in range(BINS):
        cells: list[str] = []
        for found in (p.reliability for p in methods):
            cells += (
                f"{found.count[b]:,}",
                share(float(found.accuracy[b])) if found.count[b] else "–",
            )
        edges = methods[0].reliability.edges
        rows.append((f"{edges[b]:.1f} to {edges[b + 1]:.1f}", *cells))
    several = len({(p.source, p.target) for p in methods}) > 1
    names = [f"{p.name}, {p.source} → {p.target}" if several else p.name for p in methods]
    header = (
        "confidence",
        *(f"{what}, {name}" for name in names for what in ("utterances", "accuracy")),
    )
    return PageTable(
        "Accuracy in ten bins of confidence, the probability of the predicted emotion.",
        header,
        tuple(rows),
    )


def temperatures(run: Run) -> PageTable | None:
    """What the temperature of each recogniser, fitted without target labels, does to its calibration error."""
    found = [
        m
        for m in run.models
        if "target"
        in m.get("calibration", {}).get("expected_calibration_error", {}).get("none", {})
    ]
    rows = []
    for of in sorted(found, key=lambda m: (m["direction"], m["order"])):
        calibrated = of["calibration"]
        errors = [
            calibrated["expected_calibration_error"][by]["target"]
            for by in ("none", calibrated["by"])
        ]
        way = f"{of['source']['name']} → {of['target']['name']}"
        cells = ("–" if error is None else share(error) for error in errors)
        rows.append(
            (
                label(of),
                way,
                calibrated["by"].replace("_", " "),
                f"{calibrated['temperature']:.2f}",
                *cells,
            )
        )
    if not rows:
        return None
    caption = "In jdann predict and serve, logits are divided by a temperature fitted without target labels (15 bins)."
    header = ("method", "direction", "fitted by", "temperature", "ECE before", "ECE after")
    return PageTable(caption, header, tuple(rows), 3)
