"""Feature normalisation, fitted on audio alone: z-scores of each bin within a group of utterances, or among voices alike."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jdann.errors import InputError

NORMALISATIONS = ("speaker", "voice", "corpus", "utterance", "source", "none")
LARGEST_Z = 20.0  # z-scores are clipped to this
LARGEST_VALUE = 6e4  # what is not normalised is clipped to this, the range of float16
_IDENTITY = ("none",)
_STRANGER = 0.01  # least weight of a voice unlike one's own, beside 1 of the same: nobody is normalised by themselves alone
_BLOCK = 1024  # groups whose weights are held at a time


class Statistics(NamedTuple):
    """Mean and standard deviation of every bin, a row for each group."""

    mean: np.ndarray  # [groups, bins] float32
    std: np.ndarray  # [groups, bins] float32, positive
    groups: tuple[str, ...]  # name of each row


def grouping(by: str, speaker: Sequence[str | None], voices: bool) -> tuple[list[str], str | None]:
    """Which utterances are normalised together.

    Args:
      by: one of NORMALISATIONS.
      speaker: [n] speaker ids, None where unknown.
      voices: whether `jdann.voices` can place the utterances.

    Returns:
      [n] group names, and a sentence for the user where the choice had to be changed, else None. By voice, and by speaker where
      that is unknown, each utterance is a group of its own, which `fit` spreads over voices alike; where they cannot be placed,
      those of unknown speaker share one group, which is normalisation per corpus.

    Raises:
      InputError: `by` has no such name, or asks for voices that cannot be placed.
    """
    if by not in NORMALISATIONS:
        raise InputError(f"config.features.normalise is {by!r}; choose one of {', '.join(NORMALISATIONS)}")
    if by == "voice" and not voices:
        raise InputError("config.features.normalise is 'voice', and the recipe does not tell the pitch; choose 'corpus'")
    if by in ("utterance", "voice"):
        return [f"utterance {i}" for i in range(len(speaker))], None
    if by != "speaker":
        return ["corpus"] * len(speaker), None
    unknown = sum(s is None for s in speaker)
    note = None
    if unknown:
        how = "each is normalised among voices like its own" if voices else "these are normalised together, as one corpus"
        note = f"{unknown} of {len(speaker)} utterances have no speaker id: {how}"
    return [s if s is not None else f"utterance {i}" if voices else "unknown speaker" for i, s in enumerate(speaker)], note


def fit(utterances: Iterable[np.ndarray], group: Sequence[str], voice: np.ndarray | None = None) -> Statistics:
    """Mean and standard deviation of every bin over the frames of each group.

    Args:
      utterances: n arrays [frames, bins] float32, looked at one after the other.
      group: [n] names, n >= 1.
      voice: [n, 1 or 2] from `jdann.voices.place`, NaN where the group is a speaker's; None: all are. A group with a voice takes in
        all such groups, with the weight exp(-d^2 / 2) at a distance d and a hundredth of that of the same at any.

    Returns:
      Statistics with groups in order of first appearance. A bin that never changes gets a standard deviation of 1.
    """
    groups = tuple(dict.fromkeys(group))
    row = {name: i for i, name in enumerate(groups)}
    centre, count, total, square = _sums(utterances, ((row[name], 1.0) for name in group), len(groups))
    if voice is not None:
        first = dict(zip(reversed(group), reversed(range(len(group))), strict=True))
        count, total, square = _spread(voice[[first[name] for name in groups]], count, total, square)
    return _statistics(centre, count, total, square, groups)


def fit_at(utterances: Iterable[np.ndarray], voice: np.ndarray, at: np.ndarray) -> Statistics:
    """Mean and standard deviation of every bin as a voice at each place would be normalised by, among these utterances.

    Args:
      utterances: n arrays [frames, bins] float32, looked at one after the other.
      voice: [n, 1 or 2], from `jdann.voices.place`.
      at: [places, 1 or 2], as of `jdann.voices.grid`.

    Returns:
      Statistics of a group for each place.
    """
    weights = ((slice(None), _likeness(at, place[None])) for place in voice)
    centre, count, total, square = _sums(utterances, weights, len(at))
    return _statistics(centre, count, total, square, tuple(f"voice {i}" for i in range(len(at))))


def _sums(utterances: Iterable[np.ndarray], weights: Iterable[tuple[Any, Any]], groups: int) -> tuple[np.ndarray, ...]:
    """A centre [bins] that keeps squares small, and of each group, of what is beyond it, count [groups, 1], sum and sum of squares.

    `weights` gives each utterance its groups and its weight there.
    """
    centre, count, total, square = np.zeros(0), np.zeros((groups, 1)), np.zeros(0), np.zeros(0)
    for i, (x, (rows, weight)) in enumerate(zip(utterances, weights, strict=True)):
        if i == 0:
            centre = x.mean(0, np.float64)
            total, square = np.zeros((2, groups, x.shape[1]))
        x = np.asarray(x, np.float64) - centre
        count[rows] += weight * len(x)
        total[rows] += weight * x.sum(0)
        square[rows] += weight * np.einsum("fb,fb->b", x, x)
    return centre, count, total, square


def _statistics(centre: np.ndarray, count: np.ndarray, total: np.ndarray, square: np.ndarray, groups: Any) -> Statistics:
    mean = total / count
    variance = np.maximum(square / count - mean**2, 0)
    # Power features are tiny numbers: what counts as constant depends on the bin's own size.
    constant = variance <= 1e-10 * ((mean + centre) ** 2 + variance)
    std = np.where(constant, 1.0, np.sqrt(variance))
    return Statistics((mean + centre).astype(np.float32), std.astype(np.float32), groups)


def _spread(voice: np.ndarray, *sums: np.ndarray) -> list[np.ndarray]:
    """Sums [groups, ...] over voices alike; those of groups without a voice stay as they are."""
    spread, rows = [x.copy() for x in sums], np.flatnonzero(np.isfinite(voice).all(1))
    for begin in range(0, len(rows), _BLOCK):
        some = rows[begin : begin + _BLOCK]
        weight = _likeness(voice[some], voice[rows])
        for new, old in zip(spread, sums, strict=True):
            new[some] = weight @ old[rows]
    return spread


def _likeness(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Weights [a, b] of voices for each other."""
    return np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / 2) + _STRANGER


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
