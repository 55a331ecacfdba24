"""Loudness, spectral balance and voice quality of each frame: the descriptors of the Geneva minimalistic acoustic parameter set.

Eyben et al., "The Geneva minimalistic acoustic parameter set (GeMAPS) for voice research and affective computing", IEEE TAC
7(2), 2016. Magnitudes S are float32 `[..., bins, frames]` under a Hann window, results `[..., frames]`; gradients are finite.
"""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdann.errors import InputError
from jdann.features.spectral import apply_matrix, melspectrogram, safe_sqrt, spectrogram

_FLOOR = 1e-10  # of power; ratios of less are ratios of nothing, 0 dB
_SMOOTH_HZ = 80.0  # half width over which the harmonics of a voice are blurred into its envelope
_HNR_DB = 40.0  # more than the window lets see
_PERIODS = 0.12  # by which the lag of the autocorrelation's peak may differ from the period


def loudness(
    *,
    y: jax.Array | np.ndarray | None = None,
    sr: float = 22050,
    S: jax.Array | np.ndarray | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    n_bands: int = 26,
    **stft_options: Any,
) -> jax.Array:
    """Perceived loudness: the sum of an auditory spectrum whose bands are weighted and compressed as by the ear.

    Hermansky, "Perceptual linear predictive (PLP) analysis of speech", JASA 87(4), 1990, equations 3 to 5.

    Args:
      y: float32 [..., samples].
      sr: sampling rate, Hz.
      S: magnitude [..., 1 + n_fft // 2, frames], used instead of `y`.
      n_fft: length of a frame, samples.
      hop_length: samples between frames.
      n_bands: mel bands from 20 Hz to 8 kHz or Nyquist.
      **stft_options: `win_length`, `window`, `center` and `pad_mode` of `stft`.

    Returns:
      float32 [..., frames], >= 0, of no unit; 0 in silence.

    Raises:
      InputError: neither `y` nor `S` is given.
    """
    S, n_fft = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, **stft_options)
    fmax = min(8000.0, sr / 2)
    power = (S * (4.0 / n_fft)) ** 2  # a sine of full scale has power one
    bands = melspectrogram(S=power, sr=sr, n_fft=n_fft, n_mels=n_bands, fmin=20.0, fmax=fmax, htk=True, norm=None)
    floor = 1e-12
    audible = jnp.maximum(bands * _equal_loudness(n_bands, fmax)[:, None], floor)
    return (safe_sqrt(audible, 0.33) - floor**0.33).sum(-2)


def alpha_ratio(*, S: jax.Array | np.ndarray, sr: float = 22050) -> jax.Array:
    """Energy of 50-1000 Hz over that of 1-5 kHz.

    Args:
      S: magnitude [..., bins, frames].
      sr: sampling rate, Hz; at least 4 kHz.

    Returns:
      float32 [..., frames], dB; 0 in silence.
    """
    power = jnp.asarray(S) ** 2
    freq = _frequencies(sr, power.shape[-2])
    sums = apply_matrix(np.stack([(freq >= 50) & (freq < 1000), (freq >= 1000) & (freq <= 5000)]).astype(np.float32), power)
    return _decibels(sums[..., 0, :]) - _decibels(sums[..., 1, :])


def hammarberg_index(*, S: jax.Array | np.ndarray, sr: float = 22050) -> jax.Array:
    """Strongest peak of 0-2 kHz over that of 2-5 kHz.

    Hammarberg et al., "Perceptual and acoustic correlates of abnormal voice qualities", Acta Oto-Laryngologica 90, 1980.

    Args:
      S: magnitude [..., bins, frames].
      sr: sampling rate, Hz; more than 4 kHz.

    Returns:
      float32 [..., frames], dB; 0 in silence.
    """
    S = jnp.asarray(S)
    freq = _frequencies(sr, S.shape[-2])
    low, high = freq < 2000, (freq >= 2000) & (freq <= 5000)
    return _decibels(S[..., low, :].max(-2) ** 2) - _decibels(S[..., high, :].max(-2) ** 2)


def spectral_slope(*, S: jax.Array | np.ndarray, sr: float = 22050, fmin: float = 0.0, fmax: float = 500.0) -> jax.Array:
    """Slope of a straight line through the spectrum in decibels, its harmonics blurred.

    Args:
      S: magnitude [..., bins, frames].
      sr: sampling rate, Hz.
      fmin: lower end of the line, Hz.
      fmax: upper end, Hz.

    Returns:
      float32 [..., frames], dB per kHz; 0 in silence.

    Raises:
      InputError: fewer than two bins lie between `fmin` and `fmax`.
    """
    S = jnp.asarray(S)
    blur, line = _slope_filters(sr, S.shape[-2], fmin, fmax)
    power = apply_matrix(blur, S[..., : blur.shape[1], :] ** 2)
    return apply_matrix(line[None], _decibels(power))[..., 0, :]


def spectral_flux(*, S: jax.Array | np.ndarray, sr: float = 22050) -> jax.Array:
    """Change of the magnitude spectrum up to 5 kHz since the frame before: root mean square over bins.

    Args:
      S: magnitude [..., bins, frames].
      sr: sampling rate, Hz.

    Returns:
      float32 [..., frames], where a sine of full scale is 1; the first frame has 0.
    """
    S = jnp.asarray(S)
    n_fft = 2 * (S.shape[-2] - 1)
    used = S[..., _frequencies(sr, S.shape[-2]) <= 5000, :] * (4.0 / n_fft)
    change = jnp.diff(used, axis=-1, prepend=used[..., :1])
    return safe_sqrt((change**2).mean(-2))


def harmonics_to_noise(
    *, S: jax.Array | np.ndarray, f0_hz: jax.Array | np.ndarray, sr: float = 22050, fmin: float = 65.0, fmax: float = 600.0
) -> jax.Array:
    """Harmonics-to-noise ratio from the height of the autocorrelation's peak at the period.

    10 log10(r / (1 - r)), r the autocorrelation over that of the window, as Boersma, "Accurate short-term analysis of the
    fundamental frequency and the harmonics-to-noise ratio of a sampled sound", IFA 17, 1993.

    Args:
      S: magnitude [..., bins, frames] under a Hann window as long as the Fourier transform.
      f0_hz: [..., frames], from `pitch`.
      sr: sampling rate, Hz.
      fmin: lowest fundamental frequency, Hz.
      fmax: highest fundamental frequency, Hz.

    Returns:
      float32 [..., frames], dB in -40..40; meaningful where a frame is voiced.
    """
    power = jnp.swapaxes(jnp.asarray(S), -1, -2) ** 2  # [..., frames, bins]
    lag_s, cosines = _power_cosines(sr, power.shape[-1], fmin, fmax)
    total = power[..., 1:].sum(-1) * 2
    correlation = jnp.matmul(power, cosines, precision="highest") / jnp.where(total > _FLOOR, total, 1.0)[..., None]
    near = jnp.abs(lag_s * jnp.asarray(f0_hz)[..., None] - 1.0) < _PERIODS
    r = jnp.where(near, correlation, -1.0).max(-1)
    limit = 10 ** (-_HNR_DB / 10)
    r = jnp.clip(r, limit, 1 - limit)
    return 10.0 * (jnp.log10(r) - jnp.log10(1 - r))


def harmonic_levels(
    *, S: jax.Array | np.ndarray, f0_hz: jax.Array | np.ndarray, formant_hz: jax.Array | np.ndarray, sr: float = 22050
) -> jax.Array:
    """Levels of the second harmonic and of the strongest harmonic near each formant, relative to the first harmonic.

    Minus the first row is H1-H2, minus the fourth H1-A3: Hanson, "Glottal characteristics of female speakers", JASA 101(1), 1997.

    Args:
      S: magnitude [..., bins, frames].
      f0_hz: [..., frames], from `pitch`.
      formant_hz: [..., formants, frames], from `formants`.
      sr: sampling rate, Hz.

    Returns:
      float32 [..., 1 + formants, frames], dB; meaningful where a frame is voiced.
    """
    S = jnp.asarray(S)
    f0_hz = jnp.asarray(f0_hz)[..., None, :]
    freq = _frequencies(sr, S.shape[-2])[:, None]  # [bins, 1]

    def level(centre: jax.Array, half_width: jax.Array) -> jax.Array:
        """dB of the strongest bin [..., frames] around a frequency [..., 1, frames]."""
        return _decibels(jnp.where(jnp.abs(freq - centre) <= half_width, S, 0.0).max(-2) ** 2)

    step = float(freq[1, 0])
    first = level(f0_hz, jnp.maximum(0.25 * f0_hz, step))
    rows = [level(2 * f0_hz, jnp.maximum(0.25 * f0_hz, step))]
    for i in range(formant_hz.shape[-2]):
        centre = jnp.asarray(formant_hz)[..., i : i + 1, :]
        rows.append(level(centre, jnp.maximum(0.2 * centre, step)))
    return jnp.stack(rows, -2) - first[..., None, :]


def _decibels(power: jax.Array) -> jax.Array:
    return 10.0 * jnp.log10(jnp.maximum(power, _FLOOR))


def _frequencies(sr: float, bins: int) -> np.ndarray:
    return np.linspace(0.0, sr / 2, bins)


@lru_cache(maxsize=32)
def _equal_loudness(n_bands: int, fmax: float) -> np.ndarray:
    """Weight [bands] of power at each band's centre: how much the ear makes of it at 40 dB."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (20.0, fmax))
    centre = 700 * (10 ** (np.linspace(low, high, n_bands + 2)[1:-1] / 2595) - 1)
    w2 = (2 * np.pi * centre) ** 2
    return ((w2 + 56.8e6) * w2**2 / ((w2 + 6.3e6) ** 2 * (w2 + 0.38e9))).astype(np.float32)


@lru_cache(maxsize=32)
def _slope_filters(sr: float, bins: int, fmin: float, fmax: float) -> tuple[np.ndarray, np.ndarray]:
    """A triangular blur [points, bins] and the weights [points] of a least-squares line through its points, per kHz."""
    freq = _frequencies(sr, bins)
    point = freq[(freq >= fmin) & (freq <= fmax)]
    if len(point) < 2:
        raise InputError(f"spectral slope of {fmin:g}-{fmax:g} Hz: {bins} bins up to {sr / 2:g} Hz leave fewer than two there")
    blur = np.maximum(1 - np.abs(point[:, None] - freq) / max(_SMOOTH_HZ, 1.5 * freq[1]), 0)
    blur = blur[:, : np.flatnonzero(blur.any(0))[-1] + 1] / blur.sum(1, keepdims=True)
    deviation = (point - point.mean()) / 1000
    return blur.astype(np.float32), (deviation / (deviation**2).sum()).astype(np.float32)


@lru_cache(maxsize=32)
def _power_cosines(sr: float, bins: int, fmin: float, fmax: float) -> tuple[np.ndarray, np.ndarray]:
    """Lags [lags] in s and [bins, lags]: from power to autocorrelation, the window's own divided out (Boersma 1993, eq. 9)."""
    n_fft = 2 * (bins - 1)
    step_s = 1.0 / max(sr, 16000)
    lag_s = np.arange(np.floor((1 - _PERIODS) / fmax / step_s), np.ceil((1 + _PERIODS) / fmin / step_s) + 1) * step_s
    part = np.minimum(lag_s * sr / n_fft, 0.9)
    window = (1 - part) * (2 + np.cos(2 * np.pi * part)) / 3 + np.sin(2 * np.pi * part) / (2 * np.pi)
    cosines = 2 * np.cos(2 * np.pi * _frequencies(sr, bins)[:, None] * lag_s) / window
    cosines[0] = 0  # a constant offset is no harmonic
    return lag_s.astype(np.float32), cosines.astype(np.float32)
