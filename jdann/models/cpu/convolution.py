"""Convolution over one or two axes that XLA's CPU backend runs fast, with its derivatives.

Read this file only to make training on a CPU faster. The results are those of
`jdann.models.convolution.convolution_as_primitive`, which all other devices use.

XLA's CPU backend has fast code for two operations:

- a convolution in float32 of arrays [batch, *spatial, in] and [*window, in, out]. But
  differentiation turns it into transposed and dilated convolutions, and these are slow, above all
  inside `lax.scan`.
- a product of two row-major matrices in float32 or bfloat16, over the last axis of the first matrix
  and the first axis of the second.

So this file writes the convolution and its two gradients as operations of these two kinds:

- The gradient of the input is a convolution of the result's gradient with the mirrored kernel. With
  a stride, there is one such convolution for each phase (each remainder of the frame number).
- The gradient of the kernel is a convolution in which the batch takes the place of the channels.

Each of the three functions is linear in both of its arguments, and its derivatives are the other
two. Large convolutions along frames go to `minimal_filter.py`, which needs fewer multiplications.
The measurements are in benchmarks/results/train_step.md.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jdann.models.cpu import minimal_filter
from jdann.models.windows import LAYOUTS, Margins, centred, shifted, strided


def _concatenate(parts: list[jax.Array], axis: int) -> jax.Array:
    """Concatenates. XLA's CPU backend converts bfloat16 to float32 for this, but not integers."""
    if len(parts) == 1 or parts[0].dtype != jnp.bfloat16:
        return jnp.concatenate(parts, axis)
    integers = jnp.concatenate([lax.bitcast_convert_type(part, jnp.uint16) for part in parts], axis)
    return lax.bitcast_convert_type(integers, jnp.bfloat16)


def _matrix_product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


def _primitive(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    margins: Margins,
    dilation: Sequence[int] | None = None,
) -> jax.Array:
    """XLA's convolution. `vmap` runs it in a loop: XLA's grouped convolution would be slow."""

    @jax.custom_batching.sequential_vmap
    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        layout = LAYOUTS[kernel.ndim - 2]
        return lax.conv_general_dilated(
            x, kernel, strides, margins, rhs_dilation=dilation, dimension_numbers=layout
        )

    return convolve(x, kernel)


def _is_primitive_faster(x: jax.Array, window: Sequence[int]) -> bool:
    """Whether to use XLA's convolution instead of one product with all windows written out.

    XLA's convolution saves the memory of windows that overlap. But it computes bfloat16 in float32.
    And in an export for any length, XLA cannot see that its sizes equal ours.
    """
    sizes_known = all(isinstance(n, int) for n in x.shape)
    return sizes_known and x.dtype == jnp.float32 and max(window) > 1


def _correlate(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    margins: Margins,
    windows: Sequence[int],
) -> jax.Array:
    """Multiplies each window of x with the kernel.

    Args:
      x: [batch, *spatial, in].
      kernel: [*window, in, out].
      strides: from one window to the next, along each spatial axis.
      margins: zeros before and after each spatial axis; negative ones cut.
      windows: number of windows along each spatial axis.

    Returns:
      [batch, *windows, out] float32.
    """
    *window, _, channels = kernel.shape
    if _is_primitive_faster(x, window):
        return _primitive(x, kernel, strides, margins)
    parts = shifted(x, window, strides, margins, windows)
    rows = _concatenate(parts, axis=-1)  # [batch, *windows, places * in]
    rows = rows.reshape(-1, rows.shape[-1])  # [batch * windows, places * in]
    product = _matrix_product(rows, kernel.reshape(-1, channels))  # [batch * windows, out]
    return product.reshape(x.shape[0], *windows, channels)


def convolution_for_cpu(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], dtype: Any
) -> jax.Array:
    """`jdann.models.convolution.convolution` in the form that XLA's CPU backend runs fast.

    Args:
      x: [batch, *spatial, in] float32, with one or two spatial axes.
      kernel: [*window, in, out] float32.
      strides: along each spatial axis.
      dtype: float32 or bfloat16, to which the factors are rounded.

    Returns:
      [batch, *windows, out] float32.
    """
    if minimal_filter.is_worthwhile(x, kernel, strides):
        ((before, _),), (windows,) = centred(x.shape[1:-1], kernel.shape[:-2], strides)
        return minimal_filter.correlate(x, kernel, *strides, before, windows, dtype)
    return _convolution_by_windows(x, kernel, strides, dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolution_by_windows(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], dtype: Any
) -> jax.Array:
    x, kernel = (a.astype(dtype) for a in (x, kernel))
    margins, windows = centred(x.shape[1:-1], kernel.shape[:-2], strides)
    return _correlate(x, kernel, strides, margins, windows)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _input_gradient(
    gradient: jax.Array,
    kernel: jax.Array,
    spatial: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: Any,
) -> jax.Array:
    """The gradient of the input of a convolution.

    Frame `stride * j + phase` of x meets only those places of the window that are congruent to
    `phase + before` modulo the stride. So each phase is a convolution without stride, and the
    phases are interleaved afterwards.

    Args:
      gradient: [batch, *windows, out], of the convolution's result.
      kernel: [*window, in, out].
      spatial: size of x along each spatial axis.
      strides: along each spatial axis.
      dtype: float32 or bfloat16, to which the factors are rounded.

    Returns:
      [batch, *spatial, in] float32.
    """
    gradient, kernel = (a.astype(dtype) for a in (gradient, kernel))
    *window, channels, _ = kernel.shape
    counts = [strided(n, stride) for n, stride in zip(spatial, strides, strict=True)]
    mirrored = jnp.flip(kernel, range(len(window))).swapaxes(-1, -2)  # [*window, out, in]
    phases = []
    for phase in itertools.product(*(range(stride) for stride in strides)):
        axes = zip(phase, window, strides, gradient.shape[1:-1], counts, strict=True)
        places, margins = zip(*(_phase_of_axis(*axis) for axis in axes), strict=True)
        part = mirrored[places]
        if part.size:
            phases.append(_correlate(gradient, part, (1,) * len(window), margins, counts))
        else:  # a stride larger than the window: no window reads the frames of this phase
            phases.append(jnp.zeros((gradient.shape[0], *counts, channels), jnp.float32))
    if len(phases) == 1:
        return phases[0]
    return _interleave(phases, strides)[(slice(None), *(slice(0, n) for n in spatial))]


def _phase_of_axis(
    phase: int, size: int, stride: int, windows: int, count: int
) -> tuple[slice, tuple[int, int]]:
    """Along one axis: the places of the mirrored kernel that meet a phase, and the margins.

    Args:
      phase: remainder of the frame number modulo the stride.
      size: of the window.
      stride: of the convolution.
      windows: entries of the result's gradient.
      count: frames of each phase.
    """
    ahead, first = divmod(phase + (size - 1) // 2, stride)
    taps = len(range(first, size, stride))
    margins = (taps - 1 - ahead, count + ahead - windows)
    if not taps:
        return slice(0, 0), margins
    return slice(size - 1 - (first + stride * (taps - 1)), size - first, stride), margins


def _interleave(phases: list[jax.Array], strides: Sequence[int]) -> jax.Array:
    """Puts entry j of phase p at `stride * j + p`, along each spatial axis.

    Args:
      phases: arrays [batch, *counts, channels], in row-major order of the phases.
      strides: the number of phases along each spatial axis.

    Returns:
      [batch, *(counts * strides), channels].
    """
    batch, *counts, channels = phases[0].shape
    axes = len(strides)
    stacked = jnp.stack(phases).reshape(*strides, *phases[0].shape)
    # [*strides, batch, *counts, channels] -> [batch, count, stride, count, stride, ..., channels]
    pairs = (axis for i in range(axes) for axis in (axes + 1 + i, i))
    sizes = [n * stride for n, stride in zip(counts, strides, strict=True)]
    return stacked.transpose([axes, *pairs, 2 * axes + 1]).reshape(batch, *sizes, channels)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _kernel_gradient(
    x: jax.Array,
    gradient: jax.Array,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: Any,
) -> jax.Array:
    """The gradient of the kernel of a convolution.

    Args:
      x: [batch, *spatial, in].
      gradient: [batch, *windows, out], of the convolution's result.
      window: size of the kernel along each spatial axis.
      strides: along each spatial axis.
      dtype: float32 or bfloat16, to which the factors are rounded.

    Returns:
      [*window, in, out] float32.
    """
    x, gradient = (a.astype(dtype) for a in (x, gradient))
    margins, windows = centred(x.shape[1:-1], window, strides)
    if x.dtype == jnp.float32 and max(window) == 1:
        return _pointwise_kernel_gradient(x, gradient, window, strides)
    # The batch takes the place of the channels, which are summed over. XLA fuses such a transpose
    # with the operations that made the array. This stays fast only if the last axis stays last.
    # The gradient is the result of several operations, so its last axis is kept.
    images = jnp.moveaxis(x, (-1, 0), (0, -1))  # [in, *spatial, batch]
    kernel = jnp.moveaxis(gradient, 0, -2)  # [*windows, batch, out]
    if _is_primitive_faster(x, window):
        # Cut the frames after the last window. Otherwise there would be more results than places.
        covered = [(n - 1) * stride + 1 for n, stride in zip(windows, strides, strict=True)]
        sizes = zip(margins, x.shape[1:-1], covered, strict=True)
        margins = [(before, after - (n - used)) for (before, after), n, used in sizes]
        return jnp.moveaxis(_primitive(images, kernel, (1,) * len(window), margins, strides), 0, -2)
    parts = shifted(images, window, strides, margins, windows)
    rows = _concatenate(parts, axis=0)  # [places * in, *windows, batch]
    rows = rows.reshape(len(rows), -1)  # [places * in, windows * batch]
    product = _matrix_product(rows, kernel.reshape(-1, kernel.shape[-1]))  # [places * in, out]
    return product.reshape(*window, x.shape[-1], -1)


def _pointwise_kernel_gradient(
    x: jax.Array, gradient: jax.Array, window: Sequence[int], strides: Sequence[int]
) -> jax.Array:
    """`_kernel_gradient` of a kernel that has one place, in float32.

    Without rounding to bfloat16, XLA would compute x anew from its parts in order to transpose it.
    So nothing is transposed here. The product is cut into groups of clips, because XLA computes
    such a product on a single core, and several of them on several cores.
    """
    margins, windows = centred(x.shape[1:-1], window, strides)
    groups = math.gcd(len(x), 4)
    (places,) = shifted(x, window, strides, margins, windows)
    pair = (a.reshape(groups, -1, a.shape[-1]) for a in (places, gradient))
    products = jnp.einsum("gni,gno->gio", *pair)
    # A chain of sums, because XLA's CPU backend is slow at a sum over the first axis.
    return functools.reduce(jnp.add, products).reshape(*window, x.shape[-1], -1)


def _forward(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], dtype: Any
) -> tuple[Any, Any]:
    y = _convolution_by_windows(x, kernel, strides, dtype)
    # x is saved in the lower precision, which takes half the memory.
    return y, (x.astype(dtype), kernel)


def _backward(
    strides: tuple[int, ...], dtype: Any, saved: Any, gradient: jax.Array
) -> tuple[Any, Any]:
    x, kernel = saved
    x_gradient = _input_gradient(gradient, kernel, x.shape[1:-1], strides, dtype)
    x = x.astype(jnp.float32)
    return x_gradient, _kernel_gradient(x, gradient, kernel.shape[:-2], strides, dtype)


def _input_gradient_backward(
    spatial: Any, strides: Any, dtype: Any, saved: Any, change: jax.Array
) -> tuple[Any, Any]:
    gradient, kernel = saved
    by_kernel = _kernel_gradient(change, gradient, kernel.shape[:-2], strides, dtype)
    return _convolution_by_windows(change, kernel, strides, dtype), by_kernel


def _kernel_gradient_backward(
    window: Any, strides: Any, dtype: Any, saved: Any, change: jax.Array
) -> tuple[Any, Any]:
    x, gradient = saved
    by_x = _input_gradient(gradient, change, x.shape[1:-1], strides, dtype)
    return by_x, _convolution_by_windows(x, change, strides, dtype)


_convolution_by_windows.defvjp(_forward, _backward)
_input_gradient.defvjp(
    lambda gradient, kernel, *static: (
        _input_gradient(gradient, kernel, *static),
        (gradient, kernel),
    ),
    _input_gradient_backward,
)
_kernel_gradient.defvjp(
    lambda x, gradient, *static: (_kernel_gradient(x, gradient, *static), (x, gradient)),
    _kernel_gradient_backward,
)
