"""One sentence after a run: which method to use, and why."""

from collections.abc import Mapping
from typing import Any

from jdann.experiments.score_rows import BASELINE
from jdann.report.cells import number
from jdann.training.task import LAST

RECOMMENDED = "co_training"  # the most accurate one on most of the pairs that were measured


def advise(results: Mapping[str, Any]) -> str | None:
    """Which method of a run to use, and why.

    Args:
      results: the content of results.json.

    Returns:
      A sentence about the first direction; None if the run has only one method.
    """
    direction = results["directions"][0]
    scores = {
        row["method"]: row["uar"]
        for row in results["rows"]
        if (row["source"], row["target"])
        == (direction["source"]["name"], direction["target"]["name"])
        and row["selection"] == LAST
        and not row["method"].startswith("supervised")
    }
    trained = [share["method"] for share in results["predicted_share"]]
    if not scores:
        return _without_labels(trained)
    means = {method: uar["mean"] for method, uar in scores.items()}
    if len(means) < 2:
        return None
    best = max(means, key=lambda method: means[method])
    others = ", ".join(f"{method} {number(scores[method])}" for method in scores if method != best)
    sentence = f"Use {best}: its UAR is {number(scores[best])} here ({others})."
    if best == BASELINE:
        return sentence + " No adaptation helps on this pair; the target may be too different."
    return sentence


def _without_labels(trained: list[str]) -> str | None:
    """The recommendation if the run has this method and others; else None."""
    if RECOMMENDED not in trained or len(set(trained)) < 2:
        return None
    return (
        f"Use {RECOMMENDED}: nothing can be scored here, and it was the most accurate one on most "
        "pairs that were measured. To see how good it is here: jdann evaluate RUN --suggest 30"
    )
