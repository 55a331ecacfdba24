"""The outcome of tuning: a table for the terminal, the values of the trials, the important keys."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jdann.figures import plots

_TRIAL_COLOUR, _BEST_COLOUR, _STOPPED_COLOUR = "#0077BB", "#CC3311", "#BBBBBB"
Trial = tuple[int, str, float | None]  # number, state, value


def render(results: Mapping[str, Any]) -> RenderableType:
    """The table for the terminal: the values of the best trial and the importance of each key.

    Args:
      results: the content of results.json of `jdann tune`.
    """
    best, importances, criterion = results["best"], results["importance"], results["criterion"]
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style=""
    )
    table.add_column("key")
    table.add_column("best", justify="right")
    table.add_column("importance", justify="right")
    for key, value in best["values"].items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        table.add_row(key, text, f"{importances[key]:.0%}" if key in importances else "–")
    counts = ", ".join(f"{count} {state}" for state, count in results["trials"].items() if count)
    value = f"{criterion} {best['value']:.4f} ({_direction(results)} is better)"
    note = (
        f"importance: share of the variance of {criterion} over the trials (fANOVA). No target "
        "label was used; jdann train shows the score of the choice."
    )
    return Group(
        Text(results["title"], style="bold"),
        Text(f"{results['study']}: {counts}"),
        Text(f"trial {best['number']}: {value}\n"),
        table,
        Text(f"\n{note}", style="dim"),
    )


def _direction(results: Mapping[str, Any]) -> str:
    return "higher" if results["higher_is_better"] else "lower"


def draw(folder: Path, results: Mapping[str, Any], trials: Sequence[Trial]) -> None:
    """Draws history.png and, if the importance of the keys is known, importance.png.

    Args:
      folder: folder of the files.
      results: the content of results.json of `jdann tune`.
      trials: number, state and value of each trial.
    """
    plots.save(history(results, trials), folder / "history.png")
    if results["importance"]:
        plots.save(importance(results), folder / "importance.png")


def history(results: Mapping[str, Any], trials: Sequence[Trial]) -> Figure:
    """Draws the value of every trial, and the best value so far.

    Args:
      results: the content of results.json of `jdann tune`.
      trials: number, state and value of each trial, of which at least one is complete.
    """
    figure = plots.empty(7.0, 3.6, f"{results['criterion']} over the trials")
    axes = figure.subplots()
    complete = [
        (number, value)
        for number, state, value in trials
        if state == "complete" and value is not None
    ]
    numbers, values = (np.array(column) for column in zip(*complete, strict=True))
    better = np.maximum if results["higher_is_better"] else np.minimum
    best = better.accumulate(values)
    axes.plot(numbers, values, "o", color=_TRIAL_COLOUR, label="trial", markersize=4)
    axes.step(numbers, best, where="post", color=_BEST_COLOUR, label="best so far")
    stopped = [number for number, state, _ in trials if state == "pruned"]
    if stopped:  # their values cannot be compared: they are marked at the lower edge
        label = "pruned or diverged, at the trial's number"
        lowest = [values.min()] * len(stopped)
        axes.plot(stopped, lowest, "x", color=_STOPPED_COLOUR, label=label, markersize=5)
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{results['criterion']} ({_direction(results)} is better)")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    return figure


def importance(results: Mapping[str, Any]) -> Figure:
    """Draws the share of each key in the variance of the trials' values, the largest on top.

    Args:
      results: the content of results.json of `jdann tune`.
    """
    shares = sorted(results["importance"].items(), key=lambda item: item[1])
    title = f"Importance of each key for {results['criterion']}"
    figure = plots.empty(6.5, 1.2 + 0.38 * len(shares), title)
    axes = figure.subplots()
    axes.barh([key for key, _ in shares], [share for _, share in shares], color=_TRIAL_COLOUR)
    for place, (_, share) in enumerate(shares):
        axes.text(share + 0.01, place, f"{share:.0%}", va="center", fontsize=9)
    axes.set_xlim(0, max(share for _, share in shares) * 1.15 + 0.02)
    axes.set_xlabel("share of the variance over the trials (fANOVA)")
    return figure
