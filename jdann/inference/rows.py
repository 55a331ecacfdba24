"""The rows of probabilities: how they are made, written and printed."""

import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jdann import files
from jdann.inference.answers import Answer
from jdann.inference.items import Bad, Item, count_items
from jdann.inference.options import Options
from jdann.selection.prediction_sets import make_sets

log = logging.getLogger("jdann")
_NO_SPEECH = "no speech"  # shown for a clip that holds none; its cells in a csv are empty


def row_columns(labels: tuple[str, ...], options: Options) -> list[str]:
    """The columns of a row after those of its item."""
    times = ["start", "end"] if options.timeline else []
    return [*times, *_answer_columns(labels, options)]


def _answer_columns(labels: tuple[str, ...], options: Options) -> list[str]:
    plausible = [] if options.set_level is None else ["plausible"]
    return ["predicted", "confidence", *plausible, *(f"p_{label}" for label in labels), "doubt"]


def make_row(labels: tuple[str, ...], answer: Answer, options: Options) -> dict[str, Any]:
    """The columns of one answer; all of them are empty if there are no probabilities."""
    probabilities = answer.probabilities
    if np.isnan(probabilities).any():
        return dict.fromkeys(_answer_columns(labels, options), "")
    order = np.argsort(-probabilities, kind="stable")
    best = int(order[0])
    row: dict[str, Any] = {
        "predicted": labels[best] if probabilities[best] >= options.abstain else "",
        "confidence": float(probabilities[best]),
    }
    if options.set_level is not None:
        (chosen,) = make_sets(probabilities[None], options.set_level)
        row["plausible"] = " ".join(labels[i] for i in order if chosen[i])
    row |= {f"p_{label}": float(p) for label, p in zip(labels, probabilities, strict=True)}
    return row | {"doubt": answer.doubt}


def write(rows: Sequence[dict[str, Any]], path: Path | None, as_json: bool) -> None:
    """Writes rows as a csv to `path`, and prints them as JSON or, without a path, as a table."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[csv_cell(row.get(name)) for name in columns] for row in rows]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_csv(path, columns, cells)
    if as_json:
        for row in rows:
            values = {name: None if value == "" else value for name, value in row.items()}
            print(json.dumps(values, ensure_ascii=False))
    elif path is None:
        shown = [
            [
                _NO_SPEECH if name == "predicted" and row["confidence"] == "" else cell
                for name, cell in zip(columns, line, strict=True)
            ]
            for row, line in zip(rows, cells, strict=True)
        ]
        lines = [[name.removeprefix("p_") for name in columns], *shown]
        width = [max(len(line[i]) for line in lines) for i in range(len(columns))]
        for line in lines:
            print("  ".join(text.ljust(width[i]) for i, text in enumerate(line)).rstrip())
    sys.stdout.flush()


def report(rows: Sequence[dict[str, Any]], bad: Sequence[Bad], items: Sequence[Item]) -> int:
    """Prints to standard error which items could not be used.

    Returns:
      The exit status: 0, or 1 if some were left out.
    """
    for _, file, reason in bad:
        print(f"left out: {file}: {reason}", file=sys.stderr)
    if bad:
        print(f"{len(bad)} of {count_items(items)} were left out", file=sys.stderr)
    if rows:
        counts = Counter(
            _NO_SPEECH if row["confidence"] == "" else str(row["predicted"]) or "none"
            for row in rows
        ).most_common()
        text = ", ".join(f"{name} {count}" for name, count in counts)
        log.info("%d rows: %s", len(rows), text)
    return 1 if bad else 0


def csv_cell(value: Any) -> str:
    """A value as the text of a cell."""
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else str(value)
