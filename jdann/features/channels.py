"""Channels: what a telephone, a room, a codec or noise does to recorded speech.

All channels have the same contract: `channel(key, samples, length, *, sample_rate_hz, ...)`.

- `key` is a random key. A channel without randomness ignores it.
- `samples` is float32 [batch, samples], padded at the end. `length` is int32 [batch], in samples.
- The result has the shape of `samples`. It is zero after `length`, and it is not shifted in time.
- Padding never changes the result, except for rounding errors. A channel does not read what lies
  after `length`, and the random numbers of an utterance depend only on the key and on its row.

All channels are pure and jitted, and they keep the sampling rate. `gsm` and `mp3` approximate
codecs that do not run on the device: they have the band of the codec and an error of the same size,
but the error itself is modulated noise (ITU-T P.810).

This file holds the telephone, the codecs and clipping. `channel_noise.py` holds noise,
`channel_rooms.py` rooms, and `channel_filters.py` the filters that all of them use.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jdann.features.channel_filters import (
    band_limit,
    band_pass_taps,
    filter_centred,
    mask_padding,
)
from jdann.features.channel_noise import (
    babble,
    modulated_noise,
    pink_noise,
    shaped_noise,
    white_noise,
)
from jdann.features.channel_rooms import far_microphone, reverberation

__all__ = [
    "CHANNELS",
    "Channel",
    "babble",
    "band_limit",
    "band_pass_taps",
    "clipping",
    "far_microphone",
    "gsm",
    "modulated_noise",
    "mp3",
    "mu_law",
    "pink_noise",
    "reverberation",
    "shaped_noise",
    "telephone",
    "white_noise",
]

Channel = Callable[..., jax.Array]

_LOWEST_CODEC_RATE_HZ = 7200  # telephone speech needs a little more than twice 3400 Hz
_MU_LAW_BIAS, _MU_LAW_CLIP = 132.0, 32635.0  # ITU-T G.711, on the scale of 16 bits
_FULL_SCALE = 32768.0
_INTERPOLATION_HALF_WIDTH = 32  # samples of the codec on each side of a sample
# With these values, the median ratio of signal to error in frames of 20 ms is that of libsndfile's
# codecs on acted speech: 10 dB for GSM 6.10 and 18 dB for LAME. The band of GSM removes 3 dB of the
# noise.
_GSM_Q_DB, _MP3_Q_DB = 7.0, 18.0


@partial(jax.jit, static_argnames=("sample_rate_hz", "low_hz", "high_hz"))
def telephone(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    low_hz: float = 300.0,
    high_hz: float = 3400.0,
) -> jax.Array:
    """Sends speech through a telephone line: a band, and mu-law with 8 bits (ITU-T G.711).

    The codec keeps every n-th sample, with the largest n for which its rate is at least 7.2 kHz.
    Its rate is 8 kHz for 16 and 48 kHz, and 7350 Hz for 22050 Hz. A value on the border of two
    codes may take either, because rounding errors differ with the padded size.

    Args:
      key: not used.
      samples: float32 [batch, samples], full scale at 1.0.
      length: int32 [batch], samples.
      sample_rate_hz: sampling rate, at least 7200 Hz.
      low_hz: lower edge of the band, Hz.
      high_hz: upper edge of the band, Hz.

    Returns:
      float32 [batch, samples].
    """
    edges = {"sample_rate_hz": sample_rate_hz, "low_hz": low_hz, "high_hz": high_hz}
    step = max(1, sample_rate_hz // _LOWEST_CODEC_RATE_HZ)
    coded = mu_law(band_limit(key, samples, length, **edges)[:, ::step])
    return mask_padding(_interpolate(coded, samples.shape[1], step), length)


def mu_law(samples: jax.Array) -> jax.Array:
    """Codes samples with 8 bits by mu-law and decodes them (ITU-T G.711).

    A code is a sign, an exponent e and a mantissa i of four bits. On the scale of 16 bits, a
    magnitude plus 132 lies in the interval [2^e (1 + i / 16), 2^e (1 + (i + 1) / 16)). It is
    decoded as the middle of this interval minus 132.

    Args:
      samples: float32, full scale at 1.0; louder samples are clipped.

    Returns:
      float32 of the same shape.
    """
    integers = jnp.trunc(samples * _FULL_SCALE)
    magnitude = jnp.minimum(jnp.abs(integers), _MU_LAW_CLIP) + _MU_LAW_BIAS
    step = jnp.exp2(jnp.frexp(magnitude)[1].astype(jnp.float32) - 5.0)
    decoded = (jnp.floor(magnitude / step) + 0.5) * step - _MU_LAW_BIAS
    return jnp.sign(integers) * decoded / _FULL_SCALE


@partial(jax.jit, static_argnames=("sample_rate_hz",))
def gsm(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    q_db: jax.Array | float = _GSM_Q_DB,
) -> jax.Array:
    """Approximates a mobile telephone: the band of its codec, and modulated noise in this band.

    GSM full rate (ETSI EN 300 961) predicts the signal and codes the error of the prediction. Here
    the error of the codec is `modulated_noise` with the same ratio of signal to error.

    Args:
      key: random key.
      samples: float32 [batch, samples].
      length: int32 [batch], samples.
      sample_rate_hz: sampling rate, at least 7200 Hz.
      q_db: level of the signal over its modulated noise, dB.

    Returns:
      float32 [batch, samples].
    """
    edges = {"sample_rate_hz": sample_rate_hz, "low_hz": 80.0, "high_hz": 3800.0}
    narrow = band_limit(key, samples, length, **edges)
    noisy = modulated_noise(key, narrow, length, sample_rate_hz=sample_rate_hz, q_db=q_db)
    return band_limit(key, noisy, length, **edges)


@partial(jax.jit, static_argnames=("sample_rate_hz",))
def mp3(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    q_db: jax.Array | float = _MP3_Q_DB,
) -> jax.Array:
    """Approximates MP3 with 32 kbit/s: nothing above 7.2 kHz, and modulated noise.

    The real codec hides its error below the loud parts of the spectrum. Here the error is
    `modulated_noise` with the same ratio of signal to error.

    Args:
      key: random key.
      samples: float32 [batch, samples].
      length: int32 [batch], samples.
      sample_rate_hz: sampling rate, Hz.
      q_db: level of the signal over its modulated noise, dB.

    Returns:
      float32 [batch, samples].
    """
    edges = {"sample_rate_hz": sample_rate_hz, "low_hz": 0.0, "high_hz": 7200.0}
    noisy = modulated_noise(key, samples, length, sample_rate_hz=sample_rate_hz, q_db=q_db)
    return band_limit(key, noisy, length, **edges)


@partial(jax.jit, static_argnames=("sample_rate_hz",))
def clipping(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    level: jax.Array | float = 0.25,
) -> jax.Array:
    """Clips samples, as a recording level that is too high does.

    Args:
      key: not used.
      samples: float32 [batch, samples].
      length: int32 [batch], samples.
      sample_rate_hz: not used.
      level: the largest magnitude that remains, as a fraction of the utterance's peak, 0 to 1.

    Returns:
      float32 [batch, samples].
    """
    del key, sample_rate_hz
    speech = mask_padding(samples, length)
    limit = jnp.abs(speech).max(-1, keepdims=True) * level  # [batch, 1]
    return jnp.clip(speech, -limit, limit)


CHANNELS: dict[str, Channel] = {
    "babble": babble,
    "clipping": clipping,
    "far_microphone": far_microphone,
    "gsm": gsm,
    "mp3": mp3,
    "pink_noise": pink_noise,
    "reverberation": reverberation,
    "telephone": telephone,
    "white_noise": white_noise,
}


def _interpolate(coded: jax.Array, size: int, step: int) -> jax.Array:
    """Computes all of `size` samples from every `step`-th of them."""
    if step == 1:
        return coded
    sparse = jnp.zeros((coded.shape[0], size), jnp.float32).at[:, ::step].set(coded * step)
    # The filter ends at the Nyquist frequency of the lower rate, 1 / step of that of the full rate.
    half = _INTERPOLATION_HALF_WIDTH * step
    time = np.arange(-half, half + 1)
    return filter_centred(sparse, np.sinc(time / step) / step * np.hamming(2 * half + 1))
