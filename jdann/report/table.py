"""The table of a run's scores, for the terminal and in Markdown, made from results.json."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jdann.corpora import Summary
from jdann.experiments.new_speakers import ADAPTED
from jdann.report.cells import DIRECTION, ScoreTable, direction_text, interval_text, number
from jdann.report.details import detail_table
from jdann.report.estimate_lines import estimate_lines
from jdann.report.in_short import in_short
from jdann.report.label_lines import label_lines

_PROTOCOLS = {
    "transductive": "transductive: adapted to all of the target's audio without labels, then "
    "scored on that audio",
    "inductive": "inductive: scored on target speakers whose audio was not adapted to",
}
_DEMO = "DEMO CORPUS (synthesised speech): proves the pipeline, says nothing about people"
_UNSCORED = (
    "Nothing could be scored, because the target has no labels: {}. "
    "The predictions are in predictions.csv."
)
_CONFOUNDED = (
    "Source and target are different corpora: besides the language, actors, rooms and microphones "
    "may differ."
)
_CEILING = (
    "supervised: trained on labels of the target itself; without such labels nobody can reach "
    "this score."
)
_ADAPTED = (
    "adapted to each speaker: after training, the model adapted to all clips of one new speaker at "
    "a time, without labels, as jdann predict --one-speaker does."
)
_MOST_ROWS = 100  # emotions, languages, genders or speakers that are listed
SCORES = "Scores"
SHARES = "Share of the target predicted as each emotion (not scored: the target has no labels)"


class Heading(NamedTuple):
    """The lines above the tables."""

    title: str  # the corpora
    warning: str | None  # that a corpus is synthesised
    protocol: str  # protocol and seeds
    in_short: tuple[str, ...]  # for each direction: how good it is, and what would help


def render(results: Mapping[str, Any]) -> RenderableType:
    """The table for the terminal.

    Args:
      results: the content of results.json.

    Returns:
      Title, a table for each direction, and notes, to be printed by `rich.console.Console`.
    """
    top = heading(results)
    parts: list[Any] = [Text(top.title, style="bold")]
    parts += [Text(top.warning, style="bold yellow")] if top.warning else []
    parts += [Text(top.protocol), *(Text(text, style="bold") for text in top.in_short)]
    for table in tables(results):
        caption = (
            "" if table.caption == SCORES else f": {table.caption[0].lower()}{table.caption[1:]}"
        )
        for direction in dict.fromkeys(cells[DIRECTION] for cells in table.rows):
            parts += [Text(f"\n{direction}{caption}\n", style="bold"), _drawn(table, direction)]
    return Group(*parts, Text(), *(Text(note, style="dim") for note in notes(results)))


def _drawn(table: ScoreTable, direction: str) -> Table:
    """The rows of one direction; its heading replaces a column, because terminals are narrow."""
    drawn = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style=""
    )
    columns = [column for column in range(len(table.header)) if column != DIRECTION]
    for column in columns:
        justify = "right" if column > DIRECTION else "left"
        # Names keep their width. On a narrow terminal spreads move below means, and headers wrap.
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
    """The table in Markdown.

    Args:
      results: the content of results.json.

    Returns:
      Title, tables and notes, as text that is readable as it is.
    """

    def joined(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    top = heading(results)
    parts = [f"**{top.title}**", *([top.warning] if top.warning else []), top.protocol]
    parts += top.in_short
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


def heading(results: Mapping[str, Any]) -> Heading:
    """The lines above the tables.

    Args:
      results: the content of results.json.
    """
    seeds = results["seeds"]
    listed = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    return Heading(
        results["title"],
        _DEMO if results["synthetic"] else None,
        f"{protocol(results)}; {listed}",
        tuple(in_short(results)),
    )


def protocol(results: Mapping[str, Any]) -> str:
    """What the scored utterances have to do with those that the run adapted to, in words.

    Args:
      results: the content of results.json. "adapted_utterances" is optional: the number of scored
        utterances whose audio was adapted to, written by `jdann evaluate --target`.
    """
    name: str = results["protocol"]
    if name != "elsewhere":
        return _PROTOCOLS.get(name, name)
    adapted = results.get("adapted_utterances")
    if adapted is None:
        return "scored on a corpus that was chosen after training"
    if not adapted:
        return "scored on another corpus, of which no audio was adapted to"
    total = results["directions"][0]["target"]["utterances"]
    return (
        f"scored on a corpus that was chosen after training; {adapted:,} of its {total:,} "
        "utterances were adapted to without labels"
    )


def notes(results: Mapping[str, Any]) -> list[str]:
    """What a reader of the tables must know: spread, chance, missing labels, confounded causes.

    Args:
      results: the content of results.json.
    """
    lines = []
    rows = results["rows"]
    if rows:
        has_spread = any(row["uar"]["std"] is not None for row in rows)
        spread = "; ± standard deviation over seeds" if has_spread else ""
        chance = number({"mean": 1 / len(results["emotions"]), "std": None})
        best = "bold: the best without target labels"
        lines.append(f"n: scored utterances{spread}; chance: UAR {chance}; {best}.")
    lines += _interval_notes(rows)
    lines += estimate_lines(results)
    lines += label_lines(results)
    if any(row["method"].startswith("supervised") for row in rows):
        lines.append(_CEILING)
    if any(row["method"].endswith(ADAPTED) for row in rows):
        lines.append(_ADAPTED)
    for direction in results["directions"]:
        target = direction["target"]
        if count := target.get("target_labels", 0):
            lines.append(
                f"{target['name']}: {count} utterances were trained on with the labels of "
                "config.target_labels; they are not scored."
            )
    unscored = list(dict.fromkeys(share["target"] for share in _unscored(results)))
    if unscored:
        lines.append(_UNSCORED.format(", ".join(unscored)))
    # "esd:en" and "esd:zh" are one corpus; two folders or manifests are two.
    corpora = [
        {direction[side]["name"].split(":")[0] for side in ("source", "target")}
        for direction in results["directions"]
    ]
    if any(len(names) > 1 for names in corpora):
        lines.append(_CONFOUNDED)
    return lines


def _interval_notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the intervals say and what was resampled, one sentence or two for each target."""
    intervals = {row["target"]: row["interval"] for row in rows if row.get("interval")}
    texts = {
        "speakers": "for other speakers like these {count:,}, who were resampled",
        "clips": "for other clips like these {count:,}, which were resampled because too few "
        "speakers are known; other speakers may move the score further",
    }
    lines = [
        f"{interval['level']:.0%} interval: {texts[interval['resampled']].format(**interval)}"
        for interval in intervals.values()
    ]
    if len(set(lines)) > 1:
        lines = [f"{target}, {line}" for target, line in zip(intervals, lines, strict=True)]
    return [f"{line}." for line in dict.fromkeys(lines)]


def tables(results: Mapping[str, Any]) -> list[ScoreTable]:
    """The tables of a run.

    Args:
      results: the content of results.json.

    Returns:
      The scores of all directions, what else is known of them, and the shares of the predicted
      emotions in directions without labels.
    """
    unscored = _unscored(results)
    details = detail_table(results)
    return [
        *([_score_table(results)] if results["rows"] else []),
        *([details] if details is not None else []),
        *([_share_table(unscored, results["emotions"])] if unscored else []),
    ]


def _unscored(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The shares of the predicted emotions in directions in which nothing was scored."""
    scored = {direction_text(row) for row in results["rows"]}
    return [share for share in results["predicted_share"] if direction_text(share) not in scored]


def _score_table(results: Mapping[str, Any]) -> ScoreTable:
    """A row for each method, encoder and direction; each way of selection has a column of UAR."""
    groups: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    for row in results["rows"]:
        group = (direction_text(row), row["encoder"], row["method"])
        groups.setdefault(group, {})[row["selection"]] = row
    used = dict.fromkeys(row["selection"] for row in results["rows"])
    selections = sorted(used, key=lambda name: {"last": 0, "oracle": 2}.get(name, 1))
    with_gains = any("uar_gain" in row for row in results["rows"])
    with_intervals = any(row.get("interval") for row in results["rows"])
    titles = [
        "oracle (not achievable)" if name == "oracle" else name.replace("_", " ")
        for name in selections
    ]
    header = ["method", "encoder", "direction", "n", *(f"UAR, {title}" for title in titles)]
    header[5:5] = [f"95% interval, {titles[0]}"] * with_intervals
    header += ["gain over source only"] * with_gains + ["accuracy", "macro-F1"]
    order = list(dict.fromkeys(direction for direction, _, _ in groups))
    rows: list[list[str]] = []
    # The best UAR of each direction, and its row and column (negated so that the first one wins).
    best: dict[str, tuple[float, int, int]] = {}
    for direction, encoder, method in sorted(groups, key=lambda group: order.index(group[0])):
        by_selection = groups[direction, encoder, method]
        first = by_selection.get("last") or next(iter(by_selection.values()))
        usual = first["protocol"] == results["protocol"] or method.startswith("supervised")
        name = method if usual else f"{method} ({first['protocol']})"
        cells = [name, encoder, direction, str(first["n"])]
        for selection in selections:
            row = by_selection.get(selection)
            if row is not None and row["achievable"]:
                candidate = (row["uar"]["mean"], -len(rows), -len(cells))
                best[direction] = max(best.get(direction, (-1.0, 0, 0)), candidate)
            cells.append(number(row["uar"]) if row is not None else "–")
            if with_intervals and selection == selections[0]:
                cells.append(interval_text(row and row.get("interval"), "uar"))
        gain = number(first["uar_gain"], sign=True) if "uar_gain" in first else "–"
        cells += [gain] * with_gains + [number(first["accuracy"]), number(first["macro_f1"])]
        rows.append(cells)
    marked = {(-row, -column) for _, row, column in best.values()}
    return ScoreTable(header, rows, marked, SCORES)


def _share_table(shares: Sequence[Mapping[str, Any]], emotions: Sequence[str]) -> ScoreTable:
    """Which share of the target each method predicts to be each emotion."""
    header = ["method", "encoder", "direction", *(f"predicted {emotion}" for emotion in emotions)]
    rows = [
        [
            row["method"],
            row["encoder"],
            direction_text(row),
            *(f"{row['share'][emotion]:.1%}" for emotion in emotions),
        ]
        for row in shares
    ]
    return ScoreTable(header, rows, set(), SHARES)


def render_summaries(summaries: Sequence[Summary]) -> RenderableType:
    """A table of corpora for the terminal, with a column for each corpus.

    Args:
      summaries: from `jdann.corpora.describe`.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("")
    for summary in summaries:
        table.add_column(Text(f"{summary.name}\n{summary.description}"), justify="right")
    lines = {
        "utterances": [f"{s.utterances:,}" for s in summaries],
        "labelled": [f"{s.labelled:,}" for s in summaries],
        "hours": [f"{s.hours:.2f}" for s in summaries],
        "unreadable": [f"{s.unreadable:,}" for s in summaries],
        "left out": [f"{s.skipped:,}" for s in summaries],
    }
    for title in ("emotions", "languages", "genders", "speakers"):
        counts = [dict(getattr(s, title)) for s in summaries]
        names = list(dict.fromkeys(name for count in counts for name in count))
        for name in names[:_MOST_ROWS]:
            lines[f"{title[:-1]} {name}"] = [f"{count.get(name, 0):,}" for count in counts]
        if rest := names[_MOST_ROWS:]:
            sums = [sum(count.get(name, 0) for name in rest) for count in counts]
            lines[f"{len(rest):,} more {title}"] = [f"{total:,}" for total in sums]
    for name, cells in lines.items():
        table.add_row(name, *cells)
    notes = [Text(f"{s.name}: {note}", style="dim") for s in summaries for note in s.notes]
    return Group(table, *notes)
