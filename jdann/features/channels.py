"""Channels: what a telephone, a room, a codec or noise does to recorded speech.

One contract holds for all: `channel(key, samples, length, *, sample_rate_hz, ...) -> samples`.

- `key` is a random key. A channel without randomness ignores it.
- `samples` is float32 [batch, samples], padded at the end. `length` is int32 [batch], in samples.
- The result has the shape of `samples`. It is zero after `length`, and it is not shifted in time.
- Padding never changes the result: what lies after `length` is not read, and the random numbers of
  an utterance depend only on the key and on its row.

All are pure and jitted. The sampling rate stays what it was. `gsm` and `mp3` stand for codecs that
do not run on the device: they have the band of the codec and an error of the same size, but the
error itself is modulated noise (ITU-T P.810).
"""

from collections.abc import Callable
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np

Channel = Callable[..., jax.Array]

_TRANSITION_HZ = 200.0  # width of the slope of a filter, from pass to stop
_HAMMING_WIDTH = 3.3  # a Hamming window's slope is this wide, in sampling rates per tap
_LOWEST_CODEC_RATE_HZ = 7200  # telephone speech needs a little more than twice 3400 Hz
_MU_LAW_BIAS, _MU_LAW_CLIP = 132.0, 32635.0  # ITU-T G.711, on the scale of 16 bits
_FULL_SCALE = 32768.0
_PINK_TAPS = 4096
_VOICES = 6  # of babble
_SYLLABLES_HZ = (1.0, 8.0)  # modulation of speech
# With these, the median ratio of signal to error in frames of 20 ms is that of libsndfile's codecs
# on acted speech: 10 dB (GSM 6.10, where the band removes 3 dB of the noise) and 18 dB (LAME).
_GSM_Q_DB, _MP3_Q_DB = 7.0, 18.0
_SMALLEST = 1e-20


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
    return _inside(_filtered(_inside(samples, length), taps), length)


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
    """A telephone line: its band, and mu-law with 8 bits at about 8 kHz (ITU-T G.711).

    The rate of the codec is the integer part of the sampling rate that is nearest above 7.2 kHz:
    8 kHz for 16 and 48 kHz, 7350 Hz for 22050 Hz.

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
    return _inside(_interpolated(coded, samples.shape[1], step), length)


def mu_law(samples: jax.Array) -> jax.Array:
    """Codes samples with 8 bits by mu-law and decodes them (ITU-T G.711).

    A code is a sign, an exponent and four bits of mantissa. On the scale of 16 bits, a magnitude m
    plus 132 lies in the interval [2^e (1 + i / 16), 2^e (1 + (i + 1) / 16)), and it is decoded as
    the middle of this interval minus 132.

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
    """A mobile telephone, approximately: the band of a telephone, and modulated noise in it.

    GSM full rate (ETSI EN 300 961) predicts the signal and codes what remains. Here its error is
    the modulated noise of `modulated_noise`, with the ratio to the signal that the codec has.

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
    """MP3 with 32 kbit/s, approximately: nothing above 7.2 kHz, and modulated noise.

    The true codec hides its error below the loud parts of the spectrum; here it is the modulated
    noise of `modulated_noise`, with the ratio to the signal that the codec has.

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
def modulated_noise(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    q_db: jax.Array | float = 20.0,
) -> jax.Array:
    """Noise that is as loud as the speech at each moment: y = x (1 + 10^(-Q/20) n).

    The modulated noise reference unit of ITU-T P.810, with n normal and of variance 1.

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
    noise = _white(key, *samples.shape)
    gain = 10.0 ** (-jnp.asarray(q_db, jnp.float32) / 20.0)
    return _inside(samples * (1.0 + gain * noise), length)


@partial(jax.jit, static_argnames=("sample_rate_hz",))
def white_noise(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    snr_db: jax.Array | float = 10.0,
) -> jax.Array:
    """Noise with the same power at all frequencies.

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
    return _added(samples, length, _white(key, *samples.shape), snr_db)


@partial(jax.jit, static_argnames=("sample_rate_hz",))
def pink_noise(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    snr_db: jax.Array | float = 10.0,
) -> jax.Array:
    """Noise whose power falls by 3 dB per octave, as that of many rooms and machines.

    White noise is filtered as in Kasdin 1995, "Discrete simulation of colored noise and stochastic
    processes and 1/f^alpha power law noise generation", equation 116, with 4096 taps. So it is
    pink down to about 4 Hz at 16 kHz.

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
    k = np.arange(1, _PINK_TAPS)
    taps = np.concatenate([[1.0], np.cumprod((k - 0.5) / k)])
    return _added(samples, length, _coloured(key, samples.shape, taps), snr_db)


@partial(jax.jit, static_argnames=("sample_rate_hz",))
def babble(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    snr_db: jax.Array | float = 10.0,
) -> jax.Array:
    """Noise like the speech of six people: its long-term spectrum and its rhythm, without words.

    Each voice is noise that is flat to 500 Hz and falls by 9 dB per octave above, as the average of
    speech (Byrne et al. 1994, "An international comparison of long-term average speech spectra").
    It becomes louder and softer at the rate of syllables, between 1 and 8 Hz.

    Args:
      key: random key.
      samples: float32 [batch, samples].
      length: int32 [batch], samples.
      sample_rate_hz: sampling rate, Hz.
      snr_db: as for `white_noise`.

    Returns:
      float32 [batch, samples].
    """
    frequencies = np.linspace(0, sample_rate_hz / 2, 257)
    gain = np.maximum(frequencies / 500.0, 1.0) ** -1.5 * (frequencies > 80.0)
    taps = np.fft.fftshift(np.fft.irfft(gain)) * np.hamming(512)
    time_s = jnp.arange(samples.shape[1], dtype=jnp.float32) / sample_rate_hz

    def voice(number: jax.Array) -> jax.Array:
        noise_key, rhythm_key = jax.random.split(jax.random.fold_in(key, number))
        noise = _coloured(noise_key, samples.shape, taps)
        return noise * _rhythm(rhythm_key, samples.shape[0], time_s)

    return _added(samples, length, jax.lax.map(voice, jnp.arange(_VOICES)).sum(0), snr_db)


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
    """Noise with a spectrum of one's own.

    Args:
      key: random key.
      samples: float32 [batch, samples].
      length: int32 [batch], samples.
      sample_rate_hz: sampling rate, Hz.
      gain_db: level of the noise at equal steps from 0 Hz to half the sampling rate, dB; only
        differences matter.
      snr_db: as for `white_noise`.

    Returns:
      float32 [batch, samples].
    """
    del sample_rate_hz
    points = np.linspace(0, len(gain_db) - 1, 257)
    gain = 10 ** (np.interp(points, np.arange(len(gain_db)), gain_db) / 20)
    taps = np.fft.fftshift(np.fft.irfft(gain)) * np.hamming(512)
    return _added(samples, length, _coloured(key, samples.shape, taps), snr_db)


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
    """A room: the direct sound, and noise that decays exponentially in place of the reflections.

    The power of the impulse response falls by 60 dB in `rt60_s` (Moorer 1979, "About this
    reverberation business"). Each utterance has a room of its own.

    Args:
      key: random key.
      samples: float32 [batch, samples].
      length: int32 [batch], samples; the decay after it is cut.
      sample_rate_hz: sampling rate, Hz.
      rt60_s: reverberation time, seconds, above 0.
      direct_db: power of the direct sound over that of all reflections, dB.

    Returns:
      float32 [batch, samples].
    """
    size = int(np.ceil(1.2 * rt60_s * sample_rate_hz))
    decay = 10 ** (-3.0 * np.arange(size) / (rt60_s * sample_rate_hz))
    decay[0] = 0.0  # the direct sound
    scale = 10 ** (-jnp.asarray(direct_db, jnp.float32) / 20) / np.sqrt((decay**2).sum())
    tail = _white(key, samples.shape[0], size) * jnp.asarray(decay, jnp.float32)[None] * scale
    inside = _inside(samples, length)
    return _inside(inside + _convolved(inside, tail), length)


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
    """A microphone some metres away: more of the room than of the voice, pink noise, a low level.

    Args:
      key: random key.
      samples: float32 [batch, samples].
      length: int32 [batch], samples.
      sample_rate_hz: sampling rate, Hz.
      rt60_s: as for `reverberation`.
      direct_db: as for `reverberation`.
      snr_db: as for `white_noise`.
      gain_db: level of the whole, relative to that of a near microphone, dB.

    Returns:
      float32 [batch, samples].
    """
    room_key, noise_key = jax.random.split(key)
    rate = {"sample_rate_hz": sample_rate_hz}
    room = reverberation(room_key, samples, length, rt60_s=rt60_s, direct_db=direct_db, **rate)
    noisy = pink_noise(noise_key, room, length, snr_db=snr_db, **rate)
    return noisy * 10.0 ** (jnp.asarray(gain_db, jnp.float32) / 20)


@partial(jax.jit, static_argnames=("sample_rate_hz",))
def clipping(
    key: jax.Array,
    samples: jax.Array,
    length: jax.Array,
    *,
    sample_rate_hz: int = 16000,
    level: jax.Array | float = 0.25,
) -> jax.Array:
    """A recording level that is too high: samples beyond a part of the peak are cut to it.

    Args:
      key: not used.
      samples: float32 [batch, samples].
      length: int32 [batch], samples.
      sample_rate_hz: not used.
      level: where samples are cut, as a part of the utterance's peak, 0 to 1.

    Returns:
      float32 [batch, samples].
    """
    del key, sample_rate_hz
    inside = _inside(samples, length)
    limit = jnp.abs(inside).max(-1, keepdims=True) * level
    return jnp.clip(inside, -limit, limit)


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


def band_pass_taps(sample_rate_hz: int, low_hz: float, high_hz: float) -> np.ndarray:
    """The taps of a band-pass: the difference of two sincs in a Hamming window.

    Its stop band is 50 dB down. It equals `scipy.signal.firwin` but for the gain, which is 1 in the
    middle of the band there.

    Returns:
      float64 [taps], an odd number.
    """
    half = int(np.ceil(_HAMMING_WIDTH * sample_rate_hz / _TRANSITION_HZ / 2))
    time = np.arange(-half, half + 1)

    def low_pass(edge_hz: float) -> np.ndarray:
        if edge_hz >= sample_rate_hz / 2:
            return (time == 0).astype(float)
        cut = 2 * edge_hz / sample_rate_hz
        return cut * np.sinc(cut * time)

    return (low_pass(high_hz) - low_pass(low_hz)) * np.hamming(2 * half + 1)


def _inside(samples: jax.Array, length: jax.Array) -> jax.Array:
    """The samples, with zeros after the end of each utterance."""
    chex.assert_rank([samples, length], [2, 1])
    return jnp.where(jnp.arange(samples.shape[1])[None] < length[:, None], samples, 0.0)


def _filtered(samples: jax.Array, taps: np.ndarray) -> jax.Array:
    """Filters [batch, samples] by an odd number of symmetric taps, without a shift in time."""
    half = len(taps) // 2
    padded = jnp.pad(samples, ((0, 0), (0, half)))
    return _convolved(padded, jnp.asarray(taps, jnp.float32)[None])[:, half:]


def _convolved(samples: jax.Array, response: jax.Array) -> jax.Array:
    """Convolves [batch, samples] with [batch or 1, taps]; the result is cut to the samples."""
    size = _transform_size(samples.shape[1] + response.shape[1] - 1)
    product = jnp.fft.rfft(samples, size) * jnp.fft.rfft(response, size)
    return jnp.fft.irfft(product, size)[:, : samples.shape[1]]


def _transform_size(size: int) -> int:
    import scipy.fft  # not at the top: SciPy is loaded only when a program is traced

    fast = scipy.fft.next_fast_len(size, real=True)
    assert fast is not None  # SciPy's type says that it may be
    return int(fast)


def _interpolated(coded: jax.Array, size: int, step: int) -> jax.Array:
    """Brings every `step`-th of `size` samples back to the full rate."""
    if step == 1:
        return coded
    sparse = jnp.zeros((coded.shape[0], size), jnp.float32).at[:, ::step].set(coded * step)
    # The filter keeps what the lower rate can hold. 1 / step of the full band is its Nyquist limit.
    half = 32 * step
    time = np.arange(-half, half + 1)
    return _filtered(sparse, np.sinc(time / step) / step * np.hamming(2 * half + 1))


def _white(key: jax.Array, batch: int, size: int) -> jax.Array:
    """Normal numbers [batch, size]; a larger size only adds numbers at the end.

    Threefry computes each number from its own index, so that the first ones do not depend on how
    many there are.
    """
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(batch))
    return jax.vmap(lambda row_key: jax.random.normal(row_key, (size,)))(keys)


def _coloured(key: jax.Array, shape: tuple[int, ...], taps: np.ndarray) -> jax.Array:
    """White noise [batch, samples] through a causal filter, after the filter's own beginning."""
    white = _white(key, shape[0], shape[1] + len(taps))
    return _convolved(white, jnp.asarray(taps, jnp.float32)[None])[:, len(taps) :]


def _rhythm(key: jax.Array, batch: int, time_s: jax.Array) -> jax.Array:
    """Envelopes [batch, samples] of speech: the exponential of a sum of slow waves."""
    waves = 8
    rate_key, phase_key = jax.random.split(key)
    low_hz, high_hz = _SYLLABLES_HZ
    rate_hz = jax.random.uniform(rate_key, (batch, waves), minval=low_hz, maxval=high_hz)
    phase = jax.random.uniform(phase_key, (batch, waves), maxval=2 * np.pi)

    def add(total: jax.Array, wave: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        angle = 2 * np.pi * wave[0][:, None] * time_s[None] + wave[1][:, None]
        return total + jnp.cos(angle), None

    start = jnp.zeros((batch, time_s.shape[0]), jnp.float32)
    total, _ = jax.lax.scan(add, start, (rate_hz.T, phase.T))  # [waves, batch] each
    return jnp.exp(total * np.float32(np.sqrt(2 / waves)))


def _added(
    samples: jax.Array, length: jax.Array, noise: jax.Array, snr_db: jax.Array | float
) -> jax.Array:
    """Adds noise [batch, samples], scaled for each utterance to the ratio in dB."""
    speech, noise = _inside(samples, length), _inside(noise, length)
    ratio = (speech**2).sum(-1) / jnp.maximum((noise**2).sum(-1), _SMALLEST)  # [batch]
    wanted = 10.0 ** (-jnp.asarray(snr_db, jnp.float32) / 10)
    return speech + noise * jnp.sqrt(ratio * wanted)[:, None]
