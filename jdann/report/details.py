"""The table below the scores: intervals of gains, weakest groups, and the oracle gap."""

from collections.abc import Mapping
from typing import Any

from jdann.report.cells import DIRECTION, ScoreTable, direction_text, interval_text, number

DETAILS = "Intervals of gains, weakest groups, oracle gap"
Row = Mapping[str, Any]  # of results.json


def detail_table(results: Mapping[str, Any]) -> ScoreTable | None:
    """The details of the scores, with a row for each method; None if the results have no details.

    Args:
      results: the content of results.json. Those of older versions of jdann have no details.
    """
    columns = {
        "gain over source only, 95%": _gain_text,
        "gain over svm, 95%": _over_baseline_text,
        "worst speaker (accuracy)": lambda row: _worst_text(row.get("worst_speaker")),
        "worst emotion (recall)": lambda row: _worst_text(row.get("worst_emotion")),
        "gap between genders (UAR)": _gender_text,
        "oracle gap (not achievable)": _oracle_text,
    }
    kept = results.get("config", {}).get("selection", "last")
    rows = [
        row
        for row in results["rows"]
        if row["selection"] == kept or (row["method"] == "svm" and row["selection"] == "last")
    ]
    cells = [[text(row) for text in columns.values()] for row in rows]
    used = [i for i in range(len(columns)) if any(line[i] != "–" for line in cells)]
    if not used:
        return None
    names = list(columns)
    order = list(dict.fromkeys(direction_text(row) for row in rows))
    lines = [
        [row["method"], row["encoder"], direction_text(row), *(line[i] for i in used)]
        for row, line in zip(rows, cells, strict=True)
    ]
    lines.sort(key=lambda line: order.index(line[DIRECTION]))
    header = ["method", "encoder", "direction", *(names[i] for i in used)]
    return ScoreTable(header, lines, set(), DETAILS)


def _gain_text(row: Row) -> str:
    return interval_text(row.get("uar_gain"), "interval", sign=True)


def _over_baseline_text(row: Row) -> str:
    gain = row.get("uar_over_baseline")
    if gain is None:
        return "–"
    mean = number({"mean": gain["mean"], "std": None}, sign=True)
    ends = interval_text(gain, "interval", sign=True)
    return mean if ends == "–" else f"{mean} ({ends})"


def _worst_text(worst: Row | None) -> str:
    if worst is None:
        return "–"
    return f"{worst['name']} {number({'mean': worst['mean'], 'std': None})}"


def _gender_text(row: Row) -> str:
    """The highest minus the lowest UAR, and the gender with the lowest."""
    means = {name: value["mean"] for name, value in row.get("per_gender", {}).items()}
    if len(means) < 2:
        return "–"
    lowest = min(means, key=lambda name: means[name])
    gap = number({"mean": max(means.values()) - means[lowest], "std": None})
    return f"{gap} ({lowest} lowest)" if len(means) > 2 else f"{gap} ({lowest} lower)"


def _oracle_text(row: Row) -> str:
    return number(row["oracle_gap"]) if "oracle_gap" in row else "–"
