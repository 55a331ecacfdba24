"""Channels that are rooms. `jdann.features.channels` states the contract that they follow."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jdann.features.channel_filters import convolve, mask_padding
from jdann.features.channel_noise import normal_numbers, pink_noise

_RESPONSE_RT60 = 1.2  # length of the impulse response, in reverberation times


@partial(jax.jit, static_argnames=("sample_rate_hz", "rt60_s"))
def reverberation(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    rt60_s: float = 0.5,
    direct_db: jax.Array | float = 0.0,
) -> jax.Array:
    """Adds the echo of a room. Noise that decays exponentially replaces the reflections.

    The power of the impulse response falls by 60 dB in `rt60_s` (Moorer 1979, "About this
    reverberation business"). Each utterance gets a different room.

    Args:
      key: random key.
      samples: float32 [batch, samples].
      length: int32 [batch], samples; the echo after it is cut.
      sample_rate_hz: sampling rate, Hz.
      rt60_s: reverberation time, seconds, above 0.
      direct_db: power of the direct sound over that of all reflections, dB.

    Returns:
      float32 [batch, samples].
    """
    size = int(np.ceil(_RESPONSE_RT60 * rt60_s * sample_rate_hz))
    decay = 10 ** (-3.0 * np.arange(size) / (rt60_s * sample_rate_hz))
    decay[0] = 0.0  # here is the direct sound, which is added below
    scale = 10 ** (-jnp.asarray(direct_db, jnp.float32) / 20) / np.sqrt((decay**2).sum())
    tail = (
        normal_numbers(key, samples.shape[0], size) * jnp.asarray(decay, jnp.float32)[None] * scale
    )
    speech = mask_padding(samples, length)
    return mask_padding(speech + convolve(speech, tail), length)


@partial(jax.jit, static_argnames=("sample_rate_hz", "rt60_s"))
def far_microphone(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    rt60_s: float = 0.6,
    direct_db: jax.Array | float = -3.0,
    snr_db: jax.Array | float = 15.0,
    gain_db: jax.Array | float = -20.0,
) -> jax.Array:
    """Moves the microphone some metres away: more echo than voice, pink noise, a low level.

    Args:
      key: random key.
      samples: float32 [batch, samples].
      length: int32 [batch], samples.
      sample_rate_hz: sampling rate, Hz.
      rt60_s: as for `reverberation`.
      direct_db: as for `reverberation`.
      snr_db: as for `white_noise`.
      gain_db: level of the result, relative to that of a near microphone, dB.

    Returns:
      float32 [batch, samples].
    """
    room_key, noise_key = jax.random.split(key)
    rate = {"sample_rate_hz": sample_rate_hz}
    echoing = reverberation(room_key, samples, length, rt60_s=rt60_s, direct_db=direct_db, **rate)
    noisy = pink_noise(noise_key, echoing, length, snr_db=snr_db, **rate)
    return noisy * 10.0 ** (jnp.asarray(gain_db, jnp.float32) / 20)
