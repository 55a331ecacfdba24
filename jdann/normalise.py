"""Feature normalisation, fitted on audio alone: z-scores of each bin within a group of utterances."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jdann.errors import InputError

NORMALISATIONS = ("speaker", "corpus", "utterance", "source", "none")
LARGEST_Z = 20.0  # z-scores are clipped to this
LARGEST_VALUE = 6e4  # what is not normalised is clipped to this, the range of float16
_IDENTITY = ("none",)


class Statistics(NamedTuple):
    """Mean and standard deviation of every bin, a row for each group."""

    mean: np.ndarray  # [groups, bins] float32
    std: np.ndarray  # [groups, bins] float32, positive
    groups: tuple[str, ...]  # name of each row


def grouping(by: str, speaker: Sequence[str | None]) -> tuple[list[str], str | None]:
    """Which utterances are normalised together.

    Args:
      by: one of NORMALISATIONS.
      speaker: [n] speaker ids, None where unknown.

    Returns:
      [n] group names, and a sentence for the user where the choice had to be changed, else None. Utterances of unknown
      speaker share one group, which is normalisation per corpus.

    Raises:
      InputError: `by` has no such name.
    """
    if by not in NORMALISATIONS:
        raise InputError(f"config.features.normalise is {by!r}; choose one of {', '.join(NORMALISATIONS)}")
    if by == "utterance":
        return [f"utterance {i}" for i in range(len(speaker))], None
    if by != "speaker":
        return ["corpus"] * len(speaker), None
    unknown = sum(s is None for s in speaker)
    note = None
    if unknown:
        note = f"{unknown} of {len(speaker)} utterances have no speaker id: these are normalised together, as one corpus"
    return [s if s is not None else "unknown speaker" for s in speaker], note


def fit(utterances: Iterable[np.ndarray], group: Sequence[str]) -> Statistics:
    """Mean and standard deviation of every bin over the frames of each group.

    Args:
      utterances: n arrays [frames, bins] float32, looked at one after the other.
      group: [n] names, n >= 1.

    Returns:
      Statistics with groups in order of first appearance. A bin that never changes gets a standard deviation of 1.
    """
    groups = tuple(dict.fromkeys(group))
    row = {name: i for i, name in enumerate(groups)}
    centre, count, total, square = np.zeros(0), np.zeros((len(groups), 1)), np.zeros(0), np.zeros(0)
    for i, (x, name) in enumerate(zip(utterances, group, strict=True)):
        if i == 0:
            centre = x.mean(0, np.float64)  # keeps the squares small
            total, square = np.zeros((2, len(groups), x.shape[1]))
        x = np.asarray(x, np.float64) - centre
        count[row[name]] += len(x)
        total[row[name]] += x.sum(0)
        square[row[name]] += np.einsum("fb,fb->b", x, x)
    mean = total / count
    variance = np.maximum(square / count - mean**2, 0)
    # Power features are tiny numbers: what counts as constant depends on the bin's own size.
    constant = variance <= 1e-10 * ((mean + centre) ** 2 + variance)
    std = np.where(constant, 1.0, np.sqrt(variance))
    return Statistics((mean + centre).astype(np.float32), std.astype(np.float32), groups)


def identity(bins: int) -> Statistics:
    """Statistics that change nothing."""
    return Statistics(np.zeros((1, bins), np.float32), np.ones((1, bins), np.float32), _IDENTITY)


def apply(statistics: Statistics, utterances: Iterable[np.ndarray], group: Sequence[str]) -> Iterator[np.ndarray]:
    """Subtracts the mean and divides by the standard deviation of each utterance's group.

    Args:
      statistics: of every group named in `group`; a single group serves all.
      utterances: n arrays [frames, bins] float32.
      group: [n] names.

    Yields:
      [frames, bins] float16 of each utterance; z-scores are clipped to +-20, what `identity` leaves as it is to the range of
      float16.
    """
    row = {name: i for i, name in enumerate(statistics.groups)}
    limit = LARGEST_VALUE if statistics.groups == _IDENTITY else LARGEST_Z
    for x, name in zip(utterances, group, strict=True):
        g = 0 if len(row) == 1 else row[name]
        yield np.clip((x - statistics.mean[g]) / statistics.std[g], -limit, limit).astype(np.float16)
