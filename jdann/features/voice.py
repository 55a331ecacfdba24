"""Loudness, spectral balance and voice quality of each frame.

These are descriptors of Eyben et al. 2016, "The Geneva minimalistic acoustic parameter set (GeMAPS)
for voice research and affective computing", IEEE TAC 7(2). Magnitudes S are float32
`[..., bins, frames]` under a Hann window, results `[..., frames]`. All gradients are finite.
"""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdann.errors import InputError
from jdann.features.spectral import apply_matrix, melspectrogram, safe_sqrt, spectrogram

_FLOOR = 1e-10  # smaller powers are raised to this, so that the ratios in silence are 0 dB
_SMOOTH_HZ = 80.0  # half the width of the blur that turns harmonics into an envelope
_HNR_DB = 40.0  # limit; the window does not resolve larger ratios
_PERIODS = 0.12  # the lag of the autocorrelation's peak may differ from the period by this fraction


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
    """Perceived loudness: the sum of an auditory spectrum.

    Its bands are weighted and compressed as in the ear: Hermansky 1990, "Perceptual linear
    predictive (PLP) analysis of speech", JASA 87(4), equations 3 to 5.

    Args:
      y: float32 [..., samples].
      sr: sampling rate, Hz.
      S: magnitude [..., 1 + n_fft // 2, frames], used instead of `y`.
      n_fft: length of a frame, samples.
      hop_length: samples between frames.
      n_bands: mel bands from 20 Hz to 8 kHz or Nyquist.
      **stft_options: `win_length`, `window`, `center` and `pad_mode` of `stft`.

    Returns:
      float32 [..., frames], >= 0, without a unit; 0 in silence.

    Raises:
      InputError: neither `y` nor `S` is given.
    """
    S, n_fft = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, **stft_options)
    fmax = min(8000.0, sr / 2)
    power = _power(S, 4.0 / n_fft)  # a sine of full scale has power one
    bands = melspectrogram(
        S=power, sr=sr, n_fft=n_fft, n_mels=n_bands, fmin=20.0, fmax=fmax, htk=True, norm=None
    )
    floor = 1e-12
    weights = jax.lax.broadcast_to_rank(_equal_loudness(n_bands, fmax)[:, None], bands.ndim)
    audible = jnp.maximum(bands * weights, floor)
    return (safe_sqrt(audible, 0.33) - floor**0.33).sum(-2)


def alpha_ratio(*, S: jax.Array | np.ndarray, sr: float = 22050) -> jax.Array:
    """Energy of 50-1000 Hz over that of 1-5 kHz.

    Args:
      S: magnitude [..., bins, frames].
      sr: sampling rate, Hz; at least 4 kHz.

    Returns:
      float32 [..., frames], dB; 0 in silence.
    """
    power = _power(S)
    freq = _frequencies(sr, power.shape[-2])
    bands = np.stack([(freq >= 50) & (freq < 1000), (freq >= 1000) & (freq <= 5000)])
    sums = apply_matrix(bands.astype(np.float32), power)  # [..., 2, frames]
    return _decibels(sums[..., 0, :]) - _decibels(sums[..., 1, :])


def hammarberg_index(*, S: jax.Array | np.ndarray, sr: float = 22050) -> jax.Array:
    """Strongest peak of 0-2 kHz over that of 2-5 kHz.

    Hammarberg et al. 1980, "Perceptual and acoustic correlates of abnormal voice qualities", Acta
    Oto-Laryngologica 90.

    Args:
      S: magnitude [..., bins, frames].
      sr: sampling rate, Hz; more than 4 kHz.

    Returns:
      float32 [..., frames], dB; 0 in silence.
    """
    by_frame = _by_frame(S)
    freq = _frequencies(sr, by_frame.shape[-1])
    middle, end = np.searchsorted(freq, (2000, np.nextafter(5000, 5001)))
    low, high = by_frame[..., :middle].max(-1), by_frame[..., middle:end].max(-1)
    return _decibels(low**2) - _decibels(high**2)


def spectral_slope(
    *, S: jax.Array | np.ndarray, sr: float = 22050, fmin: float = 0.0, fmax: float = 500.0
) -> jax.Array:
    """Slope of a straight line through the blurred spectrum in decibels.

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
    power = apply_matrix(blur, _power(S[..., : blur.shape[1], :]))
    return apply_matrix(line[None], _decibels(power))[..., 0, :]


def spectral_flux(*, S: jax.Array | np.ndarray, sr: float = 22050) -> jax.Array:
    """Change of the magnitude spectrum up to 5 kHz since the previous frame.

    It is the root mean square over bins.

    Args:
      S: magnitude [..., bins, frames].
      sr: sampling rate, Hz.

    Returns:
      float32 [..., frames], where a sine of full scale has magnitude 1; the first frame is 0.
    """
    by_frame = _by_frame(S)
    n_fft = 2 * (by_frame.shape[-1] - 1)
    n_bins = np.count_nonzero(_frequencies(sr, by_frame.shape[-1]) <= 5000)
    used = by_frame[..., :n_bins] * (4.0 / n_fft)
    change = jnp.diff(used, axis=-2, prepend=used[..., :1, :])
    return safe_sqrt((change**2).mean(-1))


def harmonics_to_noise(
    *,
    S: jax.Array | np.ndarray,
    f0_hz: jax.Array | np.ndarray,
    sr: float = 22050,
    fmin: float = 65.0,
    fmax: float = 600.0,
) -> jax.Array:
    """Harmonics-to-noise ratio from the height of the autocorrelation's peak at the period.

    It is 10 log10(r / (1 - r)), where r is the autocorrelation divided by that of the window:
    Boersma 1993, "Accurate short-term analysis of the fundamental frequency and the
    harmonics-to-noise ratio of a sampled sound", IFA 17.

    Args:
      S: magnitude [..., bins, frames] under a Hann window as long as the Fourier transform.
      f0_hz: [..., frames], from `pitch`.
      sr: sampling rate, Hz.
      fmin: lowest fundamental frequency, Hz.
      fmax: highest fundamental frequency, Hz.

    Returns:
      float32 [..., frames], dB in -40..40; meaningful where a frame is voiced.
    """
    power = _by_frame(S) ** 2  # [..., frames, bins]
    n_fft = 2 * (power.shape[-1] - 1)
    finer = int(np.ceil(16000 / sr))  # lags of at most 1/16000 s
    first, lag_s, window = _lag_window(sr, n_fft, finer, fmin, fmax)
    total = power[..., 1:].sum(-1) * 2
    # A constant offset is not a harmonic, so the first bin has no weight.
    weights = np.concatenate([[0], np.ones(power.shape[-1] - 2), [2]]).astype(np.float32)
    weights, lag_s, window = (
        jax.lax.broadcast_to_rank(values, power.ndim) for values in (weights, lag_s, window)
    )
    size = n_fft * finer
    products = jnp.fft.irfft(power * weights, size)[..., first : first + lag_s.size] * size
    correlation = products / window / jnp.where(total > _FLOOR, total, 1.0)[..., None]
    near = jnp.abs(lag_s * jnp.asarray(f0_hz)[..., None] - 1.0) < _PERIODS
    r = jnp.where(near, correlation, -1.0).max(-1)
    limit = 10 ** (-_HNR_DB / 10)
    r = jnp.clip(r, limit, 1 - limit)
    return 10.0 * (jnp.log10(r) - jnp.log10(1 - r))


def harmonic_levels(
    *,
    S: jax.Array | np.ndarray,
    f0_hz: jax.Array | np.ndarray,
    formant_hz: jax.Array | np.ndarray,
    sr: float = 22050,
) -> jax.Array:
    """Levels of the second harmonic and of the strongest harmonic near each formant.

    Levels are relative to the first harmonic. The first row is -(H1-H2), the fourth -(H1-A3) of
    Hanson 1997, "Glottal characteristics of female speakers", JASA 101(1).

    Args:
      S: magnitude [..., bins, frames].
      f0_hz: [..., frames], from `pitch`.
      formant_hz: [..., formants, frames], from `formants`.
      sr: sampling rate, Hz.

    Returns:
      float32 [..., 1 + formants, frames], dB; meaningful where a frame is voiced.
    """
    by_frame, f0_hz = _by_frame(S), jnp.asarray(f0_hz)[..., None]
    freq = _frequencies(sr, by_frame.shape[-1]).astype(np.float32)
    resonance = jnp.swapaxes(jnp.asarray(formant_hz), -1, -2)  # [..., frames, formants]
    centre = jnp.concatenate([f0_hz, 2 * f0_hz, resonance], -1)  # [..., frames, levels]
    half_width = jnp.concatenate([0.25 * f0_hz, 0.25 * f0_hz, 0.2 * resonance], -1)
    half_width = jnp.maximum(half_width, freq[1])  # at least one bin
    freq = jax.lax.broadcast_to_rank(freq, centre.ndim + 1)
    near = jnp.abs(freq - centre[..., None]) <= half_width[..., None]  # [..., frames, levels, bins]
    strongest = jnp.where(near, by_frame[..., None, :], 0.0).max(-1)  # [..., frames, levels]
    level = jnp.swapaxes(_decibels(strongest**2), -1, -2)
    return level[..., 1:, :] - level[..., :1, :]


def _by_frame(S: jax.Array | np.ndarray) -> jax.Array:
    """[..., frames, bins], the order in memory: maxima over bins are then fast."""
    return jnp.swapaxes(jnp.asarray(S), -1, -2)


def _power(S: jax.Array | np.ndarray, scale: float = 1.0) -> jax.Array:
    """The square of S [..., bins, frames]."""
    return jnp.swapaxes((scale * _by_frame(S)) ** 2, -1, -2)


def _decibels(power: jax.Array) -> jax.Array:
    return 10.0 * jnp.log10(jnp.maximum(power, _FLOOR))


def _frequencies(sr: float, bins: int) -> np.ndarray:
    return np.linspace(0.0, sr / 2, bins)


@lru_cache(maxsize=32)
def _equal_loudness(n_bands: int, fmax: float) -> np.ndarray:
    """Weight [bands] of the power at each band's centre: the ear's sensitivity at 40 dB."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (20.0, fmax))
    centre = 700 * (10 ** (np.linspace(low, high, n_bands + 2)[1:-1] / 2595) - 1)
    w2 = (2 * np.pi * centre) ** 2
    return ((w2 + 56.8e6) * w2**2 / ((w2 + 6.3e6) ** 2 * (w2 + 0.38e9))).astype(np.float32)


@lru_cache(maxsize=32)
def _slope_filters(sr: float, bins: int, fmin: float, fmax: float) -> tuple[np.ndarray, np.ndarray]:
    """Filters of `spectral_slope`.

    Returns a triangular blur [points, bins], and weights [points] that give the slope per kHz of
    the least-squares line through the points.
    """
    freq = _frequencies(sr, bins)
    point = freq[(freq >= fmin) & (freq <= fmax)]
    if len(point) < 2:
        raise InputError(
            f"spectral slope of {fmin:g}-{fmax:g} Hz: {bins} bins up to {sr / 2:g} Hz leave "
            "fewer than two there; raise n_fft"
        )
    blur = np.maximum(1 - np.abs(point[:, None] - freq) / max(_SMOOTH_HZ, 1.5 * freq[1]), 0)
    blur = blur[:, : np.flatnonzero(blur.any(0))[-1] + 1] / blur.sum(1, keepdims=True)
    deviation = (point - point.mean()) / 1000
    return blur.astype(np.float32), (deviation / (deviation**2).sum()).astype(np.float32)


@lru_cache(maxsize=32)
def _lag_window(
    sr: float, n_fft: int, finer: int, fmin: float, fmax: float
) -> tuple[int, np.ndarray, np.ndarray]:
    """First lag, all lags [lags] in seconds, and the window's autocorrelation there.

    The autocorrelation of a Hann window is equation 9 of Boersma 1993.
    """
    step_s = 1.0 / (finer * sr)
    lowest, highest = (1 - _PERIODS) / fmax / step_s, (1 + _PERIODS) / fmin / step_s
    lag = np.arange(np.floor(lowest), np.ceil(highest) + 1)
    part = np.minimum(lag / (finer * n_fft), 0.9)
    sine = np.sin(2 * np.pi * part) / (2 * np.pi)
    window = (1 - part) * (2 + np.cos(2 * np.pi * part)) / 3 + sine
    return int(lag[0]), (lag * step_s).astype(np.float32), window.astype(np.float32)
