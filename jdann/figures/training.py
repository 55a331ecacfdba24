"""Figures of what training did: its curves, and the representations before and after it."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from jdann.figures.plots import (
    DOMAIN_COLOURS,
    emotion_colour,
    empty,
    in_order,
    method_colours,
    plain,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TSNE_POINTS = 1000  # at most, of each call
_TSNE_ITERATIONS = 500  # a few seconds; the layout hardly changes afterwards
_LINE_STYLES = (
    "-",
    (0, (5, 5)),
    (0, (1.5, 3.5)),
    (0, (6, 2, 1, 2)),
)  # the gaps show a curve that lies below

# Key of the history, title of its panel.
_PANELS = (
    ("learning_rate", "learning rate"),
    ("strength", "lambda, strength of the reversal"),
    ("loss", "total loss"),
    ("source_risk", "source cross-entropy"),
    ("source_accuracy", "source accuracy"),
    ("domain_loss", "domain loss (dashed: ln 2 = .693)"),
    ("validation_risk", "source validation cross-entropy"),
    ("validation_uar", "source validation UAR"),
    ("domain_accuracy", "domain accuracy (dashed: .5)"),
)
_INDISTINGUISHABLE = {"domain_loss": float(np.log(2)), "domain_accuracy": 0.5}


def training_curves(history: Sequence[Mapping[str, Any]], title: str = "Training") -> "Figure":
    """Schedules, losses and accuracies over the epochs.

    Args:
      history: rows with method, encoder, direction, fold, seed and epoch, and the values that the panels show; what a
        method does not have is absent, None or NaN.
      title: of the figure.

    Returns:
      Nine panels with one curve for each method (and direction and encoder, where there are several): the mean over
      seeds and folds, in a band from the lowest to the highest. Dashed lines: the domain loss and the domain accuracy
      where source and target cannot be told apart.
    """
    from matplotlib.ticker import MaxNLocator

    curves = _by_curve(history)
    colours = method_colours(curves)
    figure = empty(12, 8.6, title)
    for axes, (key, name) in zip(figure.subplots(3, 3).flat, _PANELS, strict=True):
        tidy(axes, name)
        for (label, rows), style in zip(curves.items(), cycle(_LINE_STYLES), strict=False):
            _draw_curve(axes, rows, key, label, colours[label], style)
        if not axes.lines:
            axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color="#777777")
            axes.set_xticks([])
            axes.set_yticks([])
            continue
        if key in _INDISTINGUISHABLE:
            axes.axhline(_INDISTINGUISHABLE[key], color="black", linestyle=(0, (4, 3)), linewidth=1)
        if key in ("learning_rate", "strength"):
            axes.set_ylim(bottom=0)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    handles = figure.axes[0].get_legend_handles_labels()
    columns = min(max(len(curves), 1), 4)
    figure.legend(
        *handles, loc="outside lower center", ncols=columns, handlelength=3, frameon=False
    )
    return figure


def _by_curve(history: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of each curve, by its label: the method, and of direction and encoder what differs between rows."""
    varying = [
        key for key in ("encoder", "direction") if len({str(row.get(key)) for row in history}) > 1
    ]
    curves: dict[str, list[Mapping[str, Any]]] = {}
    for row in history:
        label = ", ".join([row["method"], *(str(row.get(key)) for key in varying)])
        curves.setdefault(label, []).append(row)
    return curves


def _draw_curve(
    axes: "Axes", rows: Sequence[Mapping[str, Any]], key: str, label: str, colour: str, style: Any
) -> None:
    """Mean over runs at each epoch, and the band from the lowest to the highest run."""
    runs: dict[Any, dict[Any, list[float]]] = {}  # by epoch, then by run
    for row in rows:
        value = row.get(key)
        if value is not None and np.isfinite(value):
            runs.setdefault(row["epoch"], {}).setdefault(
                (row.get("seed"), row.get("fold")), []
            ).append(value)
    if not runs:
        return
    epochs = sorted(runs)
    values = [[np.mean(run) for run in runs[epoch].values()] for epoch in epochs]
    marker = "o" if len(epochs) == 1 else None  # a line through one point shows nothing
    means = [np.mean(value) for value in values]
    axes.plot(
        epochs,
        means,
        linestyle=style,
        color=colour,
        marker=marker,
        linewidth=1.8,
        label=plain(label),
    )
    axes.fill_between(
        epochs,
        [min(v) for v in values],
        [max(v) for v in values],
        color=colour,
        alpha=0.2,
        linewidth=0,
    )


def tsne(representation: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Lays representations out in the plane so that neighbours stay neighbours (scikit-learn's t-SNE).

    Of more than 1000 a part is drawn by chance; the same for the same number and seed, so that the layouts before and
    after adaptation show the same utterances.

    Args:
      representation: [n, d] float, n >= 2, d >= 2.
      seed: of the choice and of the layout.

    Returns:
      [m, 2] float32, the layout, and [m] int, which of the n it shows, in ascending order.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    n = len(representation)
    shown = np.sort(np.random.default_rng(seed).permutation(n)[:TSNE_POINTS])
    points = np.asarray(representation, np.float32)[shown]
    left, spread, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    # The principal components, made small: they keep the large distances in place, and a constant is no error.
    begin = (left * spread)[:, :2] * (1e-4 / max(float(spread[0]) / len(points) ** 0.5, 1e-12))
    perplexity = min(30.0, (len(points) - 1) / 3)
    model = TSNE(perplexity=perplexity, init=begin, max_iter=_TSNE_ITERATIONS, random_state=seed)
    # More threads gain little on so few points, and lose a factor of ten where the machine has other work.
    with threadpool_limits(1):
        return model.fit_transform(points), shown


def representations(
    before: np.ndarray,
    after: np.ndarray,
    domain: Sequence[str],
    emotion: Sequence[str | None],
    title: str = "Representations, laid out by t-SNE",
) -> "Figure":
    """Representations before and after adaptation, coloured by domain and by emotion.

    Args:
      before: [n, 2] float, layout of the representations without adaptation.
      after: [n, 2] float, with adaptation.
      domain: n names of domains, the source's first.
      emotion: n labels, None where unlabelled.
      title: of the figure.

    Returns:
      Two by two panels, before and after side by side; the legend of each row at its right.
    """
    domains = list(dict.fromkeys(domain))
    rows: tuple[tuple[str, Sequence[str | None], dict[str | None, str]], ...] = (
        ("domain", domain, {name: DOMAIN_COLOURS[index % 2] for index, name in enumerate(domains)}),
        ("emotion", emotion, {name: emotion_colour(name) for name in in_order(emotion)}),
    )
    figure = empty(11.5, 9, title)
    panels = figure.subplots(2, 2)
    order = np.random.default_rng(0).permutation(len(before))  # no domain is drawn over the other
    for panel_row, (what, labels, colours) in zip(panels, rows, strict=True):
        for axes, points, when in zip(panel_row, (before, after), ("before", "after"), strict=True):
            colour = np.array([colours[label] for label in labels])
            axes.scatter(
                *np.asarray(points)[order].T, c=colour[order], s=14, alpha=0.75, linewidths=0
            )
            axes.set_title(f"{when} adaptation, by {what}", fontsize=11, loc="left")
            axes.set_xticks([])
            axes.set_yticks([])
        _dot_legend(panel_row[1], {name or "unlabelled": value for name, value in colours.items()})
    return figure


def _dot_legend(axes: "Axes", colours: Mapping[str, str]) -> None:
    """Dots with their names, to the right of a panel."""
    from matplotlib.lines import Line2D

    dots = [
        Line2D([], [], marker="o", linestyle="", color=colour, label=plain(fill(name, 22)))
        for name, colour in colours.items()
    ]
    axes.legend(handles=dots, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
