"""The Fourier transform of frames, as exact as that of librosa."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def windowed_fourier(frames: jax.Array, window: str | tuple | float, win_length: int) -> jax.Array:
    """Fourier transform of each frame, weighted by a window.

    Args:
      frames: float32 [..., n_fft].
      window: anything hashable that `scipy.signal.get_window` takes.
      win_length: length of the window, padded with zeros to n_fft.

    Returns:
      complex64 [..., 1 + n_fft // 2].
    """
    # In double precision, as in librosa. In single precision, empty bins (such as those above 8 kHz
    # in speech recorded at 16 kHz) would hold the rounding noise of loud bins, and spectral
    # contrast would show it. Gradients use single precision, and so do TPUs, which have no
    # transform in double precision.
    weights = _window(window, win_length, frames.shape[-1])

    @jax.custom_batching.custom_vmap
    def double(frames: jax.Array) -> jax.Array:
        with jax.enable_x64(True):
            taper = jax.lax.broadcast_to_rank(weights, frames.ndim)
            return jnp.fft.rfft(frames.astype(jnp.float64) * taper).astype(jnp.complex64)

    @double.def_vmap
    def _(_size: int, _batched: list[bool], frames: jax.Array) -> tuple[jax.Array, bool]:
        # Traced again, because JAX's own rule would run outside of enable_x64, in single precision.
        return double(frames), True

    def single(frames: jax.Array) -> jax.Array:
        taper = jax.lax.broadcast_to_rank(weights.astype(np.float32), frames.ndim)
        return jnp.fft.rfft(frames * taper)

    return jax.lax.platform_dependent(frames, tpu=single, default=double)


@windowed_fourier.defjvp
def _(
    window: str | tuple | float,
    win_length: int,
    primals: tuple[jax.Array],
    tangents: tuple[jax.Array],
) -> tuple[jax.Array, jax.Array]:
    (frames,), (change,) = primals, tangents
    weights = _window(window, win_length, frames.shape[-1]).astype(np.float32)
    weights = jax.lax.broadcast_to_rank(weights, frames.ndim)
    return windowed_fourier(frames, window, win_length), jnp.fft.rfft(change * weights)


@lru_cache(maxsize=32)
def _window(window: str | tuple | float, win_length: int, n_fft: int) -> np.ndarray:
    import librosa  # not at the top: librosa is loaded only when a program is traced

    weights = librosa.filters.get_window(window, win_length, fftbins=True)
    return librosa.util.pad_center(weights, size=n_fft)
