"""Channels that add noise. `jdann.features.channels` states the contract that they follow.

The noise of an utterance is as long as the padded samples, but only the part inside the utterance
counts for its level.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jdann.features.channel_filters import convolve, mask_padding

_PINK_TAPS = 4096
_SPEECH_EDGE_HZ = 500.0  # the average spectrum of speech is flat up to here
_HUM_HZ = 80.0  # there is no speech below this
_BINS = 257  # of a spectrum that noise is filtered to
_VOICES = 6  # of babble
_WAVES = 8  # whose sum is the rhythm of one voice
_SYLLABLES_HZ = (1.0, 8.0)  # the rates at which speech becomes louder and softer
_SMALLEST_ENERGY = 1e-20  # prevents a division by zero


@partial(jax.jit, static_argnames=("sample_rate_hz",))
def modulated_noise(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    q_db: jax.Array | float = 20.0,
) -> jax.Array:
    """Adds noise whose level follows the speech: y = x (1 + 10^(-Q/20) n).

    This is the modulated noise reference unit of ITU-T P.810. Here x is a sample, and n is a normal
    number of variance 1.

    Args:
      key: random key.
      samples: float32 [batch, samples].
      length: int32 [batch], samples.
      sample_rate_hz: not used.
      q_db: Q, the level of the signal over the noise, dB.

    Returns:
      float32 [batch, samples].
    """
    del sample_rate_hz
    noise = normal_numbers(key, *samples.shape)
    gain = 10.0 ** (-jnp.asarray(q_db, jnp.float32) / 20.0)
    return mask_padding(samples * (1.0 + gain * noise), length)


@partial(jax.jit, static_argnames=("sample_rate_hz",))
def white_noise(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    snr_db: jax.Array | float = 10.0,
) -> jax.Array:
    """Adds noise with the same power at all frequencies.

    Args:
      key: random key.
      samples: float32 [batch, samples].
      length: int32 [batch], samples.
      sample_rate_hz: not used.
      snr_db: power of an utterance over that of its noise, dB; one number, or [batch].

    Returns:
      float32 [batch, samples].
    """
    del sample_rate_hz
    return _add_noise(samples, length, normal_numbers(key, *samples.shape), snr_db)


@partial(jax.jit, static_argnames=("sample_rate_hz",))
def pink_noise(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    snr_db: jax.Array | float = 10.0,
) -> jax.Array:
    """Adds noise whose power falls by 3 dB per octave, as in many rooms and near machines.

    White noise is filtered as in Kasdin 1995, "Discrete simulation of colored noise and stochastic
    processes and 1/f^alpha power law noise generation", equation 116, with 4096 taps. At
    16 kHz the noise is pink down to about 4 Hz.

    Args:
      key: random key.
      samples: float32 [batch, samples].
      length: int32 [batch], samples.
      sample_rate_hz: not used.
      snr_db: as for `white_noise`.

    Returns:
      float32 [batch, samples].
    """
    del sample_rate_hz
    number = np.arange(1, _PINK_TAPS)
    taps = np.concatenate([[1.0], np.cumprod((number - 0.5) / number)])
    return _add_noise(samples, length, _filtered_noise(key, samples.shape, taps), snr_db)


@partial(jax.jit, static_argnames=("sample_rate_hz",))
def babble(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    snr_db: jax.Array | float = 10.0,
) -> jax.Array:
    """Adds noise with the spectrum and the rhythm of six people who speak at the same time.

    Each voice is noise without words. Its spectrum is flat to 500 Hz and falls by 9 dB per octave
    above, as the average of speech does (Byrne et al. 1994, "An international comparison of
    long-term average speech spectra"). It becomes louder and softer at the rate of syllables,
    between 1 and 8 Hz.

    Args:
      key: random key.
      samples: float32 [batch, samples].
      length: int32 [batch], samples.
      sample_rate_hz: sampling rate, Hz.
      snr_db: as for `white_noise`.

    Returns:
      float32 [batch, samples].
    """
    frequency_hz = np.linspace(0, sample_rate_hz / 2, _BINS)
    gain = np.maximum(frequency_hz / _SPEECH_EDGE_HZ, 1.0) ** -1.5 * (frequency_hz > _HUM_HZ)
    taps = _taps(gain)
    time_s = jnp.arange(samples.shape[1], dtype=jnp.float32) / sample_rate_hz

    def voice(number: jax.Array) -> jax.Array:
        noise_key, rhythm_key = jax.random.split(jax.random.fold_in(key, number))
        noise = _filtered_noise(noise_key, samples.shape, taps)
        return noise * _rhythm(rhythm_key, samples.shape[0], time_s)

    voices = jax.lax.map(voice, jnp.arange(_VOICES))  # [voices, batch, samples]
    return _add_noise(samples, length, voices.sum(0), snr_db)


@partial(jax.jit, static_argnames=("sample_rate_hz", "gain_db"))
def shaped_noise(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    gain_db: tuple[float, ...] = (0.0, 0.0),
    snr_db: jax.Array | float = 10.0,
) -> jax.Array:
    """Adds noise with a spectrum that the caller chooses.

    Args:
      key: random key.
      samples: float32 [batch, samples].
      length: int32 [batch], samples.
      sample_rate_hz: not used.
      gain_db: level of the noise at equal steps from 0 Hz to half the sampling rate, dB; only
        differences matter.
      snr_db: as for `white_noise`.

    Returns:
      float32 [batch, samples].
    """
    del sample_rate_hz
    bins = np.linspace(0, len(gain_db) - 1, _BINS)
    gain = 10 ** (np.interp(bins, np.arange(len(gain_db)), gain_db) / 20)
    return _add_noise(samples, length, _filtered_noise(key, samples.shape, _taps(gain)), snr_db)


def normal_numbers(key: jax.Array, batch: int, size: int) -> jax.Array:
    """Draws normal numbers [batch, size]. A larger size only adds numbers at the end of each row.

    Threefry computes each number from its index alone, so the first numbers do not depend on the
    size.
    """
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(batch))
    return jax.vmap(lambda row_key: jax.random.normal(row_key, (size,)))(keys)


def _taps(gain: np.ndarray) -> np.ndarray:
    """The taps [2 * bins - 2] of a filter with a gain [bins] from 0 Hz to half the rate."""
    return np.fft.fftshift(np.fft.irfft(gain)) * np.hamming(2 * len(gain) - 2)


def _filtered_noise(key: jax.Array, shape: tuple[int, ...], taps: np.ndarray) -> jax.Array:
    """Filters white noise by a causal filter, without its first samples; [batch, samples]."""
    white = normal_numbers(key, shape[0], shape[1] + len(taps))
    return convolve(white, jnp.asarray(taps, jnp.float32)[None])[:, len(taps) :]


def _rhythm(key: jax.Array, batch: int, time_s: jax.Array) -> jax.Array:
    """Envelopes of speech [batch, samples]: the exponential of a sum of slow waves."""
    rate_key, phase_key = jax.random.split(key)
    low_hz, high_hz = _SYLLABLES_HZ
    rate_hz = jax.random.uniform(rate_key, (batch, _WAVES), minval=low_hz, maxval=high_hz)
    phase = jax.random.uniform(phase_key, (batch, _WAVES), maxval=2 * np.pi)

    def add(total: jax.Array, wave: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        wave_hz, wave_phase = (values[:, None] for values in wave)  # [batch, 1] each
        angle = 2 * np.pi * wave_hz * time_s[None] + wave_phase
        return total + jnp.cos(angle), None

    start = jnp.zeros((batch, time_s.shape[0]), jnp.float32)
    total, _ = jax.lax.scan(add, start, (rate_hz.T, phase.T))  # [waves, batch] each
    return jnp.exp(total * np.float32(np.sqrt(2 / _WAVES)))


def _add_noise(
    samples: jax.Array, length: jax.Array, noise: jax.Array, snr_db: jax.Array | float
) -> jax.Array:
    """Adds noise [batch, samples] to each utterance with the ratio of their powers in dB."""
    speech, noise = mask_padding(samples, length), mask_padding(noise, length)
    ratio = (speech**2).sum(-1) / jnp.maximum((noise**2).sum(-1), _SMALLEST_ENERGY)  # [batch]
    noise_to_speech = 10.0 ** (-jnp.asarray(snr_db, jnp.float32) / 10)
    return speech + noise * jnp.sqrt(ratio * noise_to_speech)[:, None]
