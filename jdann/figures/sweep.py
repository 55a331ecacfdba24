"""Tables for the terminal and heat maps of a sweep, made from its results.json."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jdann.figures import plots
from jdann.selection import CRITERIA

Row = Mapping[str, Any]
_POINT = ("strength", "learning_rate", "weight_decay")
_JOB = ("method", "encoder", "source", "target")
_MOST_POINTS = 60  # in the table for the terminal; sweep.csv has all of them
_MOST_NUMBERS = 150  # cells of a heat map with numbers in them
_NOTE = (
    "UAR, loss to the oracle and rank correlation need the target's labels: they are analysis, and "
    "nobody could choose by them without labels. by lot: the mean over all points. Rank "
    "correlation: Spearman's, of the criterion with the UAR over all points and seeds; it is "
    "positive if the criterion is right."
)


class Job(NamedTuple):
    """The rows of one method, encoder and direction."""

    method: str
    encoder: str
    source: str
    target: str
    rows: list[Row]
    choices: list[Row]

    @property
    def title(self) -> str:
        """For headings, such as "dann, conv1d, esd:en → esd:zh"."""
        return f"{self.method}, {self.encoder}, {self.source} → {self.target}"


def render(results: Row) -> RenderableType:
    """The tables for the terminal: the points of each method, and the choice of each criterion.

    Args:
      results: the content of results.json of a sweep.
    """
    criterion = results["config"]["sweep"]["criterion"]
    parts: list[Any] = [Text(results["title"], style="bold")]
    for job in _jobs(results):
        parts.append(Text(f"\n{job.title}\n", style="bold"))
        parts += [_points(job.rows, criterion), Text(), _choices(job.choices)]
        more = len(job.rows) - _MOST_POINTS
        if more > 0:
            parts.append(Text(f"{more} more points are in sweep.csv", style="dim"))
    parts += [Text(f"\n{line}", style="bold yellow") for line in results["failed"]]
    if results["scored"]:
        parts.append(Text(f"\n{_NOTE}", style="dim"))
    return Group(*parts)


def _jobs(results: Row) -> list[Job]:
    """The rows and the choices of each method, encoder and direction."""

    def name(row: Row) -> tuple[str, ...]:
        return tuple(row[key] for key in _JOB)

    return [
        Job(
            *job,
            rows=[row for row in results["rows"] if name(row) == job],
            choices=[row for row in results["choices"] if name(row) == job],
        )
        for job in dict.fromkeys(map(name, results["rows"]))
    ]


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], bold: set[int], left: int
) -> Table:
    """A table for the terminal; the first `left` columns are aligned to the left."""
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style=""
    )
    for column, name in enumerate(header):
        table.add_column(name, justify="left" if column < left else "right", overflow="fold")
    for index, cells in enumerate(rows):
        table.add_row(*cells, style="bold" if index in bold else None)
    return table


def _points(rows: Sequence[Row], criterion: str) -> Table:
    """The criterion and the UAR of each point."""
    scored = any(row["analysis"] for row in rows)
    names = [name.replace("_", " ") for name in _POINT]
    header = [*names, criterion, *["UAR (analysis)"] * scored, "diverged"]
    lines = []
    for row in rows[:_MOST_POINTS]:
        line = [*(_number(row[name]) for name in _POINT), _spread(row["criteria"].get(criterion))]
        if scored:
            line.append(_spread(row["analysis"]["uar"] if row["analysis"] else None))
        line.append(", ".join(f"seed {seed}: {step}" for seed, step in row["diverged"].items()))
        lines.append(line)
    return _table(header, lines, bold=set(), left=0)


def _choices(choices: Sequence[Row]) -> Table:
    """The point that each criterion chooses, and what the choice is worth."""
    scored = any(row["analysis"] for row in choices)
    names = [name.replace("_", " ") for name in _POINT]
    analysis = ["UAR (analysis)", "loss to oracle", "rank correlation"]
    header = ["chosen by", *names, *analysis * scored]
    lines = []
    for row in choices:
        name = "oracle (not achievable)" if row["criterion"] == "oracle" else row["criterion"]
        line = [name, *(_number(row[key]) for key in _POINT)]
        if scored and row["analysis"]:
            loss = row["analysis"]["loss_to_oracle"]
            correlation = row["analysis"]["rank_correlation"]
            line += [
                _spread(row["analysis"]["uar"]),
                "–" if loss is None else f"{loss:.3f}",
                "–" if correlation is None else f"{correlation:+.2f}",
            ]
        lines.append(line + [""] * (len(header) - len(line)))
    # The last two rows are the oracle and the mean over all points.
    return _table(header, lines, bold={len(choices) - 2} if scored else set(), left=1)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _spread(summary: Row | None) -> str:
    """Mean and standard deviation as text."""
    if summary is None:
        return "–"
    spread = "" if summary["std"] is None else f" ±{summary['std']:.3f}"
    return f"{summary['mean']:.3f}{spread}"


def draw(folder: Path, results: Row) -> None:
    """Draws the heat map of each method into files sweep-METHOD-ENCODER.png.

    Args:
      folder: folder of the files. If there are two directions, the names end with -1 and -2.
      results: the content of results.json of a sweep.
    """
    criterion = results["config"]["sweep"]["criterion"]
    directions = list(dict.fromkeys((row["source"], row["target"]) for row in results["rows"]))
    for job in _jobs(results):
        number = directions.index((job.source, job.target)) + 1
        suffix = f"-{number}" if len(directions) > 1 else ""
        figure = heat_map(job.rows, job.choices, criterion, job.title)
        plots.save(figure, folder / f"sweep-{job.method}-{job.encoder}{suffix}.png")


def heat_map(rows: Sequence[Row], choices: Sequence[Row], criterion: str, title: str) -> Figure:
    """Draws the mean UAR and the mean of a criterion over strength and learning rate.

    Args:
      rows: the rows of one method, encoder and direction, as
        `jdann.experiments.sweep.result_rows` returns them.
      choices: the rows of `jdann.experiments.sweep.choices`. The choice of the criterion gets a
        frame, and the choice of the oracle a dashed one.
      criterion: the name of a criterion.
      title: title of the figure.

    Returns:
      A figure with a line of panels for each weight decay.
    """
    values = {
        name: sorted({row[name] for row in rows}, key=lambda value: (value is None, value))
        for name in _POINT
    }
    strengths, rates, decays = (values[name] for name in _POINT)
    points = {tuple(row[key] for key in _POINT): row for row in rows}
    scored = any(row["analysis"] for row in rows)
    higher = "higher" if CRITERIA[criterion].higher_is_better else "lower"
    panels = [("UAR (needs target labels: analysis)", "uar")] * scored
    panels += [(f"{criterion} ({higher} is better)", criterion)]
    width = max(3.4, 1.6 + 0.85 * len(strengths))
    height = 1.3 + 0.55 * len(rates)
    figure = plots.empty(len(panels) * width, 0.9 + len(decays) * height, title)
    grid = figure.subplots(len(decays), len(panels), squeeze=False)
    for column, (label, quantity) in enumerate(panels):
        summaries = {point: _summary(row, quantity) for point, row in points.items()}
        means = [summary["mean"] for summary in summaries.values() if summary is not None]
        limits = (min(means), max(means)) if means else (0.0, 1.0)
        for line, decay in enumerate(decays):
            cells = [
                [(summaries[x, y, decay], len(points[x, y, decay]["diverged"])) for x in strengths]
                for y in rates
            ]
            axes = grid[line, column]
            figure.colorbar(_panel(axes, cells, limits, strengths, rates), ax=axes)
            below = f"\nweight decay {decay:g}" if len(decays) > 1 else ""
            axes.set_title(label + below, fontsize=10)
            for choice in choices:
                if choice["criterion"] in (criterion, "oracle") and choice["weight_decay"] == decay:
                    x = strengths.index(choice["strength"])
                    y = rates.index(choice["learning_rate"])
                    _frame(axes, x, y, choice["criterion"] == "oracle")
    note = f"frame: the choice of {criterion}"
    note += ", dashed: the choice of the oracle (not achievable)" if scored else ""
    figure.supxlabel(f"{note}; ± standard deviation over seeds", fontsize=8, color="#555555")
    return figure


def _summary(row: Row, quantity: str) -> Row | None:
    """Mean and spread of the UAR or of a criterion at one point."""
    if quantity != "uar":
        return row["criteria"].get(quantity)
    return row["analysis"]["uar"] if row["analysis"] else None


def _panel(
    axes: Axes,
    cells: Sequence[Sequence[tuple[Row | None, int]]],
    limits: tuple[float, float],
    strengths: Sequence[float | None],
    rates: Sequence[float | None],
) -> "AxesImage":
    """Draws one heat map; a cell is a summary and the number of seeds that diverged."""
    means = [[np.nan if s is None else s["mean"] for s, _ in line] for line in cells]
    image = axes.imshow(
        np.ma.masked_invalid(means),
        cmap="viridis",
        aspect="auto",
        vmin=limits[0],
        vmax=limits[1],
        origin="lower",
    )
    axes.set_facecolor("#DDDDDD")
    axes.set_xticks(range(len(strengths)), [_number(value) for value in strengths])
    axes.set_yticks(range(len(rates)), [_number(value) for value in rates])
    axes.set_xlabel("strength (largest λ)")
    axes.set_ylabel("learning rate")
    if image.get_size()[0] * image.get_size()[1] > _MOST_NUMBERS:
        return image
    middle = (limits[0] + limits[1]) / 2
    for y, line in enumerate(cells):
        for x, (summary, diverged) in enumerate(line):
            dark = summary is not None and summary["mean"] < middle
            colour = "white" if dark else "black"
            text = _cell_text(summary, diverged)
            axes.text(x, y, text, ha="center", va="center", fontsize=7.5, color=colour)
    return image


def _cell_text(summary: Row | None, diverged: int) -> str:
    if summary is None:
        return "diverged" if diverged else ""
    lines = [f"{summary['mean']:.3f}"]
    if summary["std"] is not None:
        lines.append(f"±{summary['std']:.3f}")
    if diverged:
        lines.append(f"{diverged} diverged")
    return "\n".join(lines)


def _frame(axes: Axes, x: int, y: int, oracle: bool) -> None:
    """Draws a frame around a cell; that of the oracle is smaller and dashed."""
    inset = 0.06 if oracle else 0.0
    side = 0.96 - 2 * inset
    axes.add_patch(
        Rectangle(
            (x - 0.48 + inset, y - 0.48 + inset),
            side,
            side,
            fill=False,
            edgecolor="#000000" if oracle else "#CC3311",
            linestyle="--" if oracle else "-",
            linewidth=2,
            path_effects=[withStroke(linewidth=4, foreground="white")],
        )
    )
