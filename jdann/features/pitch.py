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
# The weight of a bin falls like a cosine, from one at 0 Hz to zero at the upper end.
_PASS_BAND_HZ = (50.0, 3000.0)
_OCTAVE_COST = 0.02  # a period twice as long must be stronger by this
# Strength of the period at which voicing is one; frames with half of it or more are voiced.
_FULL_VOICING = 0.56
_SILENCE = 0.05  # frames weaker than this fraction of the strongest frame fade to unvoiced


class Pitch(NamedTuple):
    """A pitch track."""

    f0_hz: jax.Array  # [..., frames]; only the best candidate where voicing is low
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

    The autocorrelation is the cosine transform of the low-passed *magnitude* spectrum. This is the
    generalised autocorrelation of Tolonen and Karjalainen 2000, "A computationally efficient
    multipitch analysis model", IEEE TSAP 8(6). Formants weigh less than in the power spectrum, and
    octave errors are rarer. The highest maximum after an octave cost (Boersma 1993, "Accurate
    short-term analysis of the fundamental frequency", IFA 17) is refined by a parabola.

    Args:
      y: float32 [..., samples].
      sr: sampling rate, Hz.
      S: magnitude [..., 1 + n_fft // 2, frames] under a Hann window of n_fft samples, used instead
        of `y`.
      n_fft: length of a frame, samples; at least two periods of `fmin`. 50-100 ms suit speech.
      hop_length: samples between frames.
      fmin: lowest fundamental frequency, Hz.
      fmax: highest fundamental frequency, Hz.
      **stft_options: `win_length`, `window`, `center` and `pad_mode` of `stft`.

    Returns:
      Pitch with f0_hz and voicing, float32 [..., frames]. The result of a frame depends on its own
      samples alone, except that voicing fades if the frame is 26 dB or more weaker than the
      strongest frame of the clip.

    Raises:
      InputError: a frame is too short for `fmin`, the range does not ascend or does not end below
        Nyquist, or there is no input.
    """
    S, n_fft = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, **stft_options)
    lag_s, cosines, weights = _lag_cosines(sr, n_fft, fmin, fmax)
    low_pass = jnp.swapaxes(S, -1, -2)[..., : len(weights)]  # [..., frames, bins]
    # The autocorrelation at lag zero [..., frames], and at each lag relative to it.
    level = jnp.matmul(low_pass, weights, precision="highest")
    safe_level = jnp.where(level > 1e-20, level, 1.0)[..., None]
    products = jnp.matmul(low_pass, cosines, precision="highest")  # [..., frames, lags]
    strength = products / safe_level

    before, centre, after = strength[..., :-2], strength[..., 1:-1], strength[..., 2:]
    is_maximum = (centre >= before) & (centre > after)
    cost = _OCTAVE_COST * np.log2(lag_s[1:-1] * fmax).astype(np.float32)
    cost = jax.lax.broadcast_to_rank(cost, centre.ndim)
    score = jnp.where(is_maximum, centre - cost, -jnp.inf)
    # The first lag with the best score. Floats, because XLA's argmax and its minimum of integers
    # are slow on CPUs.
    lag = np.arange(score.shape[-1], dtype=np.float32)
    best = jnp.where(score == score.max(-1, keepdims=True), lag, lag[-1])
    best = best.min(-1, keepdims=True).astype(jnp.int32)  # [..., frames, 1]
    before, centre, after, is_maximum = (
        jnp.take_along_axis(a, best, -1)[..., 0] for a in (before, centre, after, is_maximum)
    )
    curvature = jnp.where(is_maximum, before - 2 * centre + after, -1.0)
    # The parabola's maximum, at most half a lag step away.
    shift = jnp.where(is_maximum, 0.5 * (before - after) / curvature, 0.0)
    period_s = jnp.asarray(lag_s[1:-1], jnp.float32)[best[..., 0]] + shift * _LAG_STEP_S
    height = jnp.where(is_maximum, centre - 0.25 * (before - after) * shift, 0.0)

    loudest = level.max(-1, keepdims=True)
    loud = jnp.clip(level / jnp.where(loudest > 1e-20, _SILENCE * loudest, 1.0), 0.0, 1.0)
    return Pitch(1.0 / period_s, jnp.clip(height / _FULL_VOICING, 0.0, 1.0) * loud)


@lru_cache(maxsize=32)
def _lag_cosines(
    sr: float, n_fft: int, fmin: float, fmax: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lags [lags] in seconds, cosines [bins, lags] and the weight of each bin [bins]."""
    if not 0 < fmin < fmax <= sr / 2:
        raise InputError(
            f"pitch range {fmin:g}-{fmax:g} Hz: expected to ascend and end below Nyquist, "
            f"{sr / 2:g} Hz"
        )
    if n_fft * fmin < 2 * sr:
        raise InputError(
            f"n_fft={n_fft} at {sr:g} Hz is less than two periods of {fmin:g} Hz, the lowest "
            f"pitch: expected at least {int(np.ceil(2 * sr / fmin))}, raise n_fft or fmin"
        )
    # One more lag at each end, so that a maximum at the end of the range has two neighbours.
    first, end = np.floor(1 / fmax / _LAG_STEP_S) - 1, np.ceil(1 / fmin / _LAG_STEP_S) + 2
    lag_s = np.arange(first, end) * _LAG_STEP_S
    low_hz, high_hz = _PASS_BAND_HZ
    freq = np.fft.rfftfreq(n_fft, 1.0 / sr)
    freq = freq[freq < high_hz]
    weights = np.where(freq >= low_hz, 0.5 + 0.5 * np.cos(np.pi * freq / high_hz), 0.0)
    cosines = weights[:, None] * np.cos(2 * np.pi * freq[:, None] * lag_s)  # [bins, lags]
    return lag_s, cosines.astype(np.float32), weights.astype(np.float32)
