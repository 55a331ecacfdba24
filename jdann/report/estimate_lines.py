"""Sentences about the accuracy that is estimated without labels of the target."""

from collections.abc import Mapping
from typing import Any

_POOR = 0.55  # below this estimate, the reader is told what would help


def estimate_lines(results: Mapping[str, Any]) -> list[str]:
    """A sentence for each estimate of a run, and what would help where it is poor.

    Args:
      results: the content of results.json. Those of older versions of jdann have no estimates.
    """
    return [
        estimate_sentence(estimate, f"{estimate['method']} on {estimate['target']}")
        + _what_helps(estimate)
        for estimate in results.get("estimates", ())
    ]


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


def _what_helps(estimate: Mapping[str, Any]) -> str:
    """What to do about a poor estimate; empty where it is good."""
    if estimate["accuracy"] >= _POOR:
        return ""
    advice = "labels of a few utterances (--config.target_labels)"
    if not estimate["by_speaker"]:
        advice = f"speaker ids, and {advice}"
    return f" This is poor. What helps most: {advice}."
