"""Computations that a CPU does faster in another way than an accelerator."""

from collections.abc import Callable
from functools import partial, reduce
from operator import add
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

LAYOUT = ("NWC", "WIO", "NWC")  # XLA's names of the axes of input, kernel and result


def clip_by_clip(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function with the same results, which takes one clip after the other on a CPU.

    There, what is computed of one clip stays in the processor's cache, and memory holds it for one
    clip only. On other platforms `function` gets the whole batch.

    Args:
      function: from arrays [batch, ...] to arrays [batch, ...], each clip independent of the
        others.
    """

    def of_clip(clip: tuple[jax.Array, ...]) -> Any:
        result = function(*(x[None] for x in clip))
        return jax.tree.map(lambda x: x[0], result)

    def one_by_one(*batch: jax.Array) -> Any:
        return lax.map(of_clip, batch)

    def call(*batch: jax.Array) -> Any:
        return lax.platform_dependent(*batch, cpu=one_by_one, default=function)

    return call


def convolved(x: jax.Array, kernel: jax.Array, stride: int, margin: int, dtype: Any) -> jax.Array:
    """Convolves along frames, with factors rounded to `dtype`.

    On a CPU, sums are float32. On other platforms the result is rounded, too.

    Args:
      x: [batch, n, in].
      kernel: [taps, in, out].
      stride: frames of x between two frames of the result.
      margin: how many zeros stand at both ends of x.
      dtype: jnp.float32 or jnp.bfloat16.

    Returns:
      [batch, (n + 2 * margin - taps) // stride + 1, out] float32.
    """
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    options = {"stride": stride, "margin": margin}
    directly = partial(_convolved_directly, **options)
    # On a CPU, XLA convolves in float32, and products of matrices in bfloat16 are twice as fast.
    # With a stride of 1 or a single input channel the matrices would be too small for that.
    if dtype == jnp.bfloat16 and stride > 1 and kernel.shape[1] > 1:
        on_cpu = partial(_convolved_by_products, **options)
    else:
        on_cpu = partial(_convolved_directly, dtype=jnp.float32, **options)
    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=directly)


def _convolved_directly(
    x: jax.Array, kernel: jax.Array, *, stride: int, margin: int, dtype: Any = None
) -> jax.Array:
    """The convolution as one operation; its factors and result have this type."""
    x, kernel = x.astype(dtype or x.dtype), kernel.astype(dtype or x.dtype)
    margins = ((margin, margin),)
    y = lax.conv_general_dilated(x, kernel, (stride,), margins, dimension_numbers=LAYOUT)
    return y.astype(jnp.float32)


def _convolved_by_products(
    x: jax.Array, kernel: jax.Array, *, stride: int, margin: int
) -> jax.Array:
    """The convolution as a sum of products of matrices, each with `stride` taps."""
    taps, width, channels = kernel.shape
    frames = (x.shape[1] + 2 * margin - taps) // stride + 1
    count = -(-taps // stride)  # of the products
    strides = frames + count - 1
    x = jnp.pad(x, ((0, 0), (margin, margin + count * stride - taps), (0, 0)))
    x = x[:, : strides * stride].reshape(x.shape[0], strides, stride * width)
    products = []
    for i in range(count):
        taps_of_stride = kernel[i * stride : (i + 1) * stride].reshape(-1, channels)
        rows = x[:, i : i + frames, : len(taps_of_stride)]
        products.append(
            jnp.einsum("bti,io->bto", rows, taps_of_stride, preferred_element_type=jnp.float32)
        )
    return reduce(add, products)
