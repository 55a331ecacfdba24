"""The two domains as training sees them: labelled source, unlabelled target.

Nothing here can hold a target label: `Unlabelled` has no field for one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Labelled(NamedTuple):
    """A batch of the source domain."""

    features: jax.Array  # [batch, frames, bins], zero beyond the length
    length: jax.Array  # [batch] int32, in frames
    emotion: jax.Array  # [batch] int32, index into config.emotions


class Unlabelled(NamedTuple):
    """A batch of the target domain."""

    features: jax.Array  # [batch, frames, bins], zero beyond the length
    length: jax.Array  # [batch] int32, in frames


class Frames(NamedTuple):
    """The features of many utterances, one after the other: memory grows with the speech, not with the longest one."""

    values: (
        jax.Array | np.ndarray
    )  # [total_frames + window, bins] float16, the last `window` rows zero
    start: jax.Array | np.ndarray  # [utterances] int32, each one's first row
    length: jax.Array | np.ndarray  # [utterances] int32, in frames


def take(
    frames: Frames, index: jax.Array, window: int, part: jax.typing.ArrayLike = 0.0
) -> Unlabelled:
    """Gathers a batch of utterances, padded with zeros to a common length; of longer ones a part of that length.

    Args:
      frames: where they are.
      index: [batch] int32, which ones.
      window: frames of the batch; static.
      part: [batch] or a scalar in [0, 1): which part of an utterance longer than the window, from its first to its last.

    Returns:
      features [batch, window, bins] float32 and length [batch].
    """
    start, length = jnp.asarray(frames.start)[index], jnp.asarray(frames.length)[index]
    start += jnp.floor(part * (jnp.maximum(length - window, 0) + 1)).astype(start.dtype)
    length = jnp.minimum(length, window)
    values = jnp.asarray(frames.values)
    rows = start[:, None] + jnp.arange(window)  # [batch, window]
    features = values[rows].astype(jnp.float32)  # [batch, window, bins]
    valid = jnp.arange(window) < length[:, None]
    return Unlabelled(jnp.where(valid[..., None], features, 0.0), length)


def vectors(frames: Frames, index: np.ndarray) -> jax.Array:
    """Utterances [n] of one vector each, all of the same length, as float32 [n, values]."""
    return take(frames, jnp.asarray(index), int(np.max(np.asarray(frames.length)))).features[..., 0]


def batches(
    index: np.ndarray, group: np.ndarray, steps: int, batch_size: int, seed: Sequence[int]
) -> np.ndarray:
    """Which utterances make up each step of an epoch: shuffled passes over each group, the groups in equal parts.

    Args:
      index: [n] int, the utterances to draw from, n >= 1.
      group: [n] int, which group each belongs to: a corpus and language, where there are several.
      steps: steps of the epoch.
      batch_size: utterances in a step.
      seed: names this epoch's order, e.g. (run seed, domain, epoch); the same seed gives the same order.

    Returns:
      [steps, batch_size] int32. Within a group every utterance is drawn once before any is drawn again. Each step holds
      the same number of every group, up to one.
    """
    random = np.random.default_rng(list(seed))
    names = np.unique(group)
    places = np.resize(
        np.arange(len(names)), steps * batch_size
    )  # which group each place of the epoch is for
    order = np.empty(steps * batch_size, np.int32)
    for i, name in enumerate(names):
        rows, wanted = index[group == name], np.flatnonzero(places == i)
        passes = -(-len(wanted) // len(rows))
        order[wanted] = np.concatenate([random.permutation(rows) for _ in range(passes)])[
            : len(wanted)
        ]
    return order.reshape(steps, batch_size)
