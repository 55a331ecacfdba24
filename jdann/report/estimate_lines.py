"""Notes about the accuracy that is estimated without labels of the target."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jdann.experiments.new_speakers import ADAPTED
from jdann.methods.co_training import AS_PROSODY, AS_SOURCE, MIXED


def estimate_lines(results: Mapping[str, Any]) -> list[str]:
    """What co-training's labels rest on, and the estimates of all methods, for each direction.

    Args:
      results: the content of results.json. Those of older versions of jdann have no estimates.
    """
    lines = []
    rows = results.get("estimates", ())
    for source, target in dict.fromkeys((row["source"], row["target"]) for row in rows):
        own = [row for row in rows if (row["source"], row["target"]) == (source, target)]
        name = name_of_training(own)
        lines += [_basis(row, name(row)) for row in own if row.get("evidence")]
        listed = ", ".join(f"{name(row)} {row['accuracy']:.0%}" for row in own)
        lines.append(f"Estimated without labels, share of right answers on {target}: {listed}.")
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


def name_of_training(rows: Iterable[Mapping[str, Any]]) -> Callable[[Mapping[str, Any]], str]:
    """A function that names the training of a row: the method, and the encoder if rows differ.

    Args:
      rows: of scores or of estimates, with "method" and "encoder".
    """
    several = len({row["encoder"] for row in rows}) > 1

    def name(row: Mapping[str, Any]) -> str:
        method = row["method"].removesuffix(ADAPTED)
        text = f"{method} with {row['encoder']}" if several else method
        return text if method == row["method"] else f"{text} adapted to each speaker"

    return name


def _basis(estimate: Mapping[str, Any], name: str) -> str:
    """What the labels of co-training rest on."""
    evidence = estimate["evidence"]
    text = (
        f"{name} on {estimate['target']} gave the same emotion as prosody alone for "
        f"{evidence[AS_PROSODY]:.0%} of the utterances, and the same as the source alone for "
        f"{evidence[AS_SOURCE]:.0%}."
    )
    if evidence[MIXED] > 0.5:  # in most seeds
        text += " One emotion was rare, so the network learnt a mixture of these three answers."
    return text
