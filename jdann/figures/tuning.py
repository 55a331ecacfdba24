"""What tuning found: a table for the terminal, the course of the trials, and which keys mattered."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jdann.figures import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

_COLOUR, _OTHER = "#0077BB", "#BBBBBB"


def render(results: Mapping[str, Any]) -> "RenderableType":
    """The table for the terminal: the best trial's values and each key's importance.

    Args:
      results: what results.json of `jdann tune` holds.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    best, importance = results["best"], results["importance"]
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style=""
    )
    table.add_column("key")
    table.add_column("best", justify="right")
    table.add_column("importance", justify="right")
    for key, value in best["values"].items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        table.add_row(key, text, f"{importance[key]:.0%}" if key in importance else "–")
    counts = ", ".join(f"{count} {state}" for state, count in results["trials"].items() if count)
    higher = "higher" if results["higher_is_better"] else "lower"
    return Group(
        Text(results["title"], style="bold"),
        Text(f"{results['study']}: {counts}"),
        Text(
            f"trial {best['number']}: {results['criterion']} {best['value']:.4f} ({higher} is better)\n"
        ),
        table,
        Text(
            f"\nimportance: share of the variance of {results['criterion']} over the trials (fANOVA). No target label was looked "
            "at: what the choice is worth, jdann train says.",
            style="dim",
        ),
    )


def draw(
    folder: Path, results: Mapping[str, Any], trials: Sequence[tuple[int, str, float | None]]
) -> None:
    """Draws history.png and, where enough trials differ, importance.png.

    Args:
      folder: where to.
      results: what results.json holds.
      trials: number, state and value of each.
    """
    plots.save(history(results, trials), folder / "history.png")
    if results["importance"]:
        plots.save(importance(results), folder / "importance.png")


def history(
    results: Mapping[str, Any], trials: Sequence[tuple[int, str, float | None]]
) -> "Figure":
    """Every trial's value, and the best so far. Arguments as of `draw`."""
    figure = plots.empty(7.0, 3.6, f"{results['criterion']} over the trials")
    axes = figure.subplots()
    complete = [
        (number, value)
        for number, state, value in trials
        if state == "complete" and value is not None
    ]
    number, value = (np.array(x) for x in zip(*complete, strict=True))
    best = (np.maximum if results["higher_is_better"] else np.minimum).accumulate(value)
    axes.plot(number, value, "o", color=_COLOUR, label="trial", markersize=4)
    axes.step(number, best, where="post", color="#CC3311", label="best so far")
    stopped = [n for n, state, _ in trials if state == "pruned"]
    if stopped:
        low = value.min()
        axes.plot(
            stopped,
            [low] * len(stopped),
            "x",
            color=_OTHER,
            label="pruned or diverged, at the trial's number",
            markersize=5,
        )
    axes.set_xlabel("trial")
    axes.set_ylabel(
        f"{results['criterion']} ({'higher' if results['higher_is_better'] else 'lower'} is better)"
    )
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    return figure


def importance(results: Mapping[str, Any]) -> "Figure":
    """Each key's share of the variance of the trials' values, the largest on top. Argument as of `draw`."""
    shares = sorted(results["importance"].items(), key=lambda item: item[1])
    figure = plots.empty(6.5, 1.2 + 0.38 * len(shares), f"What mattered for {results['criterion']}")
    axes = figure.subplots()
    axes.barh([key for key, _ in shares], [share for _, share in shares], color=_COLOUR)
    for place, (_, share) in enumerate(shares):
        axes.text(share + 0.01, place, f"{share:.0%}", va="center", fontsize=9)
    axes.set_xlim(0, max(share for _, share in shares) * 1.15 + 0.02)
    axes.set_xlabel("share of the variance over the trials (fANOVA)")
    return figure
