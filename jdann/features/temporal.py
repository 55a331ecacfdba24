"""Features of the waveform in JAX, and the derivative in time, as in `librosa.feature`.

Signals are float32 `[..., samples]`. `zero_crossing_rate` and `rms` return float32
`[..., 1, frames]`; `delta` keeps the shape. All gradients are finite.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jdann.errors import InputError
from jdann.features.spectral import apply_matrix, blocks, pad_ends, safe_sqrt, sliding_sum

_PADDING = {"nearest": "edge", "mirror": "reflect", "constant": "constant", "wrap": "wrap"}
"""Maps SciPy's names of padding modes to NumPy's."""


def zero_crossing_rate(
    y: jax.Array | np.ndarray,
    *,
    frame_length: int = 2048,
    hop_length: int = 512,
    center: bool = True,
    threshold: float = 1e-10,
    zero_pos: bool = True,
) -> jax.Array:
    """Fraction of each frame's samples that change sign: `librosa.feature.zero_crossing_rate`.

    Args:
      y: float32 [..., samples].
      frame_length: samples.
      hop_length: samples between frames.
      center: frame t is centred at sample t * hop_length; the end samples are repeated outwards.
      threshold: samples of at most this magnitude count as zero.
      zero_pos: zero counts as positive; otherwise as a sign of its own.

    Returns:
      float32 [..., 1, frames]. Its gradient is zero.

    Raises:
      InputError: the signal is shorter than a frame and `center` is False.
    """
    y = jax.lax.stop_gradient(pad_ends(y, frame_length, center, "edge"))
    negative = y < -threshold
    sign = (
        negative
        if zero_pos
        else jnp.where(jnp.abs(y) <= threshold, 0.0, jnp.where(negative, -1.0, 1.0))
    )
    if frame_length % hop_length:
        crossings = (sign[..., 1:] != sign[..., :-1]).astype(jnp.float32)
        return sliding_sum(crossings, frame_length - 1, hop_length)[..., None, :] / frame_length
    # Crossings within each hop and between neighbouring hops are counted once; a frame adds those
    # of its hops.
    hops, count = blocks(sign, frame_length, hop_length)
    within = (hops[..., 1:] != hops[..., :-1]).astype(jnp.float32).sum(-1)
    between = (hops[..., 1:, 0] != hops[..., :-1, -1]).astype(jnp.float32)
    number = frame_length // hop_length
    parts = [within[..., i : i + count] for i in range(number)] + [
        between[..., i : i + count] for i in range(number - 1)
    ]
    return jnp.asarray(sum(parts))[..., None, :] / frame_length


def rms(
    *,
    y: jax.Array | np.ndarray | None = None,
    S: jax.Array | np.ndarray | None = None,
    frame_length: int = 2048,
    hop_length: int = 512,
    center: bool = True,
    pad_mode: str = "constant",
) -> jax.Array:
    """Root mean square of each frame, as `librosa.feature.rms`.

    Args:
      y: float32 [..., samples].
      S: magnitude [..., 1 + frame_length // 2, frames], used only if `y` is None.
      frame_length: samples.
      hop_length: samples between frames.
      center: frame t is centred at sample t * hop_length.
      pad_mode: how the ends are padded if `center`, a mode of `jnp.pad`.

    Returns:
      float32 [..., 1, frames].

    Raises:
      InputError: neither `y` nor `S` is given, or the bins of `S` do not match `frame_length`.
    """
    if y is not None:
        squares = pad_ends(y, frame_length, center, pad_mode) ** 2
        mean_square = sliding_sum(squares, frame_length, hop_length) / frame_length
        return safe_sqrt(mean_square)[..., None, :]
    if S is None:
        raise InputError("no input: give either y, the signal, or S, its magnitude spectrogram")
    S = jnp.asarray(S)
    if S.shape[-2] != frame_length // 2 + 1:
        raise InputError(
            f"S has {S.shape[-2]} bins, "
            f"frame_length={frame_length} asks for {frame_length // 2 + 1}"
        )
    # Each bin counts twice, because its mirror image has the same power. The zero bin, and for an
    # even length the last one, has no mirror image.
    weights = np.full((1, S.shape[-2]), 2.0 / frame_length**2, np.float32)
    weights[0, 0] /= 2
    if frame_length % 2 == 0:
        weights[0, -1] /= 2
    return safe_sqrt(apply_matrix(weights, S**2))


def delta(
    data: jax.Array | np.ndarray,
    *,
    width: int = 9,
    order: int = 1,
    axis: int = -1,
    mode: str = "interp",
) -> jax.Array:
    """Local derivative by a Savitzky-Golay filter, as `librosa.feature.delta`.

    Args:
      data: float32 [...].
      width: odd number of frames >= 3 to which a polynomial is fitted.
      order: order of the derivative and of the polynomial, 1 to `width` - 1.
      axis: the axis of the frames.
      mode: treatment of the ends: "interp" fits the first and last `width` frames, and "nearest",
        "mirror", "constant" and "wrap" pad.

    Returns:
      float32 [...], the shape of `data`.

    Raises:
      InputError: `width` is even, below 3 or, with "interp", above the number of frames; `order`
        is out of range; or `mode` is unknown.
    """
    from scipy.signal import savgol_coeffs  # not at the top: scipy.signal takes long to import

    x = jnp.moveaxis(jnp.asarray(data, jnp.float32), axis, -1)  # [..., frames]
    n, half = x.shape[-1], width // 2
    if width < 3 or width % 2 == 0 or (mode == "interp" and width > n):
        limit = f" and at most {n}, the number of frames" if mode == "interp" else ""
        raise InputError(f"delta width={width}: expected an odd number of at least 3{limit}")
    if not 1 <= order < width:
        raise InputError(f"delta order={order}: expected 1 to {width - 1}, less than the width")
    if mode != "interp" and mode not in _PADDING:
        modes = ", ".join(("interp", *_PADDING))
        raise InputError(f"delta mode={mode!r}: expected one of {modes}")

    def coefficients(position: int) -> np.ndarray:
        return savgol_coeffs(width, order, deriv=order, pos=position, use="dot")

    if mode != "interp":
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)], mode=_PADDING[mode])
    n_inner = x.shape[-1] - width + 1
    inner = sum(c * x[..., i : i + n_inner] for i, c in enumerate(coefficients(half).tolist()))
    if mode != "interp":
        return jnp.moveaxis(jnp.asarray(inner), -1, axis)
    ends = np.stack([coefficients(i) for i in range(width)], -1)  # [width, positions]
    ends = ends.astype(np.float32)
    first = jnp.matmul(x[..., :width], ends[:, :half], precision="highest")
    last = jnp.matmul(x[..., n - width :], ends[:, half + 1 :], precision="highest")
    return jnp.moveaxis(jnp.concatenate([first, inner, last], -1), -1, axis)
