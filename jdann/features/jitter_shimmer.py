"""Perturbation of the voice from period to period: jitter and shimmer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_POINTS = 64  # samples that a period is resampled to
_SEARCH = 7  # points by which a period may be shorter or longer than the pitch says, 11 %


class Perturbation(NamedTuple):
    """Differences between neighbouring periods."""

    jitter: jax.Array  # [..., frames], of duration, relative to their mean, in 0..0.25
    shimmer_db: jax.Array  # [..., frames], of amplitude, dB >= 0


def perturbation(
    *,
    y: jax.Array | np.ndarray,
    f0_hz: jax.Array | np.ndarray,
    sr: float = 22050,
    hop_length: int = 512,
) -> Perturbation:
    """Local jitter and shimmer around the centre of each frame.

    The waveform around the centre is resampled to a fixed number of points a period. The period before the centre's and the one
    after it are where the normalised cross-correlation with the centre's is highest: waveform matching, Titze and Liang,
    "Comparison of F0 extraction methods for high-precision voice perturbation measurements", JSHR 36(6), 1993.

    Args:
      y: float32 [..., samples].
      f0_hz: [..., frames], from `pitch`, its frame t centred at sample t * hop_length.
      sr: sampling rate, Hz.
      hop_length: samples between frames.

    Returns:
      Perturbation, float32 [..., frames]; meaningful where a frame is voiced, zero in silence.
    """
    y, f0_hz = jnp.asarray(y, jnp.float32), jnp.asarray(f0_hz)
    reach = _POINTS + _SEARCH + 1
    point = (
        np.arange(-reach, _POINTS + reach) - _POINTS / 2
    ) / _POINTS  # in periods from the frame's centre
    centre = jnp.arange(f0_hz.shape[-1]) * hop_length
    position = (
        centre[:, None] + point.astype(np.float32) * (sr / f0_hz)[..., None]
    )  # [..., frames, points]
    x = _interpolated(y, position)

    here = x[..., reach : reach + _POINTS]
    energy = (here**2).sum(-1)
    safe = jnp.where(energy > 1e-12, energy, 1.0)

    def compared(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Energy of another window and its product with the centre's [..., frames]."""
        other = jax.lax.dynamic_slice_in_dim(x, start, _POINTS, -1)
        return (other**2).sum(-1), (other * here).sum(-1)

    # Before the centre's and after it: a loop of two sums, which is a small program.
    shift = np.arange(-_SEARCH - 1, _SEARCH + 2)
    starts = reach + np.concatenate([-(_POINTS + shift), _POINTS + shift])
    energies, products = (
        v.reshape(2, len(shift), *energy.shape) for v in jax.lax.map(compared, jnp.asarray(starts))
    )
    match = products * jax.lax.rsqrt(
        jnp.maximum(energies * safe, 1e-20)
    )  # [2, shifts, ..., frames]
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
    # Distance in periods and energy of the window before and of that after [..., frames].
    previous, following = 1 + (jnp.asarray(shift, jnp.float32)[best[:, 0]] + offset) / _POINTS
    energy_previous, energy_following = jnp.take_along_axis(energies, best, 1)[:, 0]
    jitter = jnp.abs(previous - following) / (0.5 * (previous + following))

    def decibels(other: jax.Array) -> jax.Array:
        return jnp.abs(
            10 * (jnp.log10(jnp.maximum(other, 1e-9)) - jnp.log10(jnp.maximum(energy, 1e-9)))
        )

    shimmer = 0.5 * (decibels(energy_previous) + decibels(energy_following))
    sounding = energy > 1e-9
    return Perturbation(
        jnp.where(sounding, jitter, 0.0), jnp.where(sounding, jnp.minimum(shimmer, 12.0), 0.0)
    )


def _interpolated(y: jax.Array, position: jax.Array | np.ndarray) -> jax.Array:
    """Samples of y [..., samples] at positions [..., frames, points], between two of them on a line; zero beyond the ends."""
    padded = jnp.pad(y, [(0, 0)] * (y.ndim - 1) + [(1, 2)])
    position = jnp.clip(position + 1, 0.0, y.shape[-1] + 1.0)
    left = jax.lax.stop_gradient(jnp.floor(position))
    index = left.astype(jnp.int32).reshape(*y.shape[:-1], -1)
    low, high = (jnp.take_along_axis(padded, index + i, -1).reshape(position.shape) for i in (0, 1))
    return low + (position - left) * (high - low)
