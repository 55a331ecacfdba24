"""Whisper's log-mel spectrogram (Radford et al. 2022, section 2.2), as transformers computes it.

Whisper hears each clip followed by silence, to the end of a window of 30 s. Here a batch is only as
long as its longest clip, and the frames are the same as the first frames of that window.
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from jdann.fourier import windowed_fourier
from jdann.pretrained.contract import SAMPLE_RATE_HZ

N_FFT = 400  # samples, 25 ms
HOP_LENGTH = 160  # samples, 10 ms
WINDOW_SAMPLES = 30 * SAMPLE_RATE_HZ
_MINIMUM_POWER = 1e-10
_RANGE = 8.0  # softer values than the clip's maximum minus this are raised to it; log10 of power
_MARGIN = N_FFT // 2  # samples of a frame before its centre
_AFTER = 3 * HOP_LENGTH - _MARGIN  # samples from a frame's centre to the end of its third hop


def log_mel(
    samples: jax.Array, length: jax.Array, mels: int = 80, window: int = WINDOW_SAMPLES
) -> jax.Array:
    """Log-mel spectrogram of each clip, followed by silence.

    Padding changes nothing: neither its length nor what it holds.

    Args:
      samples: float32 [batch, n] at 16 kHz, n at most `window`.
      length: int32 [batch], samples of each clip.
      mels: number of filters, 80 or 128.
      window: where Whisper's window ends, samples. What lies beyond is a mirror image of the
        samples before, as at the beginning.

    Returns:
      float32 [batch, ceil(n / 160), mels]. The frames after a clip are those of silence.
    """
    inside = jnp.arange(samples.shape[1])[None] < length[:, None]
    # `where` and not a product, because the padding may hold NaN.
    frames = _frames(jnp.where(inside, samples, 0.0), window)
    spectrum = windowed_fourier(frames, "hann", N_FFT)  # [batch, frames, 201]
    power = spectrum.real**2 + spectrum.imag**2
    power = jnp.matmul(power, _mel_filters(mels), precision="highest")
    values = jnp.log10(jnp.maximum(power, _MINIMUM_POWER))  # [batch, frames, mels]
    values = jnp.maximum(values, values.max((1, 2), keepdims=True) - _RANGE)
    return (values + 4.0) / 4.0


def _frames(samples: jax.Array, window: int) -> jax.Array:
    """Frames [batch, ceil(n / 160), 400], of which frame t is centred at sample 160 * t."""
    count = -(-samples.shape[1] // HOP_LENGTH)
    last = (count - 1) * HOP_LENGTH  # the centre of the last frame; the window ends after it
    padded = jnp.pad(samples, ((0, 0), (0, last + _AFTER - samples.shape[1])))
    # Taken by index, because an export for clips of any length does not know where the window ends.
    position = last + jnp.arange(_AFTER)
    mirrored = jnp.where(position < window, position, 2 * (window - 1) - position)
    joined = jnp.concatenate([padded[:, _MARGIN:0:-1], padded[:, :last], padded[:, mirrored]], 1)
    hops = joined.reshape(samples.shape[0], count + 2, HOP_LENGTH)
    # A frame has two hops and a half.
    third = hops[:, 2:, : N_FFT - 2 * HOP_LENGTH]
    return jnp.concatenate([hops[:, :count], hops[:, 1 : count + 1], third], -1)


@lru_cache(maxsize=4)
def _mel_filters(mels: int) -> np.ndarray:
    """Slaney's filters, [201, mels]."""
    import librosa  # not at the top: librosa is loaded only when a program is traced

    return librosa.filters.mel(sr=SAMPLE_RATE_HZ, n_fft=N_FFT, n_mels=mels).T
