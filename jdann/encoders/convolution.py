"""Convolution over one or two axes as products of matrices that XLA's CPU backend runs fast, in both directions.

XLA hands a product to its fast library only where both operands are row-major, the contracted axis is the first
operand's last and the second's first, and they are float32 or bfloat16. So each of the three products of a training step
is written in that form: the result is windows of the input times the kernel; the gradient of the input is windows of
the result's gradient times the mirrored kernel, one product for each phase of the stride; the gradient of the kernel is
the result's gradient, transposed, times windows of the input. On one core of an AMD EPYC such products reach 90 GFLOP/s
in float32 and 170 with bfloat16 operands, other forms 40 to 70.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jdann.errors import InputError

PRECISIONS = {"float32": jnp.float32, "mixed": jnp.bfloat16}  # of what is multiplied; sums, parameters and results are float32


def check_precision(precision: str) -> None:
    """Refuses a `config.precision` that is no key of `PRECISIONS`.

    Raises:
      InputError: names the choices.
    """
    if precision not in PRECISIONS:
        raise InputError(f"config.precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")


def strided(length: Any, stride: int) -> Any:
    """Returns what is left of `length` frames, a number or [batch], after a stride: ceil(length / stride)."""
    return -(-length // stride)


def shifted(
    x: jax.Array, window: Sequence[int], strides: Sequence[int], margins: Sequence[tuple[int, int]], out: Sequence[int]
) -> list[jax.Array]:
    """For each place in the window, in row-major order, what stands there: [batch, *out, channels].

    Args:
      x: [batch, *spatial, channels].
      window: places along each axis.
      strides: from one window to the next.
      margins: zeros before and after each axis; negative ones cut.
      out: windows along each axis.
    """
    padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((before, after, 0) for before, after in margins), (0, 0, 0)])
    span = [(size - 1) * stride + 1 for size, stride in zip(out, strides, strict=True)]
    return [
        lax.slice(
            padded,
            (0, *place, 0),
            (x.shape[0], *(p + s for p, s in zip(place, span, strict=True)), x.shape[-1]),
            (1, *strides, 1),
        )
        for place in itertools.product(*(range(size) for size in window))
    ]


def centred(spatial: Sequence[int], window: Sequence[int], strides: Sequence[int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Margins and number of windows along each axis, every window beginning (size - 1) // 2 before its own frame."""
    out = [strided(n, stride) for n, stride in zip(spatial, strides, strict=True)]
    margins = [
        ((size - 1) // 2, (count - 1) * stride + size // 2 + 1 - n)
        for n, size, stride, count in zip(spatial, window, strides, out, strict=True)
    ]
    return margins, out


@jax.custom_vjp
def _side_by_side(parts: list[jax.Array]) -> jax.Array:
    """Concatenates along the last axis; bfloat16 as integers, which XLA's CPU backend would turn to float32 and back."""
    if len(parts) == 1:
        return parts[0]
    if parts[0].dtype != jnp.bfloat16:
        return jnp.concatenate(parts, axis=-1)
    joined = jnp.concatenate([lax.bitcast_convert_type(part, jnp.uint16) for part in parts], axis=-1)
    return lax.bitcast_convert_type(joined, jnp.bfloat16)


def _side_by_side_forward(parts: list[jax.Array]) -> tuple[jax.Array, int]:
    return _side_by_side(parts), len(parts)


def _side_by_side_backward(count: int, gradient: jax.Array) -> tuple[list[jax.Array]]:
    return (jnp.split(gradient, count, axis=-1),)


_side_by_side.defvjp(_side_by_side_forward, _side_by_side_backward)


def _correlate(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], margins: Sequence[tuple[int, int]], out: Sequence[int]
) -> jax.Array:
    """Windows of x times the kernel: [batch, *out, channels] float32."""
    *window, _, channels = kernel.shape
    windows = _side_by_side(shifted(x, window, strides, margins, out))  # [batch, *out, places * in]
    return _product(windows.reshape(-1, windows.shape[-1]), kernel.reshape(-1, channels)).reshape(*windows.shape[:-1], channels)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolution_as_product(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], precision: str) -> jax.Array:
    """`convolution` as one matrix product of all windows and the kernel, its gradients likewise."""
    return _forward(x, kernel, strides, precision)[0]


def _forward(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], precision: str
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    x, kernel = (a.astype(PRECISIONS[precision]) for a in (x, kernel))
    margins, out = centred(x.shape[1:-1], kernel.shape[:-2], strides)
    return _correlate(x, kernel, strides, margins, out), (x, kernel)


def _backward(
    strides: tuple[int, ...], precision: str, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    gradient = gradient.astype(PRECISIONS[precision])
    return _gradient_of_input(gradient, kernel, strides, x.shape[1:-1]), _gradient_of_kernel(gradient, x, kernel.shape, strides)


convolution_as_product.defvjp(_forward, _backward)


def _gradient_of_kernel(gradient: jax.Array, x: jax.Array, shape: tuple[int, ...], strides: Sequence[int]) -> jax.Array:
    """[*window, in, out] float32 of the result's gradient [batch, *out, out channels]."""
    *window, into, channels = shape
    margins, out = centred(x.shape[1:-1], window, strides)
    windows = _side_by_side(shifted(x, window, strides, margins, out))
    # Moved before it is flattened, and back after: a plain transpose XLA would fold into the product, out of its fast form.
    rows = jnp.moveaxis(gradient, -1, 0).reshape(channels, -1)  # [out channels, batch * out]
    product = _product(rows, windows.reshape(-1, windows.shape[-1]))  # [out channels, places * in]
    return jnp.moveaxis(product.reshape(channels, *window, into), 0, -1)


def _gradient_of_input(gradient: jax.Array, kernel: jax.Array, strides: Sequence[int], spatial: Sequence[int]) -> jax.Array:
    """[batch, *spatial, in] float32 of the result's gradient [batch, *out, out channels].

    Frame `stride * j + phase` of x meets the places of the window that are congruent to `phase + before` modulo the
    stride: each phase is a convolution of its own, without stride, and the phases are interleaved.
    """
    *window, into, _ = kernel.shape
    longest = [strided(n, stride) for n, stride in zip(spatial, strides, strict=True)]
    mirrored = jnp.flip(kernel, range(len(window))).swapaxes(-1, -2)  # [*window, out, in]
    phases = []
    for phase in itertools.product(*(range(stride) for stride in strides)):
        places, margins = [], []
        for p, size, stride, count, length in zip(phase, window, strides, gradient.shape[1:-1], longest, strict=True):
            ahead, first = divmod(p + (size - 1) // 2, stride)
            taps = len(range(first, size, stride))
            places.append(slice(size - 1 - (first + stride * (taps - 1)), size - first, stride) if taps else slice(0, 0))
            margins.append((taps - 1 - ahead, length + ahead - count))
        part = mirrored[tuple(places)]
        none = jnp.zeros((gradient.shape[0], *longest, into), jnp.float32)
        phases.append(_correlate(gradient, part, (1,) * len(window), margins, longest) if part.size else none)
    if len(phases) == 1:
        return phases[0]
    axes = len(window)
    stacked = jnp.stack(phases).reshape(*strides, *phases[0].shape)  # [*strides, batch, *longest, in]
    order = [axes, *(axis for i in range(axes) for axis in (axes + 1 + i, i)), 2 * axes + 1]
    whole = stacked.transpose(order).reshape(
        gradient.shape[0], *(n * stride for n, stride in zip(longest, strides, strict=True)), into
    )
    return whole[(slice(None), *(slice(0, n) for n in spatial))]


def convolution_as_primitive(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], precision: str) -> jax.Array:
    """`convolution` as XLA's own operation."""
    *window, _, _ = kernel.shape
    margins = [((size - 1) // 2, size // 2) for size in window]
    layout = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}[len(window)]
    x, kernel = (a.astype(PRECISIONS[precision]) for a in (x, kernel))
    return lax.conv_general_dilated(x, kernel, strides, margins, dimension_numbers=layout).astype(jnp.float32)


def convolution(x: jax.Array, kernel: jax.Array, strides: Sequence[int], precision: str = "float32") -> jax.Array:
    """Convolves over one or two axes, with zeros outside x and each window centred on its frame.

    On CPU it is matrix products, elsewhere XLA's convolution, chosen by `jax.default_backend()` when the function is
    traced. XLA's CPU backend is slow in a convolution's gradients, in the grouped convolution that `vmap` over
    kernels makes, and many times slower where they stand inside `lax.scan` and `lax.map`, where training spends its
    time; a matrix product is none of that.

    Args:
      x: [batch, frames, in] or [batch, frames, bins, in], float32, padding set to zero.
      kernel: [size, in, out] or [frames size, bins size, in, out] float32, Flax's layout.
      strides: one for each axis that is convolved.
      precision: a key of `PRECISIONS`: "float32", or "mixed": x, kernel and the result's gradient are rounded to bfloat16
        before they are multiplied, and the products summed in float32.

    Returns:
      [batch, ceil(frames / stride), out] or [batch, ceil(frames / stride), ceil(bins / stride), out], float32.
    """
    form = convolution_as_product if jax.default_backend() == "cpu" else convolution_as_primitive
    return form(x, kernel, tuple(strides), precision)


class Convolution(nn.Module):
    """`convolution` with its own kernel, uniform after He et al. (2015), and no bias: batch norm follows.

    Fields:
      channels: of the result.
      window: kernel size along each axis.
      strides: along each axis.
      precision: a key of `PRECISIONS`.
    """

    channels: int
    window: tuple[int, ...]
    strides: tuple[int, ...]
    precision: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.window, x.shape[-1], self.channels)
        return convolution(x, self.param("kernel", nn.initializers.he_uniform(), shape), self.strides, self.precision)
