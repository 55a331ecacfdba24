"""Filters for channels: a band-pass, and convolution that keeps length and time.

`jdann.features.channels` states the contract that `band_limit` follows.
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np

_TRANSITION_HZ = 200.0  # width of the slope of a filter, from pass to stop
_HAMMING_WIDTH = 3.3  # the slope of a Hamming window has this width, in sampling rates per tap


@partial(jax.jit, static_argnames=("sample_rate_hz", "low_hz", "high_hz"))
def band_limit(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    low_hz: float = 300.0,
    high_hz: float = 3400.0,
) -> jax.Array:
    """Keeps a band of frequencies: a windowed sinc with linear phase and slopes of 200 Hz.

    Args:
      key: not used.
      samples: float32 [batch, samples].
      length: int32 [batch], samples.
      sample_rate_hz: sampling rate, Hz.
      low_hz: lower edge, where the level is 6 dB lower, Hz; 0: none.
      high_hz: upper edge, Hz; none if it is at least half the sampling rate.

    Returns:
      float32 [batch, samples].
    """
    del key
    taps = band_pass_taps(sample_rate_hz, low_hz, high_hz)
    return mask_padding(filter_centred(mask_padding(samples, length), taps), length)


def band_pass_taps(sample_rate_hz: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Computes the taps of a band-pass: the difference of two sincs in a Hamming window.

    Its stop band is 50 dB down. It equals `scipy.signal.firwin` with `scale=False`.

    Args:
      sample_rate_hz: sampling rate, Hz.
      low_hz: lower edge, Hz; 0: none.
      high_hz: upper edge, Hz; none if it is at least half the sampling rate.

    Returns:
      float64 [taps], an odd number of taps.
    """
    half = int(np.ceil(_HAMMING_WIDTH * sample_rate_hz / _TRANSITION_HZ / 2))
    time = np.arange(-half, half + 1)

    def low_pass(edge_hz: float) -> np.ndarray:
        if edge_hz >= sample_rate_hz / 2:
            return (time == 0).astype(float)
        cut = 2 * edge_hz / sample_rate_hz
        return cut * np.sinc(cut * time)

    return (low_pass(high_hz) - low_pass(low_hz)) * np.hamming(2 * half + 1)


def mask_padding(samples: jax.Array, length: jax.Array) -> jax.Array:
    """Sets what lies after the end of each utterance to zero.

    Args:
      samples: float32 [batch, samples].
      length: int32 [batch], samples.
    """
    chex.assert_rank([samples, length], [2, 1])
    return jnp.where(jnp.arange(samples.shape[1])[None] < length[:, None], samples, 0.0)


def filter_centred(samples: jax.Array, taps: np.ndarray) -> jax.Array:
    """Filters without a shift in time.

    Args:
      samples: float32 [batch, samples].
      taps: [taps], symmetric, an odd number of taps.

    Returns:
      float32 [batch, samples].
    """
    half = len(taps) // 2
    padded = jnp.pad(samples, ((0, 0), (0, half)))
    return convolve(padded, jnp.asarray(taps, jnp.float32)[None])[:, half:]


def convolve(samples: jax.Array, response: jax.Array) -> jax.Array:
    """Convolves each row with an impulse response, and cuts the result to the samples.

    Args:
      samples: float32 [batch, samples].
      response: float32 [batch or 1, taps].

    Returns:
      float32 [batch, samples].
    """
    size = _transform_size(samples.shape[1] + response.shape[1] - 1)
    product = jnp.fft.rfft(samples, size) * jnp.fft.rfft(response, size)
    return jnp.fft.irfft(product, size)[:, : samples.shape[1]]


def _transform_size(size: int) -> int:
    """The smallest size of at least `size` for which the Fourier transform is fast."""
    import scipy.fft  # not at the top: SciPy is loaded only when a program is traced

    fast = scipy.fft.next_fast_len(size, real=True)
    assert fast is not None  # the type that SciPy declares includes None
    return int(fast)
