"""Convolution along frames with fewer multiplications: the minimal filters of Winograd (1980), for networks Lavin and Gray (2016).

`outputs` neighbouring results of a filter with `taps` weights take `outputs + taps - 1` products in place of `outputs * taps`.
The filter, and tiles of the input that overlap, are seen as values of a polynomial at as many points; the products of
those values, summed over channels as products of matrices, are seen as coefficients again. Eight points are 2.5 times fewer
products for five taps and 2.25 for three; the sums between the points lose two or three of float32's 24 binary digits, and would
leave bfloat16 too few, so that all of them are float32.

Of a stride the phases are channels of their own, and a filter without stride is left.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Small powers of two, of both signs, so that sums have few terms and lose little. One more point is infinity.
POINTS = (0, 1, -1, 2, -2, 1 / 2, -1 / 2)
# Multiplications of a plain convolution from which on it is worth the longer compilation.
WORTH = 2**24


@functools.cache
def matrices(taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns `of_results` [points, outputs], `of_filter` [points, taps] and `of_tile` [points, points], for 2 to 7 taps.

    Result q of a tile, the sum over k of filter[k] * tile[q + k], is entry q of
    `of_results.T @ ((of_filter @ filter) * (of_tile @ tile))`.
    """

    def powers(count: int) -> np.ndarray:
        finite = np.vander(POINTS, count, increasing=True)
        return np.concatenate(
            [finite, np.eye(count)[-1:]]
        )  # at infinity a polynomial is its highest coefficient

    # To multiply polynomials is to evaluate both, multiply and interpolate; a filter is the transpose of that.
    points = len(POINTS) + 1
    of_tile = np.linalg.inv(powers(points)).T
    size = 2.0 ** np.round(np.log2(np.abs(of_tile).max(axis=1, keepdims=True)))
    return powers(points + 1 - taps), powers(taps) * size, of_tile / size


def _combined(matrix: np.ndarray, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """For each row of the matrix the sum of the parts, weighted by it."""
    rows = (
        [(float(c), part) for c, part in zip(row, parts, strict=True) if abs(c) > 1e-9]
        for row in matrix
    )
    return [
        functools.reduce(jnp.add, (part if c == 1 else c * part for c, part in row)) for row in rows
    ]


def _places(x: jax.Array, first: int, step: int, count: int) -> jax.Array:
    """Frames first, first + step, ... of every clip: [batch * count, channels]."""
    return lax.slice_in_dim(x, first, first + (count - 1) * step + 1, step, axis=1).reshape(
        -1, x.shape[-1]
    )


def _points_of_tiles(
    x: jax.Array, taps: int, stride: int, before: int, out: int
) -> list[jax.Array]:
    """Tiles of x at each point, [batch * tiles, stride * channels]."""
    of_results, _, of_tile = matrices(taps)
    points, outputs = of_results.shape
    count = -(-out // outputs)
    after = ((count - 1) * outputs + points) * stride - before - x.shape[1]
    x = lax.pad(
        x, jnp.zeros((), x.dtype), [(0, 0, 0), (before, after, 0), (0, 0, 0)]
    )  # a negative margin cuts
    # Each phase by itself: XLA is slow at what it fuses with a move of frames to channels.
    phases = (
        [_places(x, place * stride + phase, outputs * stride, count) for place in range(points)]
        for phase in range(stride)
    )
    return [
        jnp.concatenate(point, axis=-1)
        for point in zip(*(_combined(of_tile, phase) for phase in phases), strict=True)
    ]


def _taps(size: int, stride: int) -> int:
    """Taps of a filter that is left without its stride."""
    return max(-(-size // stride), 2)


def _without_stride(kernel: jax.Array, stride: int) -> jax.Array:
    """[taps, stride * in, channels] of a kernel [size, in, channels], filled up with zeros."""
    taps = _taps(len(kernel), stride)
    return jnp.pad(kernel, [(0, taps * stride - len(kernel)), (0, 0), (0, 0)]).reshape(
        taps, -1, kernel.shape[-1]
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def correlate(
    x: jax.Array, kernel: jax.Array, stride: int, before: int, out: int, dtype: Any = jnp.float32
) -> jax.Array:
    """Windows of x times the kernel: [batch, out, channels] float32.

    Args:
      x: [batch, frames, in] float32.
      kernel: [size, in, channels] float32; ceil(size / stride) is at most 7.
      stride: from one window to the next, in frames.
      before: frames by which the first window begins ahead of x.
      out: windows. What they reach outside x is zero.
      dtype: x, kernel and the result's gradient are rounded to it.
    """
    x, kernel = (a.astype(dtype).astype(jnp.float32) for a in (x, kernel))
    kernel = _without_stride(kernel, stride)
    of_results, of_filter, _ = matrices(len(kernel))
    tiles = _points_of_tiles(x, len(kernel), stride, before, out)
    products = [
        jnp.matmul(tile, point)
        for tile, point in zip(tiles, _combined(of_filter, list(kernel)), strict=True)
    ]
    y = jnp.stack(_combined(of_results.T, products), axis=1)  # [batch * tiles, outputs, channels]
    return y.reshape(len(x), -1, y.shape[-1])[:, :out]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _gradient_of_kernel(
    x: jax.Array, gradient: jax.Array, size: int, stride: int, before: int, dtype: Any
) -> jax.Array:
    """[size, in, channels] float32, of the gradient [batch, out, channels] of `correlate`'s result."""
    x, gradient = (a.astype(dtype).astype(jnp.float32) for a in (x, gradient))
    taps, out = _taps(size, stride), gradient.shape[1]
    of_results, of_filter, _ = matrices(taps)
    outputs = of_results.shape[1]
    count = -(-out // outputs)
    gradient = jnp.pad(gradient, [(0, 0), (0, count * outputs - out), (0, 0)])
    results = _combined(
        of_results, [_places(gradient, place, outputs, count) for place in range(outputs)]
    )
    tiles = _points_of_tiles(x, taps, stride, before, out)
    products = [
        jnp.einsum("ni,no->io", tile, result) for tile, result in zip(tiles, results, strict=True)
    ]
    return jnp.stack(_combined(of_filter.T, products)).reshape(taps * stride, x.shape[-1], -1)[
        :size
    ]


def _gradient_of_input(
    gradient: jax.Array, kernel: jax.Array, stride: int, before: int, frames: int, dtype: Any
) -> jax.Array:
    """[batch, frames, in] float32: windows of the result's gradient times the mirrored kernel, its phases frames again."""
    mirrored = jnp.flip(_without_stride(kernel, stride), 0).swapaxes(1, 2)
    count = -(-(before + frames) // stride)
    phases: Any = correlate(
        gradient, mirrored, 1, len(mirrored) - 1, count, dtype
    )  # from frame -before on
    return phases.reshape(len(gradient), count * stride, kernel.shape[1])[
        :, before : before + frames
    ]


# Each of the three is linear in both arguments, and its derivatives are the others.
def _backward(
    stride: int, before: int, out: int, dtype: Any, saved: Any, gradient: jax.Array
) -> Any:
    x, kernel = saved
    of_input = _gradient_of_input(gradient, kernel, stride, before, x.shape[1], dtype)
    return of_input, _gradient_of_kernel(
        x.astype(jnp.float32), gradient, len(kernel), stride, before, dtype
    )


def _backward_of_kernel(
    size: int, stride: int, before: int, dtype: Any, saved: Any, change: jax.Array
) -> Any:
    x, gradient = saved
    of_input = _gradient_of_input(gradient, change, stride, before, x.shape[1], dtype)
    return of_input, correlate(x, change, stride, before, gradient.shape[1], dtype)


correlate.defvjp(
    lambda x, k, *static: (correlate(x, k, *static), (x.astype(static[-1]), k)), _backward
)
_gradient_of_kernel.defvjp(
    lambda x, g, *static: (_gradient_of_kernel(x, g, *static), (x, g)), _backward_of_kernel
)


def applies(x: jax.Array, kernel: jax.Array, strides: Sequence[int]) -> bool:
    """Whether a convolution is of this kind and worth it: one axis, all sizes known, enough taps to save products, and large."""
    if x.ndim != 3 or not all(isinstance(n, int) for n in x.shape):
        return False
    (stride,) = strides
    worth = x.shape[0] * -(-x.shape[1] // stride) * kernel.size >= WORTH
    return worth and len(kernel) > 1 and _taps(len(kernel), stride) <= len(POINTS)
