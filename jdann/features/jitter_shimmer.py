"""Perturbation of the voice from period to period: jitter and shimmer."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

_POINTS = 64  # points to which one period is resampled
_SEARCH = 7  # points by which a period may differ from the pitch, 11 %


class Perturbation(NamedTuple):
    """Differences between neighbouring periods."""

    jitter: jax.Array  # [..., frames], difference of durations over their mean, in 0..0.25
    shimmer_db: jax.Array  # [..., frames], difference of amplitudes, dB >= 0


def perturbation(
    *,
    y: jax.Array | np.ndarray,
    f0_hz: jax.Array | np.ndarray,
    sr: float = 22050,
    hop_length: int = 512,
) -> Perturbation:
    """Local jitter and shimmer around the centre of each frame.

    The waveform around the centre is resampled to a fixed number of points per period. The periods
    before and after the central one are where the normalised cross-correlation with it is highest.
    This is the waveform matching of Titze and Liang 1993, "Comparison of F0 extraction methods for
    high-precision voice perturbation measurements", JSHR 36(6).

    Args:
      y: float32 [..., samples].
      f0_hz: [..., frames], from `pitch`, its frame t centred at sample t * hop_length.
      sr: sampling rate, Hz.
      hop_length: samples between frames.

    Returns:
      Perturbation, float32 [..., frames]; meaningful where a frame is voiced, zero in silence.
    """
    y, f0_hz = jnp.asarray(y, jnp.float32), jnp.asarray(f0_hz)
    chex.assert_equal_shape_prefix([y, f0_hz], y.ndim - 1)
    reach = _POINTS + _SEARCH + 1
    # Distance of each point from the frame's centre, in periods.
    point = (np.arange(-reach, _POINTS + reach) - _POINTS / 2) / _POINTS
    centre = (jnp.arange(f0_hz.shape[-1]) * hop_length).astype(jnp.float32)
    period = (sr / f0_hz)[..., None]  # [..., frames, 1] samples
    centre = jax.lax.broadcast_to_rank(centre[:, None], period.ndim)
    point = jax.lax.broadcast_to_rank(point.astype(np.float32), period.ndim)
    position = centre + point * period  # [..., frames, points]
    x = _interpolated(y, position)

    central = x[..., reach : reach + _POINTS]
    energy = (central**2).sum(-1)
    safe = jnp.where(energy > 1e-12, energy, 1.0)

    def compared(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Energy of a window and its product with the central period [..., frames]."""
        window = jax.lax.dynamic_slice_in_dim(x, start, _POINTS, -1)
        return (window**2).sum(-1), (window * central).sum(-1)

    # A loop over all shifts before and after the centre compiles to a small program.
    shift = np.arange(-_SEARCH - 1, _SEARCH + 2)
    starts = reach + np.concatenate([-(_POINTS + shift), _POINTS + shift])
    energies, products = (
        v.reshape(2, len(shift), *energy.shape) for v in jax.lax.map(compared, jnp.asarray(starts))
    )
    # [2, shifts, ..., frames]
    match = products * jax.lax.rsqrt(jnp.maximum(energies * safe[None, None], 1e-20))
    inner = match[:, 1:-1]
    index = np.arange(1.0, len(shift) - 1, dtype=np.float32).reshape(-1, *[1] * energy.ndim)
    best = (
        jnp.where(inner == inner.max(1, keepdims=True), index, index[-1])
        .min(1, keepdims=True)
        .astype(jnp.int32)
    )
    before, peak, after = (jnp.take_along_axis(match, best + i, 1)[:, 0] for i in (-1, 0, 1))
    curvature = before - 2 * peak + after
    curved = curvature < -1e-6
    offset = jnp.clip(
        jnp.where(curved, 0.5 * (before - after) / jnp.where(curved, curvature, -1.0), 0.0),
        -0.5,
        0.5,
    )
    # Distance in periods and energy of the previous and of the following period [..., frames].
    previous, following = 1 + (jnp.asarray(shift, jnp.float32)[best[:, 0]] + offset) / _POINTS
    energy_previous, energy_following = jnp.take_along_axis(energies, best, 1)[:, 0]
    jitter = jnp.abs(previous - following) / (0.5 * (previous + following))

    def decibels(neighbour: jax.Array) -> jax.Array:
        return jnp.abs(
            10 * (jnp.log10(jnp.maximum(neighbour, 1e-9)) - jnp.log10(jnp.maximum(energy, 1e-9)))
        )

    shimmer = 0.5 * (decibels(energy_previous) + decibels(energy_following))
    sounding = energy > 1e-9
    return Perturbation(
        jnp.where(sounding, jitter, 0.0), jnp.where(sounding, jnp.minimum(shimmer, 12.0), 0.0)
    )


def _interpolated(y: jax.Array, position: jax.Array | np.ndarray) -> jax.Array:
    """Values of y [..., samples] at positions [..., frames, points], interpolated linearly.

    Outside of the signal they are zero.
    """
    padded = jnp.pad(y, [(0, 0)] * (y.ndim - 1) + [(1, 2)])
    position = jnp.clip(position + 1, 0.0, y.shape[-1] + 1.0)
    left = jax.lax.stop_gradient(jnp.floor(position))
    index = left.astype(jnp.int32).reshape(*y.shape[:-1], -1)
    low, high = (jnp.take_along_axis(padded, index + i, -1).reshape(position.shape) for i in (0, 1))
    return low + (position - left) * (high - low)
