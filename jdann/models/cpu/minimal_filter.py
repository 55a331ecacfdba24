"""Convolution along frames with fewer multiplications, by minimal filters.

Winograd, "Arithmetic complexity of computations", 1980; for neural networks Lavin and Gray, "Fast
algorithms for convolutional neural networks", 2016.

A filter with `taps` weights computes `outputs` neighbouring results from one tile of
`outputs + taps - 1` frames. A plain filter needs `outputs * taps` multiplications for them. A
minimal filter needs `outputs + taps - 1`:

1. It takes the tile and the filter as polynomials and evaluates both at `points` numbers.
2. It multiplies the values point by point. With channels, each product is a product of matrices.
3. It computes the results from the products by interpolation.

Steps 1 and 3 are sums with constant weights: the three matrices of `transforms`. With 8 points, a
minimal filter needs 2.5 times fewer products for 5 taps and 2.25 times fewer for 3 taps. The sums
lose two or three of the 24 binary digits of float32. Of bfloat16 they would leave too few, so all
products are float32.

A stride is removed first: each phase (remainder of the frame number modulo the stride) becomes a
group of channels.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Where the polynomials are evaluated, and also at infinity. Small powers of two of both signs: the
# sums then have few terms and lose few digits.
POINTS = (0, 1, -1, 2, -2, 1 / 2, -1 / 2)
# The number of multiplications in a plain convolution from which on the longer compilation pays.
MINIMUM_MULTIPLICATIONS = 2**24


@functools.cache
def transforms(taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the matrices of a minimal filter.

    With `results, weights, tile = transforms(taps)`, the result q of a tile, which is the sum over
    k of filter[k] * tile[q + k], is entry q of
    `results.T @ ((weights @ filter) * (tile @ values))`, where `values` are the tile's frames.

    Args:
      taps: number of weights of the filter, 2 to 7.

    Returns:
      For the results [points, outputs], for the weights [points, taps], and for the tile
      [points, points].
    """

    def powers(count: int) -> np.ndarray:
        finite = np.vander(POINTS, count, increasing=True)
        infinity = np.eye(count)[-1:]  # there, a polynomial is its highest coefficient
        return np.concatenate([finite, infinity])

    # Polynomials are multiplied by evaluation, multiplication and interpolation. A filter is the
    # transpose of this multiplication.
    points = len(POINTS) + 1
    tile = np.linalg.inv(powers(points)).T
    # Move a power of two from the tile to the weights, so that the numbers are of similar size.
    size = 2.0 ** np.round(np.log2(np.abs(tile).max(axis=1, keepdims=True)))
    return powers(points + 1 - taps), powers(taps) * size, tile / size


def _weighted_sums(matrix: np.ndarray, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """Returns, for each row of the matrix, the sum of the parts with the row's weights."""
    rows = (
        [(float(w), part) for w, part in zip(row, parts, strict=True) if abs(w) > 1e-9]
        for row in matrix
    )
    return [
        functools.reduce(jnp.add, (part if w == 1 else w * part for w, part in row)) for row in rows
    ]


def _every_step(x: jax.Array, first: int, step: int, count: int) -> jax.Array:
    """Returns the frames first, first + step, ... of each clip: [batch * count, channels]."""
    frames = lax.slice_in_dim(x, first, first + (count - 1) * step + 1, step, axis=1)
    return frames.reshape(-1, x.shape[-1])


def _tiles_at_points(
    x: jax.Array, taps: int, stride: int, before: int, windows: int
) -> list[jax.Array]:
    """Cuts x into tiles, and evaluates each tile at each point.

    Args:
      x: [batch, frames, channels].
      taps: of the filter without stride.
      stride: of the convolution.
      before: frames by which the first window begins before x.
      windows: number of windows.

    Returns:
      One array [batch * tiles, stride * channels] per point.
    """
    results, _, tile = transforms(taps)
    points, outputs = results.shape
    tiles = -(-windows // outputs)
    after = ((tiles - 1) * outputs + points) * stride - before - x.shape[1]
    # A negative margin cuts.
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (before, after, 0), (0, 0, 0)])
    # Each phase separately: XLA is slow when it fuses these sums with a move of frames to channels.
    phases = (
        [_every_step(x, place * stride + phase, outputs * stride, tiles) for place in range(points)]
        for phase in range(stride)
    )
    return [
        jnp.concatenate(values, axis=-1)
        for values in zip(*(_weighted_sums(tile, phase) for phase in phases), strict=True)
    ]


def _taps_without_stride(size: int, stride: int) -> int:
    """Returns the number of taps after the stride has been moved to the channels, at least 2."""
    return max(-(-size // stride), 2)


def _without_stride(kernel: jax.Array, stride: int) -> jax.Array:
    """Returns [taps, stride * in, channels] of a kernel [size, in, channels], padded with zeros."""
    taps = _taps_without_stride(len(kernel), stride)
    padded = jnp.pad(kernel, [(0, taps * stride - len(kernel)), (0, 0), (0, 0)])
    return padded.reshape(taps, -1, kernel.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def correlate(
    x: jax.Array,
    kernel: jax.Array,
    stride: int,
    before: int,
    windows: int,
    dtype: Any = jnp.float32,
) -> jax.Array:
    """Multiplies each window of x with the kernel.

    Args:
      x: [batch, frames, in] float32.
      kernel: [size, in, channels] float32; ceil(size / stride) is at most 7.
      stride: from one window to the next, in frames.
      before: frames by which the first window begins before x.
      windows: number of windows. What they read outside x is zero.
      dtype: x, the kernel and the result's gradient are rounded to it.

    Returns:
      [batch, windows, channels] float32.
    """
    x, kernel = (a.astype(dtype).astype(jnp.float32) for a in (x, kernel))
    kernel = _without_stride(kernel, stride)
    results, weights, _ = transforms(len(kernel))
    tiles = _tiles_at_points(x, len(kernel), stride, before, windows)
    filters = _weighted_sums(weights, list(kernel))
    products = [jnp.matmul(tile, filter_) for tile, filter_ in zip(tiles, filters, strict=True)]
    y = jnp.stack(_weighted_sums(results.T, products), axis=1)
    # [batch * tiles, outputs, channels] -> [batch, tiles * outputs, channels] -> the windows
    return y.reshape(len(x), -1, y.shape[-1])[:, :windows]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _kernel_gradient(
    x: jax.Array, gradient: jax.Array, size: int, stride: int, before: int, dtype: Any
) -> jax.Array:
    """The gradient [size, in, channels] of the kernel of `correlate`.

    Args:
      x: [batch, frames, in].
      gradient: [batch, windows, channels], of the result.
      size: of the kernel.
      stride: as in `correlate`.
      before: as in `correlate`.
      dtype: as in `correlate`.
    """
    x, gradient = (a.astype(dtype).astype(jnp.float32) for a in (x, gradient))
    taps, windows = _taps_without_stride(size, stride), gradient.shape[1]
    results, weights, _ = transforms(taps)
    outputs = results.shape[1]
    count = -(-windows // outputs)
    gradient = jnp.pad(gradient, [(0, 0), (0, count * outputs - windows), (0, 0)])
    places = [_every_step(gradient, place, outputs, count) for place in range(outputs)]
    at_points = _weighted_sums(results, places)  # [batch * tiles, channels] per point
    tiles = _tiles_at_points(x, taps, stride, before, windows)
    products = [
        jnp.einsum("ni,no->io", tile, value) for tile, value in zip(tiles, at_points, strict=True)
    ]
    kernel = jnp.stack(_weighted_sums(weights.T, products))  # [taps, stride * in, channels]
    return kernel.reshape(taps * stride, x.shape[-1], -1)[:size]


def _input_gradient(
    gradient: jax.Array, kernel: jax.Array, stride: int, before: int, frames: int, dtype: Any
) -> jax.Array:
    """The gradient [batch, frames, in] of the input of `correlate`.

    It is a convolution of the result's gradient with the mirrored kernel. The phases of the stride,
    which are channels here, become frames again.

    Args:
      gradient: [batch, windows, channels], of the result.
      kernel: [size, in, channels].
      stride: as in `correlate`.
      before: as in `correlate`.
      frames: of the input.
      dtype: as in `correlate`.
    """
    mirrored = jnp.flip(_without_stride(kernel, stride), 0).swapaxes(1, 2)
    count = -(-(before + frames) // stride)
    phases: Any = correlate(gradient, mirrored, 1, len(mirrored) - 1, count, dtype)
    # [batch, count, stride * in] -> [batch, count * stride, in]; frame 0 is frame -before of x.
    return phases.reshape(len(gradient), count * stride, kernel.shape[1])[
        :, before : before + frames
    ]


# Each of the three functions is linear in both arguments, and its derivatives are the other two.
def _backward(
    stride: int, before: int, windows: int, dtype: Any, saved: Any, gradient: jax.Array
) -> Any:
    x, kernel = saved
    x_gradient = _input_gradient(gradient, kernel, stride, before, x.shape[1], dtype)
    x = x.astype(jnp.float32)
    return x_gradient, _kernel_gradient(x, gradient, len(kernel), stride, before, dtype)


def _kernel_gradient_backward(
    size: int, stride: int, before: int, dtype: Any, saved: Any, change: jax.Array
) -> Any:
    x, gradient = saved
    by_x = _input_gradient(gradient, change, stride, before, x.shape[1], dtype)
    return by_x, correlate(x, change, stride, before, gradient.shape[1], dtype)


correlate.defvjp(
    # The last static argument is the dtype: x is saved in it, which may take half the memory.
    lambda x, kernel, *static: (correlate(x, kernel, *static), (x.astype(static[-1]), kernel)),
    _backward,
)
_kernel_gradient.defvjp(
    lambda x, gradient, *static: (_kernel_gradient(x, gradient, *static), (x, gradient)),
    _kernel_gradient_backward,
)


def is_worthwhile(x: jax.Array, kernel: jax.Array, strides: Sequence[int]) -> bool:
    """Whether `correlate` can compute a convolution, and is likely to be faster.

    Args:
      x: [batch, *spatial, in].
      kernel: [*window, in, channels].
      strides: along each spatial axis.

    Returns:
      True for one spatial axis, known sizes, enough taps to save multiplications, and a convolution
      of at least MINIMUM_MULTIPLICATIONS.
    """
    if x.ndim != 3 or not all(isinstance(n, int) for n in x.shape):
        return False
    (stride,) = strides
    multiplications = x.shape[0] * -(-x.shape[1] // stride) * kernel.size
    taps = _taps_without_stride(len(kernel), stride)
    large = multiplications >= MINIMUM_MULTIPLICATIONS
    return large and len(kernel) > 1 and taps <= len(POINTS)
