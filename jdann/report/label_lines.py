"""What a few labelled clips say: to which audio a run adapted, and how many labels are needed."""

from collections.abc import Mapping
from typing import Any

from jdann.report.cells import interval_text


def label_lines(results: Mapping[str, Any]) -> list[str]:
    """Sentences below the table of `jdann evaluate RUN LABELS.csv`; none for other results.

    Args:
      results: the content of results.json.
    """
    about = results.get("labels")
    if about is None:
        return []
    rows = results["rows"]
    lines = [_adapted(results, rows[0]["n"])]
    lines += [_plan(row) for row in rows]
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


def _adapted(results: Mapping[str, Any], count: int) -> str:
    """Whether these clips were adapted to."""
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


def _plan(row: Mapping[str, Any]) -> str:
    """How sure the score of a method is, and what would narrow its interval."""
    plan = row["labels"]
    half = f"±{plan['wanted_half_width']:.2f}".replace("0.", ".")
    text = f"{row['method']}: "
    if plan["more_speakers"] is not None:
        ends = interval_text(plan, "interval_of_these_speakers")
        text += f"for these {row['interval']['count']} speakers alone {ends}; "
    if plan["more_labels"]:
        text += f"about {plan['more_labels']:,} more labels would narrow it to {half}"
    else:
        text += f"there are enough labels for {half}"
    if plan["more_speakers"]:
        text += f"; for other speakers, that takes {plan['more_speakers']:,} more speakers"
    return f"{text}, if they vary as these do."
