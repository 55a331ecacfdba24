"""Pitch: fundamental frequency and voicing of each frame."""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann.errors import InputError
from jdann.features.spectral import spectrogram

# Chosen on real English and Mandarin emotional speech against pYIN and Praat.
_LAG_STEP_S = 1.0 / 16000.0
_PASS_BAND_HZ = (
    50.0,
    3000.0,
)  # the weight of a bin falls like a cosine from one at 0 Hz to zero at the upper end
_OCTAVE_COST = 0.02  # by which a period twice as long must be stronger
_FULL_VOICING = (
    0.56  # strength of the period at which voicing is one; half of it divides voiced from unvoiced
)
_SILENCE = 0.05  # frames weaker than this part of the clip's strongest frame fade to unvoiced


class Pitch(NamedTuple):
    """A pitch track."""

    f0_hz: jax.Array  # [..., frames]; where voicing is low, merely the best candidate
    voicing: jax.Array  # [..., frames] in [0, 1]; above 0.5 a frame counts as voiced


def pitch(
    *,
    y: jax.Array | np.ndarray | None = None,
    sr: float = 22050,
    S: jax.Array | np.ndarray | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    fmin: float = 65.0,
    fmax: float = 600.0,
    **stft_options: Any,
) -> Pitch:
    """Fundamental frequency and voicing by autocorrelation, frame by frame.

    The autocorrelation is the cosine transform of the low-passed *magnitude* spectrum, the generalised autocorrelation
    of Tolonen and Karjalainen, "A computationally efficient multipitch analysis model", IEEE TSAP 8(6), 2000: formants
    weigh less than in that of the power spectrum, and octave errors are rarer. Its highest maximum, less an octave cost
    (Boersma, "Accurate short-term analysis of the fundamental frequency", IFA 17, 1993), is refined by a parabola.

    Args:
      y: float32 [..., samples].
      sr: sampling rate, Hz.
      S: magnitude [..., 1 + n_fft // 2, frames] under a Hann window of n_fft samples, used instead of `y`.
      n_fft: length of a frame, samples; at least two periods of `fmin`, 50-100 ms are right for speech.
      hop_length: samples between frames.
      fmin: lowest fundamental frequency, Hz.
      fmax: highest fundamental frequency, Hz.
      **stft_options: `win_length`, `window`, `center` and `pad_mode` of `stft`.

    Returns:
      Pitch with f0_hz and voicing, float32 [..., frames]. A frame's result depends on its own samples alone, except
      that voicing fades where it is 26 dB or more weaker than the clip's strongest frame.

    Raises:
      InputError: a frame is too short for `fmin`, the range is not ascending and below Nyquist, or there is no input.
    """
    S, n_fft = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, **stft_options)
    lag_s, cosines, weights = _lag_cosines(sr, n_fft, fmin, fmax)
    low_pass = jnp.swapaxes(S, -1, -2)[..., : len(weights)]  # [..., frames, bins]
    level = jnp.matmul(
        low_pass, weights, precision="highest"
    )  # [..., frames], the autocorrelation at lag zero
    safe_level = jnp.where(level > 1e-20, level, 1.0)
    strength = (
        jnp.matmul(low_pass, cosines, precision="highest") / safe_level[..., None]
    )  # [..., frames, lags]

    before, here, after = strength[..., :-2], strength[..., 1:-1], strength[..., 2:]
    is_maximum = (here >= before) & (here > after)
    score = jnp.where(
        is_maximum, here - _OCTAVE_COST * np.log2(lag_s[1:-1] * fmax).astype(np.float32), -jnp.inf
    )
    lag = np.arange(
        score.shape[-1], dtype=np.float32
    )  # XLA's argmax, and its minimum of integers, are slow on CPUs
    best = (
        jnp.where(score == score.max(-1, keepdims=True), lag, lag[-1])
        .min(-1, keepdims=True)
        .astype(jnp.int32)
    )
    before, here, after, found = (
        jnp.take_along_axis(a, best, -1)[..., 0] for a in (before, here, after, is_maximum)
    )
    curvature = jnp.where(found, before - 2 * here + after, -1.0)
    shift = jnp.where(
        found, 0.5 * (before - after) / curvature, 0.0
    )  # in lag steps, within half of one
    period_s = jnp.asarray(lag_s[1:-1], jnp.float32)[best[..., 0]] + shift * _LAG_STEP_S
    height = jnp.where(found, here - 0.25 * (before - after) * shift, 0.0)

    loudest = level.max(-1, keepdims=True)
    loud = jnp.clip(level / jnp.where(loudest > 1e-20, _SILENCE * loudest, 1.0), 0.0, 1.0)
    return Pitch(1.0 / period_s, jnp.clip(height / _FULL_VOICING, 0.0, 1.0) * loud)


@lru_cache(maxsize=32)
def _lag_cosines(
    sr: float, n_fft: int, fmin: float, fmax: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not 0 < fmin < fmax <= sr / 2:
        raise InputError(
            f"pitch range {fmin:g}-{fmax:g} Hz: expected to ascend and end below Nyquist, {sr / 2:g} Hz"
        )
    if n_fft * fmin < 2 * sr:
        raise InputError(
            f"n_fft={n_fft} at {sr:g} Hz is less than two periods of {fmin:g} Hz, the lowest pitch: "
            f"expected at least {int(np.ceil(2 * sr / fmin))}, raise n_fft or fmin"
        )
    # One lag more at either end, so that a maximum at the end of the range has two neighbours.
    lag_s = (
        np.arange(np.floor(1 / fmax / _LAG_STEP_S) - 1, np.ceil(1 / fmin / _LAG_STEP_S) + 2)
        * _LAG_STEP_S
    )
    low_hz, high_hz = _PASS_BAND_HZ
    freq = np.fft.rfftfreq(n_fft, 1.0 / sr)
    freq = freq[freq < high_hz]
    weights = np.where(freq >= low_hz, 0.5 + 0.5 * np.cos(np.pi * freq / high_hz), 0.0)
    cosines = weights[:, None] * np.cos(2 * np.pi * freq[:, None] * lag_s)  # [bins, lags]
    return lag_s, cosines.astype(np.float32), weights.astype(np.float32)
