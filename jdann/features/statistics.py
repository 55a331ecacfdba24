"""Statistics of an utterance: one number from the masked frames of a track.

Tracks are `[..., frames]`, results `[...]`. Values and gradients are finite for any mask; an empty
mask gives zero. Stack many tracks as `[..., tracks, frames]` in one call, because each call takes
time to trace and to compile.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jdann.features.spectral import safe_sqrt

# The range that holds a percentile is halved this often, down to a ten-millionth of its size.
_HALVINGS = 22


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean [...] of x [..., frames] over the frames of mask [..., frames]."""
    return jnp.where(mask, x, 0.0).sum(-1) / jnp.maximum(_count(mask), 1.0)


def masked_std(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Standard deviation [...] of x [..., frames] over the frames of mask [..., frames]."""
    return safe_sqrt(masked_mean((x - masked_mean(x, mask)[..., None]) ** 2, mask))


def masked_percentiles(x: jax.Array, mask: jax.Array, percentiles: tuple[float, ...]) -> jax.Array:
    """Percentiles of the masked frames, as `numpy.percentile` with linear interpolation.

    It halves a range and counts the frames below, because XLA sorts slowly on CPUs.

    Args:
      x: float32 [..., frames].
      mask: bool [..., frames].
      percentiles: each in 0..100.

    Returns:
      float32 [..., percentiles]; zero where the mask is empty.
    """
    x, mask = x[..., None, :], mask[..., None, :]  # [..., 1, frames]
    fixed, count = jax.lax.stop_gradient(x), _count(mask)  # [..., 1, frames], [..., 1]
    low = jnp.where(count > 0, jnp.where(mask, fixed, jnp.inf).min(-1), 0.0)
    high = jnp.where(count > 0, jnp.where(mask, fixed, -jnp.inf).max(-1), 0.0)
    counted = jnp.where(mask, fixed, jnp.inf)  # masked frames lie above every threshold
    fraction = np.asarray(percentiles, np.float32) / 100
    fraction = jax.lax.broadcast_to_rank(fraction, count.ndim)
    rank = fraction * jnp.maximum(count - 1.0, 0.0)  # [..., percentiles]
    below = jnp.floor(rank)

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        enough = _count(counted <= middle[..., None]) > below
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    _, high = jax.lax.fori_loop(
        0, _HALVINGS, halve, (jnp.broadcast_to(low, rank.shape), jnp.broadcast_to(high, rank.shape))
    )
    inside = mask & (fixed <= high[..., None])  # [..., percentiles, frames]
    # The frame of that rank, or one that differs from it by rounding only, and the frame after it.
    first = jnp.where(inside, x, -jnp.inf).max(-1)
    second = jnp.where(mask & ~inside, x, jnp.inf).min(-1)
    second = jnp.where(_count(inside) > below + 1, first, second)  # equal frames share a rank
    part = rank - below
    value = first + jnp.where(part > 0, part * (jnp.where(part > 0, second, first) - first), 0.0)
    return jnp.where(count > 0, value, 0.0)


def slopes(x: jax.Array, mask: jax.Array, hop_s: float) -> jax.Array:
    """Mean and standard deviation of the rising slopes, then of the falling ones.

    A slope lies between two neighbouring frames of the mask.

    Args:
      x: float32 [..., frames].
      mask: bool [..., frames].
      hop_s: seconds between frames.

    Returns:
      float32 [..., 4], per second; falling slopes are positive numbers.
    """
    sign = np.asarray([[1.0], [-1.0]], np.float32)  # [rising and falling, 1]
    sign = jax.lax.broadcast_to_rank(sign, x.ndim + 1)
    change = sign * jnp.diff(x, axis=-1)[..., None, :] / hop_s
    steep = (mask[..., 1:] & mask[..., :-1])[..., None, :] & (change > 0)
    both = jnp.stack([masked_mean(change, steep), masked_std(change, steep)], -1)  # [..., 2, 2]
    return both.reshape(*both.shape[:-2], 4)


def peak_rate(x: jax.Array, mask: jax.Array, hop_s: float) -> jax.Array:
    """Peaks per second [...] of x [..., frames].

    A peak is higher than both its neighbours and than the mean over the mask.
    """
    inner = x[..., 1:-1]
    peak = (inner > x[..., :-2]) & (inner >= x[..., 2:]) & (inner > masked_mean(x, mask)[..., None])
    peak &= mask[..., :-2] & mask[..., 1:-1] & mask[..., 2:]
    return _count(peak) / (jnp.maximum(_count(mask), 1.0) * hop_s)


def segments(inside: jax.Array, valid: jax.Array, hop_s: float) -> jax.Array:
    """Unbroken runs of frames: number per second, mean and standard deviation of the duration.

    Args:
      inside: bool [..., frames].
      valid: bool [..., frames], the frames of the utterance.
      hop_s: seconds between frames.

    Returns:
      float32 [..., 3]: runs per second, seconds, seconds.
    """
    duration, ends = runs(inside & valid, hop_s)
    rate = _count(ends) / (jnp.maximum(_count(valid), 1.0) * hop_s)
    return jnp.stack([rate, masked_mean(duration, ends), masked_std(duration, ends)], -1)


def runs(inside: jax.Array, hop_s: float) -> tuple[jax.Array, jax.Array]:
    """Unbroken runs of frames of inside [..., frames].

    Returns:
      Seconds since the start of the run [..., frames], which at the last frame of a run is its
      duration; and a mask of these last frames, bool [..., frames].
    """
    edge = jnp.zeros_like(inside[..., :1])
    ends = inside & ~jnp.concatenate([inside[..., 1:], edge], -1)
    return (frame_number(inside) - latest(~inside)) * hop_s, ends


def latest(marks: jax.Array) -> jax.Array:
    """Index of the last marked frame at or before each frame; -1 if there is none.

    Returns float32, the shape of marks [..., frames].
    """
    frame = frame_number(marks)
    frame_i, frame_j = frame[..., :, None], frame[..., None, :]
    # A cumulative maximum would compile to a hundred operations.
    before = frame_j <= frame_i  # [..., frames, frames]
    return jnp.where(before & marks[..., None, :], frame_j, -1.0).max(-1)


def frame_number(x: jax.Array) -> jax.Array:
    """Numbers the frames of x [..., frames] from 0: [1, ..., frames], with as many axes as x.

    The numbers are float32, because XLA computes maxima of integers slowly on CPUs.
    """
    return jax.lax.broadcast_to_rank(jnp.arange(x.shape[-1], dtype=jnp.float32), x.ndim)


def bin_statistics(rows: jax.Array, valid: jax.Array) -> jax.Array:
    """Mean, standard deviation, two percentiles and the deviation of the change of each bin.

    The percentiles are the 10th and the 90th. The change is that from frame to frame.

    Args:
      rows: float32 [..., bins, frames].
      valid: bool [..., frames].

    Returns:
      float32 [..., 5, bins].
    """
    mask = jnp.broadcast_to(valid[..., None, :], rows.shape)
    change = masked_std(jnp.diff(rows, axis=-1), mask[..., 1:])
    low, high = jnp.moveaxis(masked_percentiles(rows, mask, (10.0, 90.0)), -1, 0)
    return jnp.stack([masked_mean(rows, mask), masked_std(rows, mask), low, high, change], -2)


def _count(mask: jax.Array) -> jax.Array:
    """Number [...] of frames of mask [..., frames].

    It is float32, because XLA adds integers slowly on CPUs.
    """
    return mask.astype(jnp.float32).sum(-1)
