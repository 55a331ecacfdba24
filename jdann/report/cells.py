"""Formats the cells of tables of scores."""

from collections.abc import Mapping
from typing import Any, NamedTuple

DIRECTION = 2  # index of the column


class ScoreTable(NamedTuple):
    """A table whose cells are text."""

    header: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]]  # row and column of the cells to mark
    caption: str


def direction_text(row: Mapping[str, Any]) -> str:
    """The names of source and target, such as "esd:en → esd:zh"."""
    return f"{row['source']} → {row['target']}"


def number(summary: Mapping[str, Any], sign: bool = False) -> str:
    """Mean and spread as text, such as ".322 ±.010"; the mean alone for a single seed.

    Args:
      summary: "mean" and "std", as `jdann.evaluation.metrics.summarise` returns them.
      sign: whether a positive mean gets a plus sign.
    """
    mean = f"{summary['mean']:{'+' if sign else ''}.3f}"
    text = mean if summary["std"] is None else f"{mean} ±{summary['std']:.3f}"
    return text.replace("0.", ".")


def interval_text(holder: Mapping[str, Any] | None, key: str, sign: bool = False) -> str:
    """An interval as text, such as ".781 to .919"; a dash if there is none.

    Args:
      holder: a dict of results.json that may contain an interval; None: there is none.
      key: the key of the interval in it.
      sign: whether positive ends get a plus sign.
    """
    ends = holder.get(key) if holder is not None else None
    if ends is None:
        return "–"
    return " to ".join(number({"mean": end, "std": None}, sign) for end in ends)
