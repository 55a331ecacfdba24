"""Normalisation: each bin becomes a z-score within a group of utterances or among similar voices.

Statistics are fitted without labels, in NumPy and one utterance at a time. They are applied in
NumPy (`apply`, for the corpora of a run) and in JAX (`normalised_features`, for a batch of clips).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jdann.errors import InputError
from jdann.parameters import shown

NORMALISATIONS = (
    "speaker",  # by the utterances of the same speaker
    "voice",  # by the utterances of similar voices
    "corpus",  # by all utterances of the corpus
    "utterance",  # by the frames of the utterance itself
    "source",  # by all utterances of the source, in the target too
    "none",  # not normalised
)
LARGEST_Z = 20.0  # z-scores are clipped to +-20
# Features that are not normalised are clipped to +-6e4, because float16 ends at 65504.
LARGEST_VALUE = 6e4
# Minimum weight of a dissimilar voice (an identical one weighs 1), so that no utterance is
# normalised by itself only.
MINIMUM_WEIGHT = 0.01
_FAR = 100.0  # a distance at which no weight remains but MINIMUM_WEIGHT
_BLOCK = 512  # utterances whose sums are kept in memory before they are weighted
# A bin is constant if its variance is at most this fraction of its mean square. An absolute limit
# would fail, because power features are tiny.
_CONSTANT_FRACTION = 1e-10


class Statistics(NamedTuple):
    """Mean and standard deviation of every bin, one row per group."""

    mean: np.ndarray  # [groups, bins] float32
    std: np.ndarray  # [groups, bins] float32, positive
    groups: tuple[str, ...]  # name of each row
    is_identity: bool = False  # True: features are not normalised, see `identity`


class Moments(NamedTuple):
    """Mean and biased variance of every bin, one row per group."""

    mean: np.ndarray  # [groups, bins] float64
    variance: np.ndarray  # [groups, bins] float64


class VoicePositions(NamedTuple):
    """Position of the voice of each of n utterances, and whether its speaker is known."""

    # [n, 1 or 2] from `jdann.speakers.similar_voices.voice_positions`. The axes are the pitch and,
    # if the recipe has it, the third formant. A distance of 1 is one width of the kernel in
    # `voice_moments`.
    positions: np.ndarray
    speaker_known: np.ndarray  # [n] bool; False: the utterance is a group of its own
    # MAP relevance factor: the statistics of a speaker's own n utterances weigh
    # n / (n + relevance), those of similar voices the rest; 0 disables it.
    relevance: float
    # [n] group of voices of each utterance; None: no groups. Then only voices of the same group
    # count as similar, by the third formant, because within a group the pitch tells the emotion.
    group: np.ndarray | None = None

    def within_groups(self) -> np.ndarray:
        """Positions [n, 1 or 2] in which only voices of one group are near each other."""
        if self.group is None:
            return self.positions
        return np.column_stack([self.group * _FAR, self.positions[:, 1:]])


def grouping(
    by: str, speaker: Sequence[str | None], *, has_pitch: bool, is_vector: bool
) -> tuple[list[str], str | None]:
    """Decides which utterances are normalised together.

    - "speaker": one group per speaker. An utterance of an unknown speaker is its own group, or
      shares one group with all of them if the recipe has no pitch.
    - "voice" and "utterance": each utterance is its own group ("voice" then needs `fit_speakers`).
    - "corpus", "source" and "none": one group.

    Args:
      by: one of NORMALISATIONS.
      speaker: [n] speaker ids, None where unknown.
      has_pitch: whether the recipe has the pitch, by which similar voices are found.
      is_vector: whether the recipe gives one vector per utterance.

    Returns:
      [n] group names, where no generated name equals a speaker id; and a note for the user if
      speakers are unknown, otherwise None.

    Raises:
      InputError: `by` is unknown, or the recipe does not support it.
    """
    if by not in NORMALISATIONS:
        raise InputError(
            f"config.features.normalise is {shown(by)}; choose one of {', '.join(NORMALISATIONS)}"
        )
    if by == "voice" and not has_pitch:
        raise InputError(
            "config.features.normalise is 'voice', and the recipe does not tell the pitch; "
            "choose 'corpus'"
        )
    if by == "utterance" and is_vector:
        raise InputError(
            "config.features.normalise is 'utterance', and the recipe gives one vector per "
            "utterance, so every feature would be zero; choose 'speaker' or 'corpus'"
        )
    if by in ("utterance", "voice"):
        return [f"utterance {i}" for i in range(len(speaker))], None
    if by != "speaker":
        return ["corpus"] * len(speaker), None
    unknown = sum(name is None for name in speaker)
    note = None
    if unknown:
        consequence = (
            "each is normalised among voices like its own"
            if has_pitch
            else "these are normalised together, as one corpus"
        )
        note = f"{unknown} of {len(speaker)} utterances have no speaker id: {consequence}"
    ids = {name for name in speaker if name is not None}
    groups = [
        name
        if name is not None
        else unused_name(f"utterance {i}" if has_pitch else "unknown speaker", ids)
        for i, name in enumerate(speaker)
    ]
    return groups, note


def unused_name(name: str, ids: Collection[str]) -> str:
    """A generated group name, with "'" at its end as often as is needed to differ from all ids."""
    while name in ids:
        name += "'"
    return name


def fit(utterances: Iterable[np.ndarray], group: Sequence[str]) -> Statistics:
    """Mean and standard deviation of every bin over the frames of each group.

    Args:
      utterances: n arrays [frames, bins] float32, read one after the other.
      group: [n] group names, n >= 1.

    Returns:
      Statistics with groups in order of first appearance. A constant bin gets the standard
      deviation 1.
    """
    return statistics(moments(utterances, group), tuple(dict.fromkeys(group)))


def fit_speakers(
    read: Callable[[], Iterable[np.ndarray]],
    group: Sequence[str],
    voices: VoicePositions | None,
) -> Statistics:
    """Like `fit`, but a group with few utterances also uses the statistics of similar voices.

    Args:
      read: returns n arrays [frames, bins] float32, each time it is called.
      group: [n] group names.
      voices: the voices of the utterances; None: no group uses similar voices, as in `fit`.

    Returns:
      Statistics as from `fit`. A group of an unknown speaker has only those of similar voices.
    """
    if voices is None or (voices.speaker_known.all() and not voices.relevance):
        return fit(read(), group)
    groups = tuple(dict.fromkeys(group))
    rows = _rows(group)
    known = np.bincount(rows, voices.speaker_known)[:, None]  # [groups, 1] utterances
    positions = voices.within_groups()
    sums = np.stack([np.bincount(rows, axis) for axis in positions.T], 1)
    centres = sums / np.bincount(rows)[:, None]  # [groups, 1 or 2]
    prior = voice_moments(read(), positions, centres)
    if not known.any():
        return statistics(prior, groups)
    weight = known / np.maximum(known + voices.relevance, 1e-9)
    return statistics(map_estimate(moments(read(), group), prior, weight), groups)


def statistics(group_moments: Moments, groups: tuple[str, ...]) -> Statistics:
    """Statistics from moments; an almost constant bin gets the standard deviation 1."""
    mean, variance = group_moments
    constant = variance <= _CONSTANT_FRACTION * (mean**2 + variance)
    std = np.where(constant, 1.0, np.sqrt(variance))
    return Statistics(mean.astype(np.float32), std.astype(np.float32), groups)


def moments(utterances: Iterable[np.ndarray], group: Sequence[str]) -> Moments:
    """Moments of each group; the arguments are those of `fit`."""
    rows = _rows(group)
    groups = np.arange(rows.max() + 1)

    def membership(block: slice) -> np.ndarray:
        return (rows[block] == groups[:, None]).astype(float)

    return _weighted_moments(utterances, len(rows), membership)


def voice_moments(
    utterances: Iterable[np.ndarray], positions: np.ndarray, centres: np.ndarray
) -> Moments:
    """Moments of all utterances, weighted by how near their voices are to each centre.

    The weight of an utterance at the distance d is exp(-d^2 / 2) + MINIMUM_WEIGHT.

    Args:
      utterances: n arrays [frames, bins] float32, read one after the other.
      positions: [n, 1 or 2], `jdann.speakers.similar_voices.voice_positions` of the utterances.
      centres: [m, 1 or 2], positions of voices.

    Returns:
      Moments with one row per centre.
    """

    def similarity(block: slice) -> np.ndarray:
        squared_distance = ((centres[:, None] - positions[None, block]) ** 2).sum(-1)
        return np.exp(-squared_distance / 2) + MINIMUM_WEIGHT

    return _weighted_moments(utterances, len(positions), similarity)


def map_estimate(sample: Moments, prior: Moments, weight: np.ndarray | float) -> Moments:
    """The maximum a posteriori estimate: moments of a mixture of a sample and a prior.

    Reynolds et al. 2000, "Speaker verification using adapted Gaussian mixture models", equations
    11 to 14. There the weight of n observations is n / (n + relevance).

    Args:
      sample: moments of the observations.
      prior: moments that are expected without observations.
      weight: weight of the sample, 0 to 1; the prior weighs the rest.
    """
    mean = weight * sample.mean + (1 - weight) * prior.mean
    square = weight * (sample.variance + sample.mean**2) + (1 - weight) * (
        prior.variance + prior.mean**2
    )
    return Moments(mean, np.maximum(square - mean**2, 0))


def _rows(group: Sequence[str]) -> np.ndarray:
    """[n] the row of each group name, in order of first appearance."""
    row = {name: i for i, name in enumerate(dict.fromkeys(group))}
    return np.array([row[name] for name in group])


def _weighted_moments(
    utterances: Iterable[np.ndarray], n: int, weight: Callable[[slice], np.ndarray]
) -> Moments:
    """Moments of groups of n weighted utterances; `weight(block)` is [groups, utterances]."""
    centre, sums, total, count = np.zeros(0), [], np.zeros(1), 0
    for count, x in enumerate(utterances, start=1):
        if count == 1:
            centre = x.mean(0, np.float64)  # subtracted from all, so that squares stay small
        x = np.asarray(x, np.float64) - centre
        sums.append(np.concatenate([[len(x)], x.sum(0), np.einsum("fb,fb->b", x, x)]))
        if len(sums) == _BLOCK or count == n:
            total = total + weight(slice(count - len(sums), count)) @ np.stack(sums)
            sums = []
    assert count == n
    # [groups, 1 + bins + bins]: frames, sums and sums of squares
    frames, first, second = np.split(total, [1, 1 + len(centre)], axis=1)
    mean = first / frames
    return Moments(mean + centre, np.maximum(second / frames - mean**2, 0))


def identity(bins: int) -> Statistics:
    """Statistics that change nothing."""
    zeros, ones = np.zeros((1, bins), np.float32), np.ones((1, bins), np.float32)
    return Statistics(zeros, ones, ("none",), is_identity=True)


def apply(
    fitted: Statistics, utterances: Iterable[np.ndarray], group: Sequence[str]
) -> Iterator[np.ndarray]:
    """Subtracts the mean of each utterance's group and divides by its standard deviation.

    Args:
      fitted: statistics of every name in `group`; a single row is used for all utterances.
      utterances: n arrays [frames, bins] float32.
      group: [n] group names.

    Yields:
      [frames, bins] float16 of each utterance. Z-scores are clipped to +-LARGEST_Z. Values that
      `identity` does not change are clipped to +-LARGEST_VALUE.
    """
    row = {name: i for i, name in enumerate(fitted.groups)}
    limit = LARGEST_VALUE if fitted.is_identity else LARGEST_Z
    for x, name in zip(utterances, group, strict=True):
        g = 0 if len(row) == 1 else row[name]
        z = np.clip((x - fitted.mean[g]) / fitted.std[g], -limit, limit)
        yield z.astype(np.float16)


def normalised_features(
    features: jax.Array, frames: jax.Array, mean: jax.Array, std: jax.Array, by: str
) -> jax.Array:
    """`apply` for a batch, in JAX and float32.

    Args:
      features: float32 [batch, frames, bins], or [batch, values] from a vector recipe.
      frames: int32 [batch], valid frames.
      mean: float32 [batch, bins or values].
      std: float32 [batch, bins or values], positive.
      by: one of NORMALISATIONS; "utterance" uses the statistics of each clip instead.

    Returns:
      float32, the shape of `features`. Values after a clip's valid frames have no meaning.
    """
    chex.assert_rank([features, frames, mean, std], [{2, 3}, 1, 2, 2])
    chex.assert_equal_shape([mean, std])
    if features.ndim == 2:  # a vector recipe
        # Runs do not get here, because `grouping` refuses "utterance" for vectors. The definition
        # gives zeros: the mean of one value is the value itself.
        if by == "utterance":
            return jnp.zeros_like(features)
    elif by == "utterance":
        mean, std = _clip_statistics(features, frames)
    else:
        mean, std = mean[:, None], std[:, None]  # [batch, 1, bins]
    limit = LARGEST_VALUE if by == "none" else LARGEST_Z
    return jnp.clip((features - mean) / std, -limit, limit)


def _clip_statistics(features: jax.Array, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation [batch, 1, bins] over the valid frames of each clip.

    A constant bin gets the standard deviation 1.
    """
    valid = (jnp.arange(features.shape[1])[None] < frames[:, None])[..., None]  # [batch, frames, 1]
    count = frames[:, None, None].astype(jnp.float32)
    mean = jnp.where(valid, features, 0.0).sum(1, keepdims=True) / count
    variance = jnp.where(valid, jnp.square(features - mean), 0.0).sum(1, keepdims=True) / count
    constant = variance <= _CONSTANT_FRACTION * (jnp.square(mean) + variance)
    return mean, jnp.where(constant, 1.0, jnp.sqrt(jnp.where(constant, 1.0, variance)))
