"""The table of a run's scores, for the terminal and in Markdown, from what results.json holds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from jdann.corpora import Summary

_PROTOCOLS = {
    "transductive": "transductive: adapted to all of the target's audio without labels, then scored on that audio",
    "elsewhere": "scored on another corpus than the one adapted to",
    "inductive": "inductive: scored on target speakers whose audio was not adapted to",
}
_DEMO = "DEMO CORPUS (synthesised speech): proves the pipeline, says nothing about people"
_UNSCORED = "Nothing could be scored, because the target has no labels: {}. The predictions are in predictions.csv."
_CONFOUNDED = "Source and target are different corpora: actors, rooms and microphones may differ, not language alone."
_CEILING = "supervised: trained on labels of the target itself, a ceiling that is not achievable without them."
DIRECTION = 2  # its column


class ScoreTable(NamedTuple):
    """Cells as text."""

    header: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]]  # row and column of the cells to mark


def render(results: Mapping[str, Any]) -> "RenderableType":
    """The table for the terminal.

    Args:
      results: what results.json holds.

    Returns:
      Title, a table for each direction, and notes, to be printed by `rich.console.Console`.
    """
    from rich.console import Group
    from rich.text import Text

    title, *lines = headlines(results)
    parts: list[Any] = [Text(title, style="bold")]
    parts += [Text(line, style="bold yellow" if line == _DEMO else "") for line in lines]
    for table in tables(results):
        for direction in dict.fromkeys(cells[DIRECTION] for cells in table.rows):
            parts += [Text(f"\n{direction}\n", style="bold"), _drawn(table, direction)]
    return Group(*parts, Text(), *(Text(note, style="dim") for note in notes(results)))


def _drawn(table: ScoreTable, direction: str) -> "Table":
    """The rows of one direction, which its heading names: terminals are narrow."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style=""
    )
    columns = [column for column in range(len(table.header)) if column != DIRECTION]
    for column in columns:
        justify = "right" if column > DIRECTION else "left"
        # Names keep their width; where there is too little, spreads go below their means and headers are broken.
        name = column < DIRECTION
        drawn.add_column(Text(table.header[column]), justify=justify, overflow="fold", no_wrap=name)
    for index, cells in enumerate(table.rows):
        if cells[DIRECTION] == direction:
            texts = [
                Text(cell.replace(", ", ",\n"), "bold" if (index, c) in table.best else "")
                for c, cell in enumerate(cells)
            ]
            drawn.add_row(*(texts[column] for column in columns))
    return drawn


def markdown(results: Mapping[str, Any]) -> str:
    """The same in Markdown.

    Args:
      results: what results.json holds.

    Returns:
      Title, tables and notes, as text that also reads well as it is.
    """

    def joined(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    title, *lines = headlines(results)
    parts = [f"**{title}**", *lines]
    for table in tables(results):
        rule = ["---:" if column > DIRECTION else "---" for column in range(len(table.header))]
        rows = [
            [
                f"**{cell}**" if (index, column) in table.best else cell.replace("|", r"\|")
                for column, cell in enumerate(cells)
            ]
            for index, cells in enumerate(table.rows)
        ]
        parts.append("\n".join(joined(cells) for cells in (table.header, rule, *rows)))
    return "\n\n".join([*parts, *notes(results)]) + "\n"


def headlines(results: Mapping[str, Any]) -> list[str]:
    """Corpora in plain words; a warning where they are synthesised; protocol and seeds."""
    seeds = results["seeds"]
    listed = ", ".join(str(seed) for seed in seeds)
    protocol = _PROTOCOLS.get(results["protocol"], results["protocol"])
    return [
        results["title"],
        *([_DEMO] if results["synthetic"] else []),
        f"{protocol}; {'seed' if len(seeds) == 1 else 'seeds'} {listed}",
    ]


def notes(results: Mapping[str, Any]) -> list[str]:
    """What a reader of the tables has to know: spread, chance, what could not be scored, what is confounded."""
    found = []
    rows = results["rows"]
    if rows:
        spread = "; ± standard deviation over seeds" if len(results["seeds"]) > 1 else ""
        chance = number({"mean": 1 / len(results["emotions"]), "std": None})
        found.append(
            f"n: scored utterances{spread}; chance: UAR {chance}; bold: the best without target labels."
        )
    if any(row["method"].startswith("supervised") for row in rows):
        found.append(_CEILING)
    unscored = list(dict.fromkeys(share["target"] for share in _unscored(results)))
    if unscored:
        found.append(_UNSCORED.format(", ".join(unscored)))
    # "esd:en" and "esd:zh" are one corpus; two folders or manifests are two.
    corpora = [
        {d[side]["name"].split(":")[0] for side in ("source", "target")}
        for d in results["directions"]
    ]
    if any(len(names) > 1 for names in corpora):
        found.append(_CONFOUNDED)
    return found


def tables(results: Mapping[str, Any]) -> list[ScoreTable]:
    """The scores of all directions, and the predicted class shares of those in which nothing could be scored."""
    found = []
    if results["rows"]:
        found.append(_score_table(results))
    unscored = _unscored(results)
    if unscored:
        found.append(_share_table(unscored, results["emotions"]))
    return found


def _unscored(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The predicted class shares of directions in which nothing was scored."""
    scored = {_direction(row) for row in results["rows"]}
    return [share for share in results["predicted_share"] if _direction(share) not in scored]


def _direction(row: Mapping[str, Any]) -> str:
    return f"{row['source']} → {row['target']}"


def _score_table(results: Mapping[str, Any]) -> ScoreTable:
    """One row for each method, encoder and direction; the UAR of each way of selecting side by side."""
    groups: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    for row in results["rows"]:
        groups.setdefault((_direction(row), row["encoder"], row["method"]), {})[
            row["selection"]
        ] = row
    found = {row["selection"]: None for row in results["rows"]}
    selections = sorted(found, key=lambda name: {"last": 0, "oracle": 2}.get(name, 1))
    gains = any("uar_gain" in row for row in results["rows"])
    titles = [
        "oracle (not achievable)" if name == "oracle" else name.replace("_", " ")
        for name in selections
    ]
    header = ["method", "encoder", "direction", "n", *(f"UAR, {title}" for title in titles)]
    header += ["gain over source only"] * gains + ["accuracy", "macro-F1"]
    order = list(dict.fromkeys(direction for direction, _, _ in groups))
    rows: list[list[str]] = []
    best: dict[str, tuple[float, int, int]] = {}
    for direction, encoder, method in sorted(groups, key=lambda group: order.index(group[0])):
        by_selection = groups[direction, encoder, method]
        first = by_selection.get("last") or next(iter(by_selection.values()))
        usual = first["protocol"] == results["protocol"] or method.startswith("supervised")
        cells = [
            method if usual else f"{method} ({first['protocol']})",
            encoder,
            direction,
            str(first["n"]),
        ]
        for selection in selections:
            row = by_selection.get(selection)
            if row is not None and row["achievable"]:
                best[direction] = max(
                    best.get(direction, (-1.0, 0, 0)), (row["uar"]["mean"], -len(rows), -len(cells))
                )
            cells.append(number(row["uar"]) if row is not None else "–")
        cells += [number(first["uar_gain"], sign=True) if "uar_gain" in first else "–"] * gains
        cells += [number(first["accuracy"]), number(first["macro_f1"])]
        rows.append(cells)
    return ScoreTable(header, rows, {(-row, -column) for _, row, column in best.values()})


def number(summary: Mapping[str, Any], sign: bool = False) -> str:
    """Mean and spread, .322 ±.010; the mean alone where there was one seed.

    Args:
      summary: "mean" and "std", None for one seed, as of `jdann.evaluation.metrics.summarise`.
      sign: also of what is positive.
    """
    mean = f"{summary['mean']:{'+' if sign else ''}.3f}"
    text = mean if summary["std"] is None else f"{mean} ±{summary['std']:.3f}"
    return text.replace("0.", ".")


def _share_table(shares: Sequence[Mapping[str, Any]], emotions: Sequence[str]) -> ScoreTable:
    """What part of the target each method takes for each emotion."""
    header = ["method", "encoder", "direction", *(f"predicted {emotion}" for emotion in emotions)]
    rows = [
        [
            row["method"],
            row["encoder"],
            _direction(row),
            *(f"{row['share'][emotion]:.1%}" for emotion in emotions),
        ]
        for row in shares
    ]
    return ScoreTable(header, rows, set())


def render_summaries(summaries: Sequence["Summary"]) -> "RenderableType":
    """What corpora hold, for the terminal: a column for each corpus.

    Args:
      summaries: from `jdann.corpora.describe`.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("")
    for summary in summaries:
        table.add_column(Text(f"{summary.name}\n{summary.description}"), justify="right")
    lines = {
        "utterances": [f"{s.utterances:,}" for s in summaries],
        "labelled": [f"{s.labelled:,}" for s in summaries],
        "hours": [f"{s.hours:.2f}" for s in summaries],
        "unreadable": [f"{s.unreadable + s.skipped:,}" for s in summaries],
    }
    for title in ("emotions", "languages", "genders", "speakers"):
        counts = [dict(getattr(s, title)) for s in summaries]
        for name in dict.fromkeys(name for count in counts for name in count):
            lines[f"{title[:-1]} {name}"] = [f"{count.get(name, 0):,}" for count in counts]
    for name, cells in lines.items():
        table.add_row(name, *cells)
    notes = [Text(f"{s.name}: {note}", style="dim") for s in summaries for note in s.notes]
    return Group(table, *notes)
