"""Formants: the resonances of the vocal tract, by linear prediction of each frame."""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann.errors import InputError
from jdann.features.spectral import apply_matrix, spectrogram

_LOWEST_HZ = 50.0  # lower roots, and those on the real axis, describe the tilt of the spectrum
_UNIFORM_TUBE_HZ = 500.0  # resonances of a tube of 17 cm, open at one end, are odd multiples of it
_ROUNDS = 12  # iterations of the root finder, which converges cubically


class Formants(NamedTuple):
    """Resonances in ascending order."""

    frequency_hz: jax.Array  # [..., formants, frames]
    bandwidth_hz: jax.Array  # [..., formants, frames], at -3 dB


def formants(
    *,
    y: jax.Array | np.ndarray | None = None,
    sr: float = 22050,
    S: jax.Array | np.ndarray | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    n_formants: int = 3,
    order: int = 10,
    fmax: float = 5500.0,
    preemphasis: float = 0.97,
    **stft_options: Any,
) -> Formants:
    """Formant frequencies and bandwidths by linear prediction, frame by frame.

    It is the autocorrelation method (Makhoul 1975, "Linear prediction: a tutorial review", Proc.
    IEEE 63(4)) on the power spectrum up to `fmax`, as if the signal had been resampled to twice
    `fmax`. The method of Aberth 1973, "Iteration methods for finding all zeros of a polynomial
    simultaneously", Math. Comp. 27, finds all roots of the predictor.

    Args:
      y: float32 [..., samples].
      sr: sampling rate, Hz.
      S: magnitude [..., 1 + n_fft // 2, frames], used instead of `y`.
      n_fft: length of a frame, samples.
      hop_length: samples between frames.
      n_formants: number of formants, from the lowest one up, at most `order` // 2.
      order: order of the prediction, even: two for each resonance expected below `fmax`.
      fmax: highest frequency of the model, Hz, at most Nyquist. 5500 suits women and men, 8000
        children.
      preemphasis: coefficient of the first difference that flattens the spectrum of voiced speech,
        in [0, 1).
      **stft_options: `win_length`, `window`, `center` and `pad_mode` of `stft`.

    Returns:
      Formants, float32 [..., n_formants, frames], frequencies in (50, fmax) Hz and bandwidths in
      (0, fmax) Hz. If a frame has fewer resonances, such as a silent one, the missing ones are
      those of a uniform tube, with a bandwidth equal to their distance.

    Raises:
      InputError: the order is odd or too low for the number of formants, or there is no input.
    """
    if order % 2 or order < 2 * n_formants:
        raise InputError(
            f"order={order}: expected an even number of at least {2 * n_formants}, "
            "two for each formant"
        )
    S, n_fft = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, **stft_options)
    rate_hz = 2.0 * min(fmax, sr / 2)
    cosines = _lag_cosines(sr, n_fft, order, rate_hz, preemphasis)
    power = jnp.swapaxes(S, -1, -2)[..., : len(cosines)] ** 2  # [..., frames, bins]
    lags = apply_matrix(cosines.T, jnp.swapaxes(power, -1, -2))  # [..., 1 + order, frames]
    autocorrelation = jnp.moveaxis(lags, -2, 0)  # [1 + order, ..., frames]
    coefficients = _levinson(autocorrelation)
    real, imaginary = _roots(coefficients)  # [order, ..., frames]

    squared = jnp.maximum(real**2 + imaginary**2, 1e-12)
    resonant = imaginary > 1e-5
    angle = jnp.arctan2(jnp.where(resonant, imaginary, 1.0), real)
    frequency = angle * (rate_hz / (2 * np.pi))  # [order, ..., frames]
    bandwidth = jnp.clip(-jnp.log(squared) * (rate_hz / (2 * np.pi)), 1.0, rate_hz / 2)
    candidate = (
        resonant
        & (frequency > _LOWEST_HZ)
        & (frequency < rate_hz / 2 - _LOWEST_HZ)
        & (autocorrelation[:1] > 1e-10)
    )
    frequencies, bandwidths = [], []
    for i in range(n_formants):
        # The lowest candidate, and the first of equal ones.
        candidate_hz = jnp.where(candidate, frequency, jnp.inf)
        lowest = (candidate_hz <= candidate_hz.min(0, keepdims=True)) & candidate
        lowest &= jnp.cumsum(lowest, 0) == 1
        exists = lowest.any(0)
        frequency_hz = jnp.where(lowest, frequency, 0.0).sum(0)
        bandwidth_hz = jnp.where(lowest, bandwidth, 0.0).sum(0)
        frequencies.append(jnp.where(exists, frequency_hz, (2 * i + 1) * _UNIFORM_TUBE_HZ))
        bandwidths.append(jnp.where(exists, bandwidth_hz, 2 * _UNIFORM_TUBE_HZ))
        candidate &= ~lowest
    return Formants(jnp.stack(frequencies, -2), jnp.stack(bandwidths, -2))


def _levinson(r: jax.Array) -> jax.Array:
    """The Levinson-Durbin recursion.

    From the autocorrelation r [1 + order, ...] it computes the predictor [1 + order, ...], whose
    first coefficient is one.
    """
    error = r[0] * (1 + 1e-6) + 1e-10  # white noise, so that silence and pure tones are solvable
    a = jnp.ones_like(r[:1])
    for i in range(1, len(r)):
        reflection = -(a * r[i:0:-1]).sum(0) / error
        padded = jnp.concatenate([a, jnp.zeros_like(r[:1])])
        a = padded + reflection[None] * padded[::-1]
        error = jnp.maximum(error * (1 - reflection**2), 1e-7 * r[0] + 1e-10)
    return a


def _polynomial(a: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Value at z = x + iy [points, ...] of a polynomial with real coefficients a.

    The coefficient of the highest power is the first one.
    """
    real, imaginary = jnp.broadcast_to(a[0], x.shape), jnp.zeros_like(x)
    for coefficient in a[1:, None]:
        real, imaginary = real * x - imaginary * y + coefficient, real * y + imaginary * x
    return real, imaginary


def _derivative(a: jax.Array) -> jax.Array:
    """Coefficients of the derivative."""
    return a[:-1] * np.arange(len(a) - 1, 0, -1, dtype=np.float32).reshape(-1, *[1] * (a.ndim - 1))


def _divide(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(a + ib) / (c + id), finite everywhere."""
    scale = 1.0 / jnp.maximum(c * c + d * d, 1e-12)
    return (a * c + b * d) * scale, (b * c - a * d) * scale


@jax.custom_jvp
def _roots(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Real and imaginary parts [order, ...] of the roots of a polynomial a [1 + order, ...]."""
    order = len(a) - 1
    # The search starts near the unit circle, where resonances lie. The start is not symmetric, so
    # that a pair of complex roots can become two real ones.
    angle = 2 * np.pi * (np.arange(order) + 0.3) / order
    angle = angle.reshape(order, *(1,) * (a.ndim - 1))
    x, y = (
        jnp.broadcast_to(jnp.asarray(0.9 * part, jnp.float32), (order, *a.shape[1:]))
        for part in (np.cos(angle), np.sin(angle))
    )
    slope = _derivative(a)

    def step(_: int, z: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x, y = z
        newton = _divide(*_polynomial(a, x, y), *_polynomial(slope, x, y))
        # [order, order, ...]; the diagonal adds nothing
        dx, dy = x[:, None] - x[None], y[:, None] - y[None]
        scale = 1.0 / jnp.maximum(dx * dx + dy * dy, 1e-12)
        repel_x, repel_y = (dx * scale).sum(1), -(dy * scale).sum(1)
        denominator = (
            1 - newton[0] * repel_x + newton[1] * repel_y,
            -newton[0] * repel_y - newton[1] * repel_x,
        )
        change = _divide(*newton, *denominator)
        # The roots of a stable predictor lie within the unit circle, so a long step is wrong.
        stride = jnp.minimum(1.0, 0.5 / jnp.maximum(jnp.hypot(*change), 1e-12))
        return x - change[0] * stride, y - change[1] * stride

    return jax.lax.fori_loop(0, _ROUNDS, step, (x, y))


@_roots.defjvp
def _(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """The implicit derivative: a root moves so that the polynomial stays zero at it."""
    (a,), (change,) = primals, tangents
    root = _roots(a)
    real, imaginary = _divide(*_polynomial(change, *root), *_polynomial(_derivative(a), *root))
    return root, (-real, -imaginary)


@lru_cache(maxsize=32)
def _lag_cosines(
    sr: float, n_fft: int, order: int, rate_hz: float, preemphasis: float
) -> np.ndarray:
    """A matrix [bins, 1 + order] from power to the autocorrelation at `rate_hz`.

    It includes the preemphasis, a first difference that flattens the spectrum.
    """
    freq = np.fft.rfftfreq(n_fft, 1.0 / sr)
    angle = 2 * np.pi * freq[freq <= rate_hz / 2] / rate_hz
    flattened = 1 + preemphasis**2 - 2 * preemphasis * np.cos(angle)
    cosines = flattened[:, None] * np.cos(angle[:, None] * np.arange(order + 1)) / n_fft
    return cosines.astype(np.float32)
