"""The reliability diagrams of the report, their numbers, and the effect of the temperatures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jdann.report.gather import BINS, Predictions, Run
from jdann.report.page_tables import PageTable, label, share

# Sizes within a diagram, in units of its viewBox.
CHART = {"side": 200, "counts": 40, "left": 34, "top": 8}


class Bar(NamedTuple):
    """A bin of a reliability diagram, in units of its viewBox; y points downwards."""

    x: float
    width: float
    height: float  # shows the accuracy
    confidence_y: float
    count_height: float


class Chart(NamedTuple):
    """A reliability diagram."""

    title: str
    alternative: str  # the diagram in words
    bars: tuple[Bar, ...]
    summary: str


def charts(predictions: Sequence[Predictions]) -> list[Chart]:
    """A reliability diagram for each method that can be scored.

    Args:
      predictions: the predictions of each method for each target.
    """
    return [_chart(method, method.ece) for method in predictions if method.ece is not None]


def _chart(method: Predictions, ece: float) -> Chart:
    bins, side = method.reliability, CHART["side"]
    largest = int(bins.count.max())
    filled = np.flatnonzero(bins.count)
    bars = [
        Bar(
            side * b / BINS + 1,
            side / BINS - 2,
            side * float(bins.accuracy[b]),
            side * (1 - float(bins.confidence[b])),
            CHART["counts"] * int(bins.count[b]) / largest,
        )
        for b in filled.tolist()
    ]
    listed = ", ".join(
        f"{bins.edges[b]:.1f} to {bins.edges[b + 1]:.1f}: {bins.accuracy[b]:.2f}" for b in filled
    )
    weight = bins.count[filled] / bins.count.sum()
    confidence = float(weight @ bins.confidence[filled])
    accuracy = float(weight @ bins.accuracy[filled])
    title = f"{method.name}, {method.source} → {method.target}"
    comparison = "too confident" if confidence > accuracy else "not confident enough"
    summary = (
        f"ECE {share(ece)}; mean confidence {share(confidence)}, accuracy {share(accuracy)}: "
        f"{comparison}"
    )
    alternative = f"Reliability diagram of {title}: accuracy by confidence, {listed}. {summary}."
    return Chart(title, alternative, tuple(bars), summary)


def reliability(predictions: Sequence[Predictions]) -> PageTable | None:
    """The numbers of the diagrams; None if nothing can be scored.

    Args:
      predictions: the predictions of each method for each target.
    """
    methods = [method for method in predictions if method.ece is not None]
    if not methods:
        return None
    rows = []
    for b in range(BINS):
        cells: list[str] = []
        for bins in (method.reliability for method in methods):
            accuracy = share(float(bins.accuracy[b])) if bins.count[b] else "–"
            cells += (f"{bins.count[b]:,}", accuracy)
        edges = methods[0].reliability.edges
        rows.append((f"{edges[b]:.1f} to {edges[b + 1]:.1f}", *cells))
    several = len({(method.source, method.target) for method in methods}) > 1
    names = [f"{m.name}, {m.source} → {m.target}" if several else m.name for m in methods]
    columns = (f"{column}, {name}" for name in names for column in ("utterances", "accuracy"))
    caption = "Accuracy in ten bins of confidence (the probability of the predicted emotion)."
    return PageTable(caption, ("confidence", *columns), tuple(rows))


def temperatures(run: Run) -> PageTable | None:
    """How the temperature of each recogniser changes its calibration error; None if unknown.

    Args:
      run: the run; the temperatures were fitted without target labels.
    """
    rows = []
    for model in sorted(run.models, key=lambda model: (model["direction"], model["order"])):
        calibrated = model.get("calibration", {})
        errors = calibrated.get("expected_calibration_error", {})
        if "target" not in errors.get("none", {}):
            continue
        before, after = errors["none"]["target"], errors[calibrated["by"]]["target"]
        rows.append(
            (
                label(model),
                f"{model['source']['name']} → {model['target']['name']}",
                calibrated["by"].replace("_", " "),
                f"{calibrated['temperature']:.2f}",
                *("–" if error is None else share(error) for error in (before, after)),
            )
        )
    if not rows:
        return None
    caption = (
        "jdann predict and jdann serve divide logits by a temperature fitted without target labels "
        "(ECE in 15 bins)."
    )
    header = ("method", "direction", "fitted by", "temperature", "ECE before", "ECE after")
    return PageTable(caption, header, tuple(rows), numbers=3)
