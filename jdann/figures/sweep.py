"""What a sweep found: tables for the terminal and heat maps, from what its results.json holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jdann.figures import plots
from jdann.selection import CRITERIA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import RenderableType
    from rich.table import Table

_POINT = ("strength", "learning_rate", "weight_decay")
_JOB = ("method", "encoder", "source", "target")
_MOST_SHOWN = 60  # points in the terminal's table; sweep.csv has all
_MOST_LETTERED = 150  # cells of a heat map with numbers in them
_NOTE = (
    "UAR, loss to the oracle and rank correlation need the target's labels: they are analysis, and no such choice is achievable. "
    "by lot: the mean over all points. Rank correlation: Spearman's, of the criterion with the UAR over all points and seeds; "
    "positive where the criterion is right."
)


def render(results: Mapping[str, Any]) -> "RenderableType":
    """The tables for the terminal: each method's points, and what each criterion would have chosen of them.

    Args:
      results: what a sweep's results.json holds.
    """
    from rich.console import Group
    from rich.text import Text

    criterion = results["config"]["sweep"]["criterion"]
    parts: list[Any] = [Text(results["title"], style="bold")]
    for job, rows, choices in _jobs(results):
        parts.append(
            Text(
                f"\n{job['method']}, {job['encoder']}, {job['source']} → {job['target']}\n",
                style="bold",
            )
        )
        parts += [_points(rows, criterion), Text(), _choices(choices)]
        if len(rows) > _MOST_SHOWN:
            parts.append(
                Text(f"{len(rows) - _MOST_SHOWN} more points are in sweep.csv", style="dim")
            )
    parts += [Text(f"\n{line}", style="bold yellow") for line in results["failed"]]
    if results["scored"]:
        parts.append(Text(f"\n{_NOTE}", style="dim"))
    return Group(*parts)


def _jobs(
    results: Mapping[str, Any],
) -> list[tuple[dict[str, str], list[Mapping[str, Any]], list[Mapping[str, Any]]]]:
    """The rows and choices of each method, encoder and direction."""
    jobs = list(dict.fromkeys(tuple(row[key] for key in _JOB) for row in results["rows"]))

    def of(job: tuple[str, ...], what: str) -> list[Mapping[str, Any]]:
        return [row for row in results[what] if tuple(row[key] for key in _JOB) == job]

    return [
        (dict(zip(_JOB, job, strict=True)), of(job, "rows"), of(job, "choices")) for job in jobs
    ]


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], bold: set[int], left: int
) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style=""
    )
    for column, name in enumerate(header):
        table.add_column(name, justify="left" if column < left else "right", overflow="fold")
    for index, cells in enumerate(rows):
        table.add_row(*cells, style="bold" if index in bold else None)
    return table


def _points(rows: Sequence[Mapping[str, Any]], criterion: str) -> "Table":
    scored = any(row["analysis"] for row in rows)
    header = [
        *(name.replace("_", " ") for name in _POINT),
        criterion,
        *["UAR (analysis)"] * scored,
        "diverged",
    ]
    cells = []
    for row in rows[:_MOST_SHOWN]:
        analysis = [_spread(row["analysis"]["uar"] if row["analysis"] else None)] * scored
        diverged = ", ".join(f"seed {seed}: {where}" for seed, where in row["diverged"].items())
        cells.append(
            [
                *(_plain(row[name]) for name in _POINT),
                _spread(row["criteria"].get(criterion)),
                *analysis,
                diverged,
            ]
        )
    return _table(header, cells, set(), 0)


def _choices(choices: Sequence[Mapping[str, Any]]) -> "Table":
    scored = any(row["analysis"] for row in choices)
    names = [name.replace("_", " ") for name in _POINT]
    header = [
        "chosen by",
        *names,
        *["UAR (analysis)", "loss to oracle", "rank correlation"] * scored,
    ]
    cells = []
    for row in choices:
        name = "oracle (not achievable)" if row["criterion"] == "oracle" else row["criterion"]
        line = [name, *(_plain(row[key]) for key in _POINT)]
        analysis = row["analysis"]
        if scored and analysis:
            correlation = analysis["rank_correlation"]
            loss = (
                "–" if analysis["loss_to_oracle"] is None else f"{analysis['loss_to_oracle']:.3f}"
            )
            line += [
                _spread(analysis["uar"]),
                loss,
                "–" if correlation is None else f"{correlation:+.2f}",
            ]
        cells.append(line + [""] * (len(header) - len(line)))
    return _table(header, cells, {len(choices) - 2} if scored else set(), 1)


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _spread(summary: Mapping[str, Any] | None) -> str:
    if summary is None:
        return "–"
    return f"{summary['mean']:.3f}" + ("" if summary["std"] is None else f" ±{summary['std']:.3f}")


def draw(folder: Path, results: Mapping[str, Any]) -> None:
    """Draws each method's heat map into `folder`, as sweep-METHOD-ENCODER[-2].png."""
    criterion = results["config"]["sweep"]["criterion"]
    directions = list(dict.fromkeys((row["source"], row["target"]) for row in results["rows"]))
    for job, rows, choices in _jobs(results):
        which = directions.index((job["source"], job["target"]))
        suffix = f"-{which + 1}" if len(directions) > 1 else ""
        title = f"{job['method']}, {job['encoder']}, {job['source']} → {job['target']}"
        figure = heat_map(rows, choices, criterion, title)
        plots.save(figure, folder / f"sweep-{job['method']}-{job['encoder']}{suffix}.png")


def heat_map(
    rows: Sequence[Mapping[str, Any]],
    choices: Sequence[Mapping[str, Any]],
    criterion: str,
    title: str,
) -> "Figure":
    """Strength by learning rate, a line of panels for each weight decay: the mean UAR, and the mean of a criterion.

    Args:
      rows: of one method, encoder and direction, as `jdann.experiments.sweep.result_rows` gives them.
      choices: as `jdann.experiments.sweep.choices` gives them; the criterion's is framed, and the oracle's with dashes.
      criterion: the name of a criterion.
      title: of the figure.
    """
    of: dict[str, list[Any]] = {
        name: sorted({row[name] for row in rows}, key=lambda v: (v is None, v)) for name in _POINT
    }
    scored = any(row["analysis"] for row in rows)
    higher = "higher" if CRITERIA[criterion].higher_is_better else "lower"
    panels = [("UAR (needs target labels: analysis)", "uar")] * scored + [
        (f"{criterion} ({higher} is better)", criterion)
    ]
    width = max(3.4, 1.6 + 0.85 * len(of["strength"]))
    height = 1.3 + 0.55 * len(of["learning_rate"])
    figure = plots.empty(len(panels) * width, 0.9 + len(of["weight_decay"]) * height, title)
    axes = figure.subplots(len(of["weight_decay"]), len(panels), squeeze=False)
    for column, (label, what) in enumerate(panels):
        summaries = {tuple(row[key] for key in _POINT): _summary(row, what) for row in rows}
        means = [s["mean"] for s in summaries.values() if s is not None]
        limits = (min(means), max(means)) if means else (0.0, 1.0)
        for line, decay in enumerate(of["weight_decay"]):
            grid = [[summaries[x, y, decay] for x in of["strength"]] for y in of["learning_rate"]]
            lost = [
                [_lost(rows, (x, y, decay)) for x in of["strength"]] for y in of["learning_rate"]
            ]
            at = axes[line, column]
            image = _panel(at, grid, lost, limits, of)
            at.set_title(
                label + (f"\nweight decay {decay:g}" if len(of["weight_decay"]) > 1 else ""),
                fontsize=10,
            )
            figure.colorbar(image, ax=at)
            for choice in choices:
                if choice["criterion"] in (criterion, "oracle") and choice["weight_decay"] == decay:
                    place = (
                        of["strength"].index(choice["strength"]),
                        of["learning_rate"].index(choice["learning_rate"]),
                    )
                    _frame(at, place, choice["criterion"] == "oracle")
    note = f"frame: the choice of {criterion}" + (
        ", dashed: of the oracle (not achievable)" if scored else ""
    )
    figure.supxlabel(f"{note}; ± standard deviation over seeds", fontsize=8, color="#555555")
    return figure


def _summary(row: Mapping[str, Any], what: str) -> Mapping[str, Any] | None:
    if what != "uar":
        return row["criteria"].get(what)
    return row["analysis"]["uar"] if row["analysis"] else None


def _lost(rows: Sequence[Mapping[str, Any]], point: tuple[Any, ...]) -> int:
    """How many seeds diverged at a point."""
    return next(len(row["diverged"]) for row in rows if tuple(row[key] for key in _POINT) == point)


def _panel(
    at: "Axes",
    grid: Sequence[Sequence[Any]],
    lost: Sequence[Sequence[int]],
    limits: Any,
    of: Mapping[str, Any],
) -> Any:
    values = np.array([[np.nan if s is None else s["mean"] for s in line] for line in grid])
    image = at.imshow(
        np.ma.masked_invalid(values),
        cmap="viridis",
        aspect="auto",
        vmin=limits[0],
        vmax=limits[1],
        origin="lower",
    )
    at.set_facecolor("#DDDDDD")
    at.set_xticks(range(len(of["strength"])), [_plain(v) for v in of["strength"]])
    at.set_yticks(range(len(of["learning_rate"])), [_plain(v) for v in of["learning_rate"]])
    at.set_xlabel("strength (largest λ)")
    at.set_ylabel("learning rate")
    if values.size > _MOST_LETTERED:
        return image
    middle = (limits[0] + limits[1]) / 2
    for y, line in enumerate(grid):
        for x, summary in enumerate(line):
            text = "" if summary is None else f"{summary['mean']:.3f}"
            if summary is not None and summary["std"] is not None:
                text += f"\n±{summary['std']:.3f}"
            if lost[y][x]:
                text += f"\n{lost[y][x]} diverged" if text else "diverged"
            dark = summary is not None and summary["mean"] < middle
            at.text(
                x,
                y,
                text,
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if dark else "black",
            )
    return image


def _frame(at: "Axes", place: tuple[int, int], oracle: bool) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    inset = 0.06 if oracle else 0.0
    corner = place[0] - 0.48 + inset, place[1] - 0.48 + inset
    side = 0.96 - 2 * inset
    colour, style = ("#000000", "--") if oracle else ("#CC3311", "-")
    halo = [withStroke(linewidth=4, foreground="white")]
    at.add_patch(
        Rectangle(
            corner,
            side,
            side,
            fill=False,
            edgecolor=colour,
            linestyle=style,
            linewidth=2,
            path_effects=halo,
        )
    )
