"""Figures of training: its curves, and the representations before and after adaptation."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from math import ceil
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from jdann.figures.plots import (
    DOMAIN_COLOURS,
    emotion_colour,
    empty,
    in_order,
    method_colours,
    plain,
    tidy,
)

TSNE_POINTS = 1000  # the largest number of utterances in one t-SNE layout
_TSNE_ITERATIONS = 500  # takes a few seconds; more iterations hardly change the layout
# The gaps of a dashed line show a curve that lies below it.
_LINE_STYLES = ("-", (0, (5, 5)), (0, (1.5, 3.5)), (0, (6, 2, 1, 2)))
_COLUMNS = 3  # panels side by side

# Key of a history row, and the title of its panel.
_PANELS = (
    ("learning_rate", "learning rate"),
    ("strength", "lambda, weight of the adaptation"),
    ("loss", "total loss"),
    ("source_risk", "source cross-entropy"),
    ("source_accuracy", "source accuracy"),
    ("domain_loss", "domain loss (dashed: ln 2 = .693)"),
    ("validation_risk", "source validation cross-entropy"),
    ("validation_uar", "source validation UAR"),
    ("domain_accuracy", "domain accuracy (dashed: .5)"),
)
_INDISTINGUISHABLE = {"domain_loss": float(np.log(2)), "domain_accuracy": 0.5}
# These methods have no adaptation loss that lambda could weight.
_WITHOUT_LAMBDA = frozenset({"source_only", "adabn", "dsbn"})


def training_curves(history: Sequence[Mapping[str, Any]], title: str = "Training") -> Figure:
    """Draws schedules, losses and accuracies over the epochs.

    Args:
      history: rows with method, encoder, direction, fold, seed and epoch, and the values of the
        panels. A value that a method does not have is absent, None or NaN.
      title: title of the figure.

    Returns:
      A figure with a panel for each quantity that at least one method has. Each method (and
      direction and encoder, if there are several) has one curve: the mean over seeds and folds,
      in a band from the lowest to the highest run. Dashed lines show the domain loss and the
      domain accuracy of a discriminator that cannot tell source from target.
    """
    curves = _by_curve(history)
    colours = method_colours(curves)
    panels = _panels(curves)
    rows = max(1, ceil(len(panels) / _COLUMNS))
    figure = empty(12, 0.8 + 2.6 * rows, title)
    all_axes = figure.subplots(rows, _COLUMNS, squeeze=False).flat
    for axes in all_axes[len(panels) :]:
        axes.remove()
    handles = {}
    for axes, (key, name, shown) in zip(all_axes, panels, strict=False):
        tidy(axes, name)
        for (label, runs), style in zip(curves.items(), cycle(_LINE_STYLES), strict=False):
            if label in shown:
                handles[label] = _draw_curve(axes, runs, key, label, colours[label], style)
        if key in _INDISTINGUISHABLE:
            axes.axhline(_INDISTINGUISHABLE[key], color="black", linestyle=(0, (4, 3)), linewidth=1)
        if key in ("learning_rate", "strength"):
            axes.set_ylim(bottom=0)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    if not panels:
        figure.text(0.5, 0.5, "no values were recorded", ha="center", color="#777777")
    figure.legend(
        handles=[handles[label] for label in curves if label in handles],
        loc="outside lower center",
        ncols=min(max(len(curves), 1), 4),
        handlelength=3,
        frameon=False,
    )
    return figure


def _panels(
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
) -> list[tuple[str, str, frozenset[str]]]:
    """Key, title and curves of each panel; a panel without any curve is left out."""
    panels = []
    for key, title in _PANELS:
        shown = frozenset(label for label, rows in curves.items() if _has(rows, key))
        if shown:
            panels.append((key, title, shown))
    return panels


def _has(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    """Whether the rows of a curve hold values of `key`; a lambda that stays 0 is none."""
    values = [row[key] for row in rows if row.get(key) is not None and np.isfinite(row[key])]
    if key == "strength":
        weighted = not _WITHOUT_LAMBDA.issuperset(rows[0]["method"].split("+"))
        return weighted and any(value > 0 for value in values)
    return bool(values)


def _by_curve(history: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of each curve.

    The label of a curve is its method; the encoder and the direction are added if they differ
    between rows.
    """
    varying = [
        key for key in ("encoder", "direction") if len({str(row.get(key)) for row in history}) > 1
    ]
    curves: dict[str, list[Mapping[str, Any]]] = {}
    for row in history:
        label = ", ".join([row["method"], *(str(row.get(key)) for key in varying)])
        curves.setdefault(label, []).append(row)
    return curves


def _draw_curve(
    axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, label: str, colour: str, style: Any
) -> "Line2D":
    """Draws the mean over runs at each epoch, and the band from the lowest to the highest run."""
    by_epoch: dict[Any, dict[Any, list[float]]] = {}  # values by epoch, then by run
    for row in rows:
        value = row.get(key)
        if value is not None and np.isfinite(value):
            run = (row.get("seed"), row.get("fold"))
            by_epoch.setdefault(row["epoch"], {}).setdefault(run, []).append(value)
    epochs = sorted(by_epoch)
    values = [[np.mean(run) for run in by_epoch[epoch].values()] for epoch in epochs]
    (line,) = axes.plot(
        epochs,
        [np.mean(value) for value in values],
        linestyle=style,
        color=colour,
        marker="o" if len(epochs) == 1 else None,  # a line through one point would be invisible
        linewidth=1.8,
        label=plain(label),
    )
    lowest, highest = [min(value) for value in values], [max(value) for value in values]
    axes.fill_between(epochs, lowest, highest, color=colour, alpha=0.2, linewidth=0)
    return line


def tsne(representation: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places representations in the plane so that neighbours stay neighbours (t-SNE).

    If there are more than 1000 utterances, 1000 of them are drawn at random. The choice depends on
    their number and the seed only, so that the layouts before and after adaptation show the same
    utterances. Van der Maaten & Hinton, "Visualizing data using t-SNE" (JMLR 2008).

    Args:
      representation: [n, d] float, n >= 2, d >= 2.
      seed: seed of the choice and of the layout.

    Returns:
      The layout, [m, 2] float32, and which of the n utterances it shows, [m] int, ascending.
    """
    n = len(representation)
    shown = np.sort(np.random.default_rng(seed).permutation(n)[:TSNE_POINTS])
    points = np.asarray(representation, np.float32)[shown]
    left, spread, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    # Starting from scaled-down principal components keeps the large distances in place. The lower
    # bound of the scale makes constant representations no error.
    begin = (left * spread)[:, :2] * (1e-4 / max(float(spread[0]) / len(points) ** 0.5, 1e-12))
    perplexity = min(30.0, (len(points) - 1) / 3)
    model = TSNE(perplexity=perplexity, init=begin, max_iter=_TSNE_ITERATIONS, random_state=seed)
    # More threads gain little for so few points, and on a busy machine they are ten times slower.
    with threadpool_limits(1):
        return model.fit_transform(points), shown


def representations(
    before: np.ndarray,
    after: np.ndarray,
    domain: Sequence[str],
    emotion: Sequence[str | None],
    title: str = "Representations, laid out by t-SNE",
) -> Figure:
    """Draws representations before and after adaptation, coloured by domain and by emotion.

    Args:
      before: [n, 2] float, layout of the representations without adaptation.
      after: [n, 2] float, layout of the representations with adaptation.
      domain: n names of domains; those of the source come first.
      emotion: n labels; None for an unlabelled utterance.
      title: title of the figure.

    Returns:
      A figure with two by two panels: before and after side by side, domains above emotions. The
      legend of each row is at its right.
    """
    domains = list(dict.fromkeys(domain))
    rows: tuple[tuple[str, Sequence[str | None], dict[str | None, str]], ...] = (
        ("domain", domain, {name: DOMAIN_COLOURS[index % 2] for index, name in enumerate(domains)}),
        ("emotion", emotion, {name: emotion_colour(name) for name in in_order(emotion)}),
    )
    figure = empty(11.5, 9, title)
    panels = figure.subplots(2, 2)
    # In random order, so that neither domain covers the other.
    order = np.random.default_rng(0).permutation(len(before))
    for panel_row, (attribute, labels, colours) in zip(panels, rows, strict=True):
        for axes, points, when in zip(panel_row, (before, after), ("before", "after"), strict=True):
            colour = np.array([colours[label] for label in labels])
            axes.scatter(
                *np.asarray(points)[order].T, c=colour[order], s=14, alpha=0.75, linewidths=0
            )
            axes.set_title(f"{when} adaptation, by {attribute}", fontsize=11, loc="left")
            axes.set_xticks([])
            axes.set_yticks([])
        _dot_legend(panel_row[1], {name or "unlabelled": value for name, value in colours.items()})
    return figure


def _dot_legend(axes: Axes, colours: Mapping[str, str]) -> None:
    """Writes a legend of coloured dots to the right of a panel."""
    dots = [
        Line2D([], [], marker="o", linestyle="", color=colour, label=plain(fill(name, 22)))
        for name, colour in colours.items()
    ]
    axes.legend(handles=dots, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
