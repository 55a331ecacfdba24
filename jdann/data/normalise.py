"""Feature normalisation, fitted on audio alone: z-scores of each bin within a group of utterances, or among voices alike."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jdann.errors import InputError

NORMALISATIONS = ("speaker", "voice", "corpus", "utterance", "source", "none")
LARGEST_Z = 20.0  # z-scores are clipped to this
LARGEST_VALUE = 6e4  # what is not normalised is clipped to this, the range of float16
_IDENTITY = ("none",)
_STRANGER = 0.01  # least weight of a voice unlike one's own, beside 1 of the same: nobody is normalised by themselves alone
_BLOCK = 512  # utterances whose sums are held


class Statistics(NamedTuple):
    """Mean and standard deviation of every bin, a row for each group."""

    mean: np.ndarray  # [groups, bins] float32
    std: np.ndarray  # [groups, bins] float32, positive
    groups: tuple[str, ...]  # name of each row


class Moments(NamedTuple):
    """Mean and biased variance of every bin, a row for each group."""

    mean: np.ndarray  # [groups, bins] float64
    variance: np.ndarray  # [groups, bins] float64


class Voices(NamedTuple):
    """What is known of who speaks n utterances."""

    place: np.ndarray  # [n, 1 or 2], from `jdann.speakers.similar_voices.place`
    known: np.ndarray  # [n] bool: its group is a speaker's; else the utterance is alone in it
    relevance: float  # utterances


def grouping(by: str, speaker: Sequence[str | None], voices: bool) -> tuple[list[str], str | None]:
    """Which utterances are normalised together.

    Args:
      by: one of NORMALISATIONS.
      speaker: [n] speaker ids, None where unknown.
      voices: whether `jdann.speakers.similar_voices` can place the utterances.

    Returns:
      [n] group names, and a sentence for the user where the choice had to be changed, else None. By voice, and by speaker where
      that is unknown, each utterance is a group of its own, for `fit_speakers`; where they cannot be placed,
      those of unknown speaker share one group, which is normalisation per corpus.

    Raises:
      InputError: `by` has no such name, or asks for voices that cannot be placed.
    """
    if by not in NORMALISATIONS:
        raise InputError(
            f"config.features.normalise is {by!r}; choose one of {', '.join(NORMALISATIONS)}"
        )
    if by == "voice" and not voices:
        raise InputError(
            "config.features.normalise is 'voice', and the recipe does not tell the pitch; choose 'corpus'"
        )
    if by in ("utterance", "voice"):
        return [f"utterance {i}" for i in range(len(speaker))], None
    if by != "speaker":
        return ["corpus"] * len(speaker), None
    unknown = sum(s is None for s in speaker)
    note = None
    if unknown:
        how = (
            "each is normalised among voices like its own"
            if voices
            else "these are normalised together, as one corpus"
        )
        note = f"{unknown} of {len(speaker)} utterances have no speaker id: {how}"
    return [
        s if s is not None else f"utterance {i}" if voices else "unknown speaker"
        for i, s in enumerate(speaker)
    ], note


def fit(utterances: Iterable[np.ndarray], group: Sequence[str]) -> Statistics:
    """Mean and standard deviation of every bin over the frames of each group.

    Args:
      utterances: n arrays [frames, bins] float32, looked at one after the other.
      group: [n] names, n >= 1.

    Returns:
      Statistics with groups in order of first appearance. A bin that never changes gets a standard deviation of 1.
    """
    return statistics(moments(utterances, group), tuple(dict.fromkeys(group)))


def fit_speakers(
    read: Callable[[], Iterable[np.ndarray]], group: Sequence[str], voices: Voices | None
) -> Statistics:
    """The same of speakers, drawn towards that of voices like theirs where there is little of them.

    Args:
      read: begins to read n arrays [frames, bins] float32.
      group: [n] names.
      voices: of the utterances; None: no group is drawn anywhere, as by `fit`.
    """
    if voices is None or (voices.known.all() and not voices.relevance):
        return fit(read(), group)
    groups = tuple(dict.fromkeys(group))
    rows = _rows(group)
    known = np.bincount(rows, voices.known)[
        :, None
    ]  # utterances of each group that say something of their speaker
    at = (
        np.stack([np.bincount(rows, axis) for axis in voices.place.T], 1)
        / np.bincount(rows)[:, None]
    )
    prior = moments_at(read(), voices.place, at)
    if not known.any():
        return statistics(prior, groups)
    weight = known / np.maximum(known + voices.relevance, 1e-9)
    return statistics(towards(moments(read(), group), prior, weight), groups)


def statistics(of: Moments, groups: tuple[str, ...]) -> Statistics:
    """Statistics of moments; what is as good as constant gets a standard deviation of 1."""
    # Power features are tiny numbers: what counts as constant depends on the bin's own size.
    constant = of.variance <= 1e-10 * (of.mean**2 + of.variance)
    std = np.where(constant, 1.0, np.sqrt(of.variance))
    return Statistics(of.mean.astype(np.float32), std.astype(np.float32), groups)


def moments(utterances: Iterable[np.ndarray], group: Sequence[str]) -> Moments:
    """Of each group; the arguments are those of `fit`."""
    rows = _rows(group)
    groups = np.arange(rows.max() + 1)
    return _moments(
        utterances, len(rows), lambda some: (rows[some] == groups[:, None]).astype(float)
    )


def moments_at(utterances: Iterable[np.ndarray], voice: np.ndarray, at: np.ndarray) -> Moments:
    """Of all utterances, as they count for a voice at each of some places: by exp(-d^2 / 2) at a distance d, and a little at any.

    Args:
      utterances: n arrays [frames, bins] float32, looked at one after the other.
      voice: [n, 1 or 2], from `jdann.speakers.similar_voices.place`.
      at: [places, 1 or 2].
    """
    return _moments(
        utterances,
        len(voice),
        lambda some: np.exp(-((at[:, None] - voice[None, some]) ** 2).sum(-1) / 2) + _STRANGER,
    )


def towards(own: Moments, prior: Moments, weight: np.ndarray | float) -> Moments:
    """Moments of a mixture, `weight` of `own` and the rest of `prior`: the maximum a posteriori estimate of Reynolds et al. (2000).

    "Speaker verification using adapted Gaussian mixture models", equations 11 to 14: the weight of n observations is
    n / (n + relevance).
    """
    mean = weight * own.mean + (1 - weight) * prior.mean
    square = weight * (own.variance + own.mean**2) + (1 - weight) * (prior.variance + prior.mean**2)
    return Moments(mean, np.maximum(square - mean**2, 0))


def _rows(group: Sequence[str]) -> np.ndarray:
    """[n] which of the different names each is, in order of first appearance."""
    row = {name: i for i, name in enumerate(dict.fromkeys(group))}
    return np.array([row[name] for name in group])


def _moments(
    utterances: Iterable[np.ndarray], n: int, weight: Callable[[slice], np.ndarray]
) -> Moments:
    """Of groups, for which each utterance counts by `weight` [groups, utterances] of some of them."""
    centre, sums, total, seen = np.zeros(0), [], np.zeros(1), 0
    for seen, x in enumerate(utterances, start=1):
        if seen == 1:
            centre = x.mean(0, np.float64)  # keeps the squares small
        x = np.asarray(x, np.float64) - centre
        sums.append(np.concatenate([[len(x)], x.sum(0), np.einsum("fb,fb->b", x, x)]))
        if len(sums) == _BLOCK or seen == n:
            total = total + weight(slice(seen - len(sums), seen)) @ np.stack(sums)
            sums = []
    assert seen == n
    count, first, second = np.split(total, [1, 1 + len(centre)], axis=1)
    mean = first / count
    return Moments(mean + centre, np.maximum(second / count - mean**2, 0))


def identity(bins: int) -> Statistics:
    """Statistics that change nothing."""
    return Statistics(np.zeros((1, bins), np.float32), np.ones((1, bins), np.float32), _IDENTITY)


def apply(
    statistics: Statistics, utterances: Iterable[np.ndarray], group: Sequence[str]
) -> Iterator[np.ndarray]:
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
        yield np.clip((x - statistics.mean[g]) / statistics.std[g], -limit, limit).astype(
            np.float16
        )
