"""One sentence after a run: which method to use, and why."""

from collections.abc import Mapping
from typing import Any

from jdann.experiments.new_speakers import ADAPTED
from jdann.experiments.score_rows import BASELINE
from jdann.report.cells import interval_text, number
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
    domains = direction["source"]["name"], direction["target"]["name"]
    rows = {
        row["method"]: row
        for row in results["rows"]
        if (row["source"], row["target"]) == domains
        and row["selection"] == LAST
        and not row["method"].startswith("supervised")
        and not row["method"].endswith(ADAPTED)
    }
    if not rows:
        return _without_labels([share["method"] for share in results["predicted_share"]])
    trained = [method for method in rows if method != BASELINE]
    if len(rows) < 2 or not trained:
        return None
    best = max(trained, key=lambda method: rows[method]["uar"]["mean"])
    others = ", ".join(
        f"{method} {number(row['uar'])}" for method, row in rows.items() if method != best
    )
    sentence = f"Use {best}: its UAR is {number(rows[best]['uar'])} here ({others})."
    return sentence + _beside_baseline(rows[best].get("uar_over_baseline"))


def _beside_baseline(gain: Mapping[str, Any] | None) -> str:
    """A warning if the best method is not clearly better than the baseline."""
    if gain is None or gain["interval"] is None or gain["interval"][0] > 0:
        return ""
    ends = interval_text(gain, "interval", sign=True)
    if gain["interval"][1] < 0:
        return f" But the {BASELINE} is better ({ends}): adaptation does not help on this pair."
    return f" It is not clearly better than the {BASELINE}: 95 % interval of the gain {ends}."


def _without_labels(trained: list[str]) -> str | None:
    """The recommendation if the run has this method and others; else None."""
    if RECOMMENDED not in trained or len(set(trained)) < 2:
        return None
    return (
        f"Use {RECOMMENDED}: nothing can be scored here, and it was the most accurate one on most "
        "pairs that were measured. To see how good it is here: jdann evaluate RUN --suggest 30"
    )
