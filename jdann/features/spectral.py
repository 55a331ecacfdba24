"""Spectral features in JAX with the names, arguments and layout of `librosa.feature`.

Signals are float32 `[..., samples]`, results float32 `[..., bins, frames]`. All functions are pure
and can be jitted, vmapped and batched. Their gradients are finite, also in silence. Arguments other
than `y` and `S` are static.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jdann.errors import InputError
from jdann.fourier import windowed_fourier

_MAXIMA = 8  # up to this many largest values are found by repeated maxima, more by a partial sort


def stft(
    y: jax.Array | np.ndarray,
    *,
    n_fft: int = 2048,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: str | tuple | float = "hann",
    center: bool = True,
    pad_mode: str = "constant",
) -> jax.Array:
    """Short-time Fourier transform, as `librosa.stft`.

    Args:
      y: float32 [..., samples].
      n_fft: length of a frame, samples.
      hop_length: samples between frames; None: `win_length // 4`.
      win_length: length of the window, padded with zeros to `n_fft`; None: `n_fft`.
      window: anything hashable that `scipy.signal.get_window` takes.
      center: frame t is centred at sample t * hop_length; otherwise it starts there.
      pad_mode: how the ends are padded if `center`, a mode of `jnp.pad`.

    Returns:
      complex64 [..., 1 + n_fft // 2, frames].

    Raises:
      InputError: the signal is shorter than a frame and `center` is False.
    """
    chex.assert_shape(y, (..., None))
    win_length = win_length or n_fft
    frames = _framed(pad_ends(y, n_fft, center, pad_mode), n_fft, hop_length or win_length // 4)
    return jnp.swapaxes(windowed_fourier(frames, window, win_length), -1, -2)


def spectrogram(
    y: jax.Array | np.ndarray | None = None,
    S: jax.Array | np.ndarray | None = None,
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    power: float = 1.0,
    **stft_options: Any,
) -> tuple[jax.Array, int]:
    """The magnitude of `y` to a power, or `S` if it is given.

    Returns:
      float32 [..., 1 + n_fft // 2, frames]; and n_fft, inferred from the bins of `S` if they do
      not fit the argument.
    """
    if S is not None:
        S = jnp.asarray(S)
        chex.assert_shape(S, (..., None, None))
        return S, n_fft if n_fft // 2 + 1 == S.shape[-2] else 2 * (S.shape[-2] - 1)
    if y is None:
        raise InputError("no input: give either y, the signal, or S, its spectrogram")
    transform = stft(y, n_fft=n_fft, hop_length=hop_length, **stft_options)
    spectrum = jnp.swapaxes(transform, -1, -2)  # [..., frames, bins], its order in memory
    squared = spectrum.real**2 + spectrum.imag**2
    return jnp.swapaxes(squared if power == 2 else safe_sqrt(squared, power / 2), -1, -2), n_fft


def melspectrogram(
    *,
    y: jax.Array | np.ndarray | None = None,
    sr: float = 22050,
    S: jax.Array | np.ndarray | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    power: float = 2.0,
    n_mels: int = 128,
    fmin: float = 0.0,
    fmax: float | None = None,
    htk: bool = False,
    norm: Literal["slaney"] | float | None = "slaney",
    **stft_options: Any,
) -> jax.Array:
    """Mel spectrogram, as `librosa.feature.melspectrogram`.

    Args:
      y: float32 [..., samples].
      sr: sampling rate, Hz.
      S: [..., 1 + n_fft // 2, frames], used instead of `y`; `power` is then ignored.
      n_fft: length of a frame, samples.
      hop_length: samples between frames.
      power: exponent of the magnitude, 2 for energy.
      n_mels: number of filters.
      fmin: lower end of the lowest filter, Hz.
      fmax: upper end of the highest filter, Hz; None: sr / 2.
      htk: HTK's mel scale instead of Slaney's.
      norm: "slaney" (equal area), a norm's order or None, as `librosa.filters.mel`.
      **stft_options: `win_length`, `window`, `center` and `pad_mode` of `stft`.

    Returns:
      float32 [..., n_mels, frames].

    Raises:
      InputError: neither `y` nor `S` is given.
    """
    S, n_fft = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, power=power, **stft_options)
    # Half of the filters use few low bins, the others the rest. Two products over their own bins
    # need half the work of one product over all bins.
    filters = _mel_filters(sr, n_fft, n_mels, fmin, fmax, htk, norm)
    parts = []
    for part in np.array_split(filters, min(2, n_mels)):
        used = np.flatnonzero(part.any(0))
        low, end = (used[0], used[-1] + 1) if len(used) else (0, 1)
        parts.append(apply_matrix(part[:, low:end], S[..., low:end, :]))
    return jnp.concatenate(parts, -2)


def power_to_db(
    S: jax.Array | np.ndarray,
    *,
    ref: float | Callable = 1.0,
    amin: float = 1e-10,
    top_db: float | None = 80.0,
) -> jax.Array:
    """Power in decibels, as `librosa.power_to_db` of librosa 1.0.

    `top_db` is relative to the peak of each spectrogram. Librosa 0.11 uses the peak of the whole
    array, which is the same for a single clip.

    Args:
      S: power >= 0, [..., bins, frames].
      ref: the power of 0 dB, or a function of (S, axis, keepdims) such as `jnp.max`.
      amin: smaller powers are raised to this one.
      top_db: values more than this below the peak over bins and frames are raised to it; None:
        never.

    Returns:
      float32 [..., bins, frames], dB.
    """
    S = jnp.asarray(S)
    axes = tuple(range(-min(S.ndim, 2), 0))
    ref_power = ref(S, axis=axes, keepdims=True) if callable(ref) else abs(ref)
    decibels = 10.0 * (jnp.log10(jnp.maximum(amin, S)) - jnp.log10(jnp.maximum(amin, ref_power)))
    if top_db is None:
        return decibels
    return jnp.maximum(decibels, decibels.max(axis=axes, keepdims=True) - top_db)


def mfcc(
    *,
    y: jax.Array | np.ndarray | None = None,
    sr: float = 22050,
    S: jax.Array | np.ndarray | None = None,
    n_mfcc: int = 20,
    dct_type: int = 2,
    norm: str | None = "ortho",
    lifter: float = 0,
    mel_norm: Literal["slaney"] | float | None = "slaney",
    **mel_options: Any,
) -> jax.Array:
    """Mel-frequency cepstral coefficients, as `librosa.feature.mfcc`.

    Args:
      y: float32 [..., samples].
      sr: sampling rate, Hz.
      S: mel spectrogram in dB [..., mels, frames], used instead of `y`.
      n_mfcc: number of coefficients, at most the number of mels.
      dct_type: type of the discrete cosine transform, 1 to 4.
      norm: its normalisation, "ortho" or None.
      lifter: cepstral liftering, 0: none.
      mel_norm: `norm` of `melspectrogram`.
      **mel_options: further arguments of `melspectrogram`.

    Returns:
      float32 [..., n_mfcc, frames].

    Raises:
      InputError: neither `y` nor `S` is given.
    """
    if S is None:
        S = power_to_db(melspectrogram(y=y, sr=sr, norm=mel_norm, **mel_options))
    S = jnp.asarray(S)
    return apply_matrix(_cosines(S.shape[-2], n_mfcc, dct_type, norm, lifter), S)


def spectral_contrast(
    *,
    y: jax.Array | np.ndarray | None = None,
    sr: float = 22050,
    S: jax.Array | np.ndarray | None = None,
    n_fft: int = 2048,
    hop_length: int = 512,
    freq: np.ndarray | None = None,
    fmin: float = 200.0,
    n_bands: int = 6,
    quantile: float = 0.02,
    linear: bool = False,
    **stft_options: Any,
) -> jax.Array:
    """Difference of peaks and valleys in octave bands, as `librosa.feature.spectral_contrast`.

    Jiang et al., "Music type classification by spectral contrast feature", ICME 2002.

    Args:
      y: float32 [..., samples].
      sr: sampling rate, Hz.
      S: magnitude [..., 1 + n_fft // 2, frames], used instead of `y`.
      n_fft: length of a frame, samples.
      hop_length: samples between frames.
      freq: centre of each bin, Hz, ascending [1 + n_fft // 2]; None: those of a Fourier transform.
      fmin: upper end of the lowest band, Hz; each further band is an octave.
      n_bands: number of bands above the lowest one.
      quantile: fraction of a band's bins, in (0, 1), at least one bin. The mean of the largest
        ones is the peak, that of the smallest ones the valley.
      linear: return peak - valley instead of the difference in dB.
      **stft_options: `win_length`, `window`, `center` and `pad_mode` of `stft`.

    Returns:
      float32 [..., n_bands + 1, frames].

    Raises:
      InputError: the top band starts above Nyquist, a band has no bin, or neither `y` nor `S` is
        given.
    """
    S, n_fft = spectrogram(y, S, n_fft=n_fft, hop_length=hop_length, **stft_options)
    bands = _contrast_bands(sr, n_fft, fmin, n_bands, quantile, freq)
    by_frame = jnp.swapaxes(S, -1, -2)  # [..., frames, bins]
    extremes = [_extremes(by_frame[..., low:high], n) for low, high, n in bands]
    peak, valley = (jnp.stack(rows, -2) for rows in zip(*extremes, strict=True))
    # Without the barrier XLA repeats the search for each logarithm.
    peak, valley = jax.lax.optimization_barrier((peak, valley))
    return peak - valley if linear else power_to_db(peak) - power_to_db(valley)


def blocks(x: jax.Array, width: int, hop_length: int) -> tuple[jax.Array, Any]:
    """Splits x [..., samples] into hops [..., hops, hop_length]; and counts the whole windows."""
    count = 1 + (x.shape[-1] - width) // hop_length
    hops = count + width // hop_length - 1
    return x[..., : hops * hop_length].reshape(*x.shape[:-1], hops, hop_length), count


def sliding_sum(x: jax.Array, width: int, hop_length: int) -> jax.Array:
    """Sums [..., frames] over the whole windows of x [..., samples].

    Window t starts at sample t * hop_length.
    """
    if width % hop_length:
        lead = (1,) * (x.ndim - 1)
        return jax.lax.reduce_window(
            x, 0.0, jax.lax.add, (*lead, width), (*lead, hop_length), "VALID"
        )
    hops, count = blocks(x, width, hop_length)
    sums = hops.sum(-1)
    total = sums[..., :count]
    for i in range(1, width // hop_length):
        total = total + sums[..., i : i + count]
    return total


def safe_sqrt(x: jax.Array, exponent: float = 0.5) -> jax.Array:
    """`x ** exponent` for x >= 0; its gradient at zero is zero instead of infinite."""
    positive = jnp.where(x > 0, x, 1.0)
    return jnp.where(x > 0, jnp.sqrt(positive) if exponent == 0.5 else positive**exponent, 0.0)


def apply_matrix(matrix: np.ndarray, S: jax.Array) -> jax.Array:
    """Applies a matrix [rows, bins] to each frame of S [..., bins, frames], in full float32.

    Returns [..., rows, frames].
    """
    # XLA has a fast kernel for a product with frames before bins. The barrier keeps XLA from
    # merging the swap of the result into the product, which would then not use the kernel.
    product = jnp.matmul(jnp.swapaxes(S, -1, -2), matrix.T, precision="highest")
    return jnp.swapaxes(jax.lax.optimization_barrier(product), -1, -2)


def _contrast_bands(
    sr: float,
    n_fft: int,
    fmin: float = 200.0,
    n_bands: int = 6,
    quantile: float = 0.02,
    freq: np.ndarray | None = None,
) -> list[tuple[int, int, int]]:
    """First bin, end and number of extreme bins of each band of `spectral_contrast`.

    The edges of the bands are those of librosa.
    """
    freq = np.fft.rfftfreq(n_fft, 1.0 / sr) if freq is None else np.asarray(freq)
    edges = np.concatenate([[0.0], fmin * 2.0 ** np.arange(n_bands + 1)])
    if edges[-2] >= sr / 2:
        raise InputError(
            f"spectral contrast with fmin={fmin:g} Hz and n_bands={n_bands} has its top band at "
            f"{edges[-2]:g} Hz and above, past the Nyquist frequency of {sr:g} Hz audio "
            f"({sr / 2:g} Hz): reduce fmin or n_bands, or resample"
        )
    bands = []
    for k in range(n_bands + 1):
        inside = np.flatnonzero((freq >= edges[k]) & (freq <= edges[k + 1]))
        # As in librosa, each band except the lowest starts one bin early, and each band except the
        # highest leaves its last bin to the next one.
        low = inside[0] - (k > 0) if inside.size else 0
        high = len(freq) if k == n_bands else low + inside.size + (k > 0)
        stop = high if k == n_bands else high - 1
        if not inside.size or stop <= low:
            raise InputError(
                f"n_fft={n_fft} at {sr:g} Hz leaves no bin in the spectral contrast band "
                f"{edges[k]:g}-{edges[k + 1]:g} Hz: raise n_fft or fmin"
            )
        bands.append((int(low), int(stop), max(1, round(quantile * (high - low)))))
    return bands


def _framed(x: jax.Array, n_fft: int, hop_length: int) -> jax.Array:
    """Overlapping frames [..., frames, n_fft] of x [..., samples]."""
    if n_fft % hop_length:
        count = 1 + (x.shape[-1] - n_fft) // hop_length
        # In a program exported for any length the count is symbolic.
        start = (np.arange(count) if isinstance(count, int) else jnp.arange(count)) * hop_length
        return x[..., start[:, None] + np.arange(n_fft)]
    hops, count = blocks(x, n_fft, hop_length)  # concatenating hops is faster than a gather
    return jnp.concatenate([hops[..., i : i + count, :] for i in range(n_fft // hop_length)], -1)


def _extremes(x: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """Mean of the n largest and of the n smallest [...] of x [..., bins]."""
    if n == 1:
        return x.max(-1), x.min(-1)
    if n > _MAXIMA:
        rows = jnp.stack([x, -x]).reshape(-1, x.shape[-1])  # top_k is fast for matrices only
        mean = jax.lax.top_k(rows, n)[0].mean(-1).reshape(2, *x.shape[:-1])
        return mean[0], -mean[1]
    return _mean_largest(x, n), -_mean_largest(-x, n)


def _mean_largest(x: jax.Array, n: int) -> jax.Array:
    """Mean [...] of the n largest values of x [..., bins]; each of several equal values counts.

    It takes the maximum, then the maximum of all smaller values, and so on.
    """
    largest = x.max(-1)
    total, left = jnp.zeros_like(largest), jnp.full_like(largest, n)
    for _ in range(n - 1):
        equal = (x == largest[..., None]).astype(jnp.float32).sum(-1)
        count = jnp.minimum(equal, left)
        total, left = total + jnp.where(count > 0, count * largest, 0.0), left - count
        largest = jnp.where(x < largest[..., None], x, -jnp.inf).max(-1)
    return (total + jnp.where(left > 0, largest, 0.0)) / n  # at most one value is left


def pad_ends(
    y: jax.Array | np.ndarray, frame_length: int, center: bool, pad_mode: str
) -> jax.Array:
    """Pads y [..., samples] at both ends by half a frame if `center`, as librosa does; float32."""
    chex.assert_shape(y, (..., None))
    y = jnp.asarray(y, jnp.float32)
    if center:
        half = frame_length // 2
        return jnp.pad(y, [(0, 0)] * (y.ndim - 1) + [(half, half)], mode=pad_mode)
    if y.shape[-1] < frame_length:
        raise InputError(
            f"a signal of {y.shape[-1]} samples is shorter than a frame of {frame_length}: "
            "expected at least one frame, use center=True or a shorter frame"
        )
    return y


@lru_cache(maxsize=32)
def _mel_filters(
    sr: float,
    n_fft: int,
    n_mels: int,
    fmin: float,
    fmax: float | None,
    htk: bool,
    norm: Literal["slaney"] | float | None,
) -> np.ndarray:
    import librosa  # not at the top: librosa is loaded only when a program is traced

    return librosa.filters.mel(
        sr=sr, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, htk=htk, norm=norm
    )


@lru_cache(maxsize=32)
def _cosines(
    n_mels: int, n_mfcc: int, dct_type: int, norm: str | None, lifter: float
) -> np.ndarray:
    import scipy.fft  # not at the top: SciPy is loaded only when a program is traced

    cosines = np.asarray(scipy.fft.dct(np.eye(n_mels), type=dct_type, norm=norm, axis=0))[:n_mfcc]
    if lifter > 0:
        index = np.arange(1, 1 + len(cosines))
        cosines = cosines * (1 + (lifter / 2) * np.sin(np.pi * index / lifter)[:, None])
    return cosines.astype(np.float32)
