"""Sentences about scores on a few labelled clips: how far to trust them, and what would help."""

from collections.abc import Mapping
from typing import Any

from jdann.report.cells import interval_text


def label_lines(results: Mapping[str, Any]) -> list[str]:
    """Sentences below the table of `jdann evaluate RUN LABELS.csv`; [] for other results.

    Args:
      results: the content of results.json.
    """
    about = results.get("labels")
    if about is None:
        return []
    rows = results["rows"]
    lines = [_adapted_line(results, rows[0]["n"])]
    lines += [_needed_line(row) for row in rows]
    lines += [_sets_line(row) for row in rows if row["labels"].get("sets")]
    if about["weighted"]:
        lines.append(
            "Weighted: each clip counts for the clips of the target that it was drawn for, so the "
            "scores estimate those of the whole target."
        )
    if about["other_labels"]:
        lines.append(
            f"{about['other_labels']} more clips have labels that are not among the emotions of "
            "the run; they are not scored."
        )
    return lines


def _adapted_line(results: Mapping[str, Any], count: int) -> str:
    """Says to how many of these clips the training adapted."""
    adapted = results.get("adapted_utterances")
    if adapted is None:
        return "It is not known whether the training adapted to these clips."
    if adapted == count:
        return (
            f"The training adapted to all {count} clips, without their labels; expect less for "
            "other audio."
        )
    if adapted == 0:
        return f"The training did not adapt to any of the {count} clips."
    return f"The training adapted to {adapted} of the {count} clips, without their labels."


def _sets_line(row: Mapping[str, Any]) -> str:
    """Says at which level prediction sets can be relied on."""
    sets = row["labels"]["sets"]
    return (
        f"With --sets {sets['level']:g}, jdann predict names {sets['mean_size']:.1f} emotions per "
        f"clip on average. The right one is among them for {sets['coverage']:.0%} of clips like "
        "these (without --adapt, --timeline and --classes)."
    )


def _needed_line(row: Mapping[str, Any]) -> str:
    """Says what would narrow the interval of a method's score."""
    needed = row["labels"]
    half_width = f"±{needed['wanted_half_width']:.2f}".replace("0.", ".")
    text = f"{row['method']}: "
    if needed["more_speakers"] is not None:
        ends = interval_text(needed, "interval_of_these_speakers")
        text += f"for these {row['interval']['count']} speakers alone {ends}; "
    if needed["more_labels"]:
        text += f"about {needed['more_labels']:,} more labels would narrow it to {half_width}"
    else:
        text += f"there are enough labels for {half_width}"
    if needed["more_speakers"]:
        text += f"; for other speakers, that takes {needed['more_speakers']:,} more speakers"
    return f"{text}, if they vary as these do."
