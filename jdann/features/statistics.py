"""Statistics: one number for a whole utterance from a track of frames, masked. Tracks are `[..., frames]`, results `[...]`.

All are finite, with finite gradients, for any mask: over no frame at all they are zero.
"""

import jax
import jax.numpy as jnp

from jdann.features.spectral import safe_sqrt

_HALVINGS = 22  # of the range in which a percentile lies, until it is a ten-millionth of it


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean [...] of x [..., frames] over the frames of mask [..., frames]."""
    return jnp.where(mask, x, 0.0).sum(-1) / jnp.maximum(mask.sum(-1), 1)


def masked_std(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Standard deviation [...] of x [..., frames] over the frames of mask [..., frames]."""
    return safe_sqrt(masked_mean((x - masked_mean(x, mask)[..., None]) ** 2, mask))


def masked_percentiles(x: jax.Array, mask: jax.Array, percentiles: tuple[float, ...]) -> tuple[jax.Array, ...]:
    """Percentiles of the masked frames as `numpy.percentile` has them, between two frames on a line.

    By halving a range and counting the frames below: XLA sorts slowly on CPUs.

    Args:
      x: float32 [..., frames].
      mask: bool [..., frames].
      percentiles: each in 0..100.

    Returns:
      float32 [...] for each percentile; zero where the mask is empty.
    """
    count = mask.sum(-1)
    fixed = jax.lax.stop_gradient(x)
    lowest = jnp.where(mask, fixed, jnp.inf).min(-1)
    highest = jnp.where(mask, fixed, -jnp.inf).max(-1)
    lowest, highest = (jnp.where(count > 0, value, 0.0) for value in (lowest, highest))
    counted = jnp.where(mask, fixed, jnp.inf)  # beyond every threshold
    rank = jnp.asarray(percentiles, jnp.float32) / 100 * jnp.maximum(count - 1, 0)[..., None]  # [..., percentiles]
    below = jnp.floor(rank)

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        enough = jnp.stack([(counted <= middle[..., i, None]).sum(-1) for i in range(len(percentiles))], -1) > below
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    start = tuple(jnp.broadcast_to(end[..., None], rank.shape) for end in (lowest, highest))
    _, high = jax.lax.fori_loop(0, _HALVINGS, halve, start)
    results = []
    for i in range(len(percentiles)):
        inside = mask & (fixed <= high[..., i, None])
        first = jnp.where(inside, x, -jnp.inf).max(-1)  # the frame of that rank, or one equal to it but for rounding
        next_one = jnp.where(mask & ~inside, x, jnp.inf).min(-1)
        # Equal frames share a rank.
        next_one = jnp.where(inside.sum(-1) > below[..., i] + 1, first, next_one)
        part = rank[..., i] - below[..., i]
        value = first + jnp.where(part > 0, part * (jnp.where(part > 0, next_one, first) - first), 0.0)
        results.append(jnp.where(count > 0, value, 0.0))
    return tuple(results)


def slopes(x: jax.Array, mask: jax.Array, hop_s: float) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Mean and standard deviation of the rising, then of the falling slopes between neighbouring frames of the mask.

    Args:
      x: float32 [..., frames].
      mask: bool [..., frames].
      hop_s: between frames.

    Returns:
      Four of float32 [...], per second; falling slopes are positive numbers.
    """
    change = jnp.diff(x, axis=-1) / hop_s
    both = mask[..., 1:] & mask[..., :-1]
    rising, falling = both & (change > 0), both & (change < 0)
    return masked_mean(change, rising), masked_std(change, rising), masked_mean(-change, falling), masked_std(change, falling)


def peak_rate(x: jax.Array, mask: jax.Array, hop_s: float) -> jax.Array:
    """Peaks per second [...]: frames of x [..., frames] higher than both neighbours and than the mean of the mask."""
    inner = x[..., 1:-1]
    peak = (inner > x[..., :-2]) & (inner >= x[..., 2:]) & (inner > masked_mean(x, mask)[..., None])
    peak &= mask[..., :-2] & mask[..., 1:-1] & mask[..., 2:]
    return peak.sum(-1) / (jnp.maximum(mask.sum(-1), 1) * hop_s)


def segments(inside: jax.Array, valid: jax.Array, hop_s: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Number of unbroken runs of frames per second, mean of their durations and its standard deviation.

    Args:
      inside: bool [..., frames].
      valid: bool [..., frames], the frames of the utterance.
      hop_s: between frames.

    Returns:
      Float32 [...] each: runs per second, seconds, seconds.
    """
    duration, ends = runs(inside & valid, hop_s)
    rate = ends.sum(-1) / (jnp.maximum(valid.sum(-1), 1) * hop_s)
    return rate, masked_mean(duration, ends), masked_std(duration, ends)


def runs(inside: jax.Array, hop_s: float) -> tuple[jax.Array, jax.Array]:
    """Duration in seconds of each unbroken run of frames of inside [..., frames], at its last frame, and marks of these frames."""
    edge = jnp.zeros_like(inside[..., :1])
    begins = inside & ~jnp.concatenate([edge, inside[..., :-1]], -1)
    ends = inside & ~jnp.concatenate([inside[..., 1:], edge], -1)
    frame = jnp.arange(inside.shape[-1])
    begun = jax.lax.cummax(jnp.where(begins, frame, 0), axis=inside.ndim - 1)
    return (frame - begun + 1).astype(jnp.float32) * hop_s, ends


def bin_statistics(rows: jax.Array, valid: jax.Array) -> jax.Array:
    """Mean, standard deviation, 10th and 90th percentile, and standard deviation of the change from frame to frame.

    Args:
      rows: float32 [..., bins, frames].
      valid: bool [..., frames].

    Returns:
      float32 [..., 5, bins].
    """
    mask = jnp.broadcast_to(valid[..., None, :], rows.shape)
    change = masked_std(jnp.diff(rows, axis=-1), mask[..., 1:])
    low, high = masked_percentiles(rows, mask, (10.0, 90.0))
    return jnp.stack([masked_mean(rows, mask), masked_std(rows, mask), low, high, change], -2)
