"""Sentences about the accuracy that is estimated without labels of the target."""

from collections.abc import Mapping
from typing import Any

from jdann.experiments.new_speakers import ADAPTED
from jdann.methods.co_training import AS_PROSODY, AS_SOURCE, MIXED
from jdann.report.advice import RECOMMENDED

_POOR = 0.55  # below this estimate, the reader is told what would help


def estimate_lines(results: Mapping[str, Any]) -> list[str]:
    """What is known of a run's accuracy without labels, for each direction.

    Args:
      results: the content of results.json. Those of older versions of jdann have no estimates.

    Returns:
      A sentence about the recommended method or, if the run has not trained it, about each
      method; what its labels rest on; and what would help where the estimate is poor. Then comes a
      sentence with the estimates of the other methods.
    """
    lines = []
    domains = {(e["source"], e["target"]): None for e in results.get("estimates", ())}
    for source, target in domains:
        rows = [e for e in results["estimates"] if (e["source"], e["target"]) == (source, target)]
        chosen = [row for row in rows if row["method"] == RECOMMENDED]
        lines += [
            estimate_sentence(row, f"{row['method']} on {target}") + _basis(row) + _what_helps(row)
            for row in chosen or rows
        ]
        if others := [_short(row) for row in rows if chosen and row["method"] != RECOMMENDED]:
            lines.append(f"Estimated in the same way on {target}: {', '.join(others)}.")
    return lines


def estimate_sentence(estimate: Mapping[str, Any], name: str) -> str:
    """The estimated accuracy and its interval, in words.

    Args:
      estimate: `jdann.selection.accuracy.Estimate`, as a dict.
      name: of the recogniser.
    """
    return (
        f"Estimated without labels: {name} gives the right emotion for "
        f"{estimate['accuracy']:.0%} of the utterances (90 % interval "
        f"{estimate['low']:.0%} to {estimate['high']:.0%})."
    )


def _short(estimate: Mapping[str, Any]) -> str:
    """The estimate of a method in a few words."""
    name = estimate["method"].removesuffix(ADAPTED)
    adapted = " adapted to each speaker" if name != estimate["method"] else ""
    return f"{name}{adapted} {estimate['accuracy']:.0%}"


def _basis(estimate: Mapping[str, Any]) -> str:
    """What the labels of co-training rest on; empty for other methods."""
    evidence = estimate.get("evidence")
    if not evidence:
        return ""
    text = (
        f" Its own labels agree with those of prosody for {evidence[AS_PROSODY]:.0%} of the "
        f"utterances, and with those of the source alone for {evidence[AS_SOURCE]:.0%}."
    )
    if evidence[MIXED] > 0.5:  # in most seeds
        text += (
            " One emotion was given to few utterances, so the network learnt a cautious mixture of "
            "all three."
        )
    return text


def _what_helps(estimate: Mapping[str, Any]) -> str:
    """What to do about a poor estimate; empty where it is good."""
    if estimate["accuracy"] >= _POOR:
        return ""
    advice = "labels of a few utterances (--config.target_labels)"
    if not estimate["by_speaker"]:
        advice = f"speaker ids, and {advice}"
    return f" This is poor. What helps most: {advice}."
