"""The first sentences about a run or a model: how good it is, what for, and what would help."""

from collections.abc import Mapping
from typing import Any

from jdann.experiments.new_speakers import ADAPTED
from jdann.experiments.score_rows import BASELINE
from jdann.report.advice import RECOMMENDED
from jdann.report.estimate_lines import name_of_training
from jdann.training.task import LAST

# The least accuracy, and what such answers are good for.
_USES = (
    (0.75, "This is good enough to sort single utterances by emotion."),
    (0.55, "This is good enough to compare groups of utterances; single answers are often wrong."),
    (0.0, "This is too poor to rely on."),
)
_GOOD = _USES[0][0]
# The gains are means of twelve pairs: benchmarks/results/speakers.md and few_labels.md.
_SPEAKER_IDS = "speaker ids (mean gain .21)"
_LABELS = "labels of ten utterances of each emotion (mean gain {}, by --config.target_labels)"
_GAIN_WITH_IDS, _GAIN_WITHOUT_IDS = ".06", ".14"


def in_short(results: Mapping[str, Any]) -> list[str]:
    """A few sentences about each direction of a run.

    They are about the recommended method or, if the run has not trained it, about the last one
    whose accuracy is known or estimated. Of several encoders, the last one counts.

    Args:
      results: the content of results.json.

    Returns:
      A text for each direction; none if only a few labelled utterances are scored
      (`jdann evaluate` with labels), which has sentences of its own.
    """
    if "labels" in results:
        return []
    texts = (_of_direction(results, direction) for direction in results["directions"])
    return [text for text in texts if text is not None]


def in_short_of_model(card: Mapping[str, Any]) -> str | None:
    """The same about a model, from what was estimated without labels; None if nothing was.

    Args:
      card: `Recogniser.card`.
    """
    estimate = card.get("calibration", {}).get("estimate")
    if estimate is None:
        return None
    rate = _rate(estimate, card["target"]["name"])
    use = _use(estimate["accuracy"])
    return f"In short: this model gives the right emotion for about {rate}. {use}"


def _of_direction(results: Mapping[str, Any], direction: Mapping[str, Any]) -> str | None:
    names = direction["source"]["name"], direction["target"]["name"]

    def is_here(row: Mapping[str, Any]) -> bool:
        return (row["source"], row["target"]) == names and not row["method"].endswith(ADAPTED)

    scored = [
        row
        for row in results["rows"]
        if is_here(row)
        and row["selection"] == LAST
        and row["method"] != BASELINE
        and not row["method"].startswith("supervised")
    ]
    estimates = [row for row in results.get("estimates", ()) if is_here(row)]
    trained = [*estimates, *scored]
    if not trained:
        return None
    name = name_of_training(trained)
    recommended = [row for row in trained if row["method"] == RECOMMENDED]
    training = name((recommended or trained)[-1])
    score = next((row for row in scored if name(row) == training), None)
    estimate = next((row for row in estimates if name(row) == training), None)
    if score is not None:
        accuracy = score["accuracy"]["mean"]
        rate = f"{accuracy:.0%} of the utterances of {names[1]}, by their labels"
    else:
        assert estimate is not None  # `trained` has no others
        accuracy, rate = estimate["accuracy"], f"about {_rate(estimate, names[1])}"
    parts = [f"In short: {training} gives the right emotion for {rate}.", _use(accuracy)]
    if accuracy < _GOOD and estimate is not None:
        parts.append(_what_helps(estimate["by_speaker"]))
    return " ".join(parts)


def _rate(estimate: Mapping[str, Any], target: str) -> str:
    """The estimate with its interval."""
    return (
        f"{estimate['accuracy']:.0%} of the utterances of {target} (estimated without labels; "
        f"90 % interval {estimate['low']:.0%} to {estimate['high']:.0%})"
    )


def _use(accuracy: float) -> str:
    """What answers of this accuracy are good for."""
    return next(text for least, text in _USES if accuracy >= least)


def _what_helps(by_speaker: bool) -> str:
    """What would raise the accuracy most, with measured gains."""
    if by_speaker:
        return f"What helps most: {_LABELS.format(_GAIN_WITH_IDS)}."
    return f"What helps most: {_SPEAKER_IDS}, or {_LABELS.format(_GAIN_WITHOUT_IDS)}."
