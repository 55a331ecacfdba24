"""Convolution over one or two axes, written so that XLA's CPU backend runs it fast in both directions and inside loops.

That backend has fast code for two things. A convolution whose operands lie as [batch, *spatial, in] and [*window, in, out],
without gaps between its input's entries: but not the transposed or dilated convolutions that differentiation makes of one,
least of all inside `lax.scan`; and in float32 alone. And a product of matrices, float32 or bfloat16, that are row-major and
contracted over the first's last axis and the second's first.

So value and gradients are three functions, each the derivative of the other two, and each is written as convolutions or
products of that kind. The gradient of the input is a convolution of the result's gradient by the mirrored kernel, one for
each phase of the stride. The gradient of the kernel is a convolution whose channels are the batch. Each of
these is XLA's own, or one product of the windows of its input and its kernel. Large convolutions along frames take
fewer multiplications than that, in float32: `minimal_filter.py`. Figures: benchmarks/results/train_step.md.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jdann.errors import InputError
from jdann.models.cpu import minimal_filter

PRECISIONS = {
    "float32": jnp.float32,
    "mixed": jnp.bfloat16,
}  # of what is multiplied; sums, parameters and results are float32

LAYOUTS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}

Margins = Sequence[tuple[int, int]]  # before and after each axis


def check_precision(precision: str) -> None:
    """Refuses a `config.precision` that is no key of `PRECISIONS`.

    Raises:
      InputError: names the choices.
    """
    if precision not in PRECISIONS:
        raise InputError(
            f"config.precision is {precision!r}; choose one of {', '.join(PRECISIONS)}"
        )


def strided(length: Any, stride: int) -> Any:
    """Returns what is left of `length` frames, a number or [batch], after a stride: ceil(length / stride)."""
    return -(-length // stride)


def shifted(
    x: jax.Array,
    window: Sequence[int],
    strides: Sequence[int],
    margins: Margins,
    out: Sequence[int],
) -> list[jax.Array]:
    """For each place in the window, in row-major order, what stands there: [batch, *out, channels].

    Args:
      x: [batch, *spatial, channels].
      window: places along each axis.
      strides: from one window to the next.
      margins: zeros before and after each axis; negative ones cut.
      out: windows along each axis.
    """
    padded = lax.pad(
        x,
        jnp.zeros((), x.dtype),
        [(0, 0, 0), *((before, after, 0) for before, after in margins), (0, 0, 0)],
    )
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


def centred(
    spatial: Sequence[Any], window: Sequence[int], strides: Sequence[int]
) -> tuple[list[tuple[int, int]], list[Any]]:
    """Margins and number of windows along each axis, every window beginning (size - 1) // 2 before its own frame.

    The margins are numbers even where the axes are not yet known, as in an export.
    """
    margins = [((size - 1) // 2, size // 2) for size in window]
    return margins, [strided(n, stride) for n, stride in zip(spatial, strides, strict=True)]


def _joined(parts: list[jax.Array], axis: int) -> jax.Array:
    """Concatenates; bfloat16 as integers, since XLA's CPU backend concatenates it by way of float32."""
    if len(parts) == 1 or parts[0].dtype != jnp.bfloat16:
        return jnp.concatenate(parts, axis)
    integers = jnp.concatenate([lax.bitcast_convert_type(part, jnp.uint16) for part in parts], axis)
    return lax.bitcast_convert_type(integers, jnp.bfloat16)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


def _primitive(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    margins: Margins,
    dilation: Sequence[int] | None = None,
) -> jax.Array:
    """XLA's convolution. Under `vmap` one after the other: side by side it would be a grouped convolution, which is slow."""

    @jax.custom_batching.sequential_vmap
    def one(x: jax.Array, kernel: jax.Array) -> jax.Array:
        layout = LAYOUTS[kernel.ndim - 2]
        return lax.conv_general_dilated(
            x, kernel, strides, margins, rhs_dilation=dilation, dimension_numbers=layout
        )

    return one(x, kernel)


def _by_primitive(x: jax.Array, window: Sequence[int]) -> bool:
    """Where windows overlap, XLA's convolution saves writing them down; bfloat16 it multiplies as float32.

    In an export of any length two ways to the same size are no longer seen to be the same: all sizes are ours then.
    """
    known = all(isinstance(n, int) for n in x.shape)
    return known and x.dtype == jnp.float32 and max(window) > 1


def _correlate(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], margins: Margins, out: Sequence[int]
) -> jax.Array:
    """Windows of x times the kernel: [batch, *out, channels] float32."""
    *window, _, channels = kernel.shape
    if _by_primitive(x, window):
        return _primitive(x, kernel, strides, margins)
    windows = _joined(
        shifted(x, window, strides, margins, out), axis=-1
    )  # [batch, *out, places * in]
    return _product(windows.reshape(-1, windows.shape[-1]), kernel.reshape(-1, channels)).reshape(
        x.shape[0], *out, channels
    )


def convolution_for_cpu(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], precision: str
) -> jax.Array:
    """`convolution` as XLA's CPU backend runs it fast."""
    if minimal_filter.applies(x, kernel, strides):
        ((before, _),), (out,) = centred(x.shape[1:-1], kernel.shape[:-2], strides)
        return minimal_filter.correlate(x, kernel, *strides, before, out, PRECISIONS[precision])
    return _convolution_by_windows(x, kernel, strides, precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolution_by_windows(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], precision: str
) -> jax.Array:
    x, kernel = (a.astype(PRECISIONS[precision]) for a in (x, kernel))
    margins, out = centred(x.shape[1:-1], kernel.shape[:-2], strides)
    return _correlate(x, kernel, strides, margins, out)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _gradient_of_input(
    gradient: jax.Array,
    kernel: jax.Array,
    spatial: tuple[int, ...],
    strides: tuple[int, ...],
    precision: str,
) -> jax.Array:
    """[batch, *spatial, in] float32 of the result's gradient [batch, *out, out channels].

    Frame `stride * j + phase` of x meets the places of the window that are congruent to `phase + before` modulo the
    stride: each phase is a convolution of its own, without stride, and the phases are interleaved.
    """
    gradient, kernel = (a.astype(PRECISIONS[precision]) for a in (gradient, kernel))
    *window, into, _ = kernel.shape
    longest = [strided(n, stride) for n, stride in zip(spatial, strides, strict=True)]
    mirrored = jnp.flip(kernel, range(len(window))).swapaxes(-1, -2)  # [*window, out, in]
    phases = []
    for phase in itertools.product(*(range(stride) for stride in strides)):
        places, margins = [], []
        for p, size, stride, count, length in zip(
            phase, window, strides, gradient.shape[1:-1], longest, strict=True
        ):
            ahead, first = divmod(p + (size - 1) // 2, stride)
            taps = len(range(first, size, stride))
            places.append(
                slice(size - 1 - (first + stride * (taps - 1)), size - first, stride)
                if taps
                else slice(0, 0)
            )
            margins.append((taps - 1 - ahead, length + ahead - count))
        part = mirrored[tuple(places)]
        none = jnp.zeros((gradient.shape[0], *longest, into), jnp.float32)
        phases.append(
            _correlate(gradient, part, (1,) * len(window), margins, longest) if part.size else none
        )
    if len(phases) == 1:
        return phases[0]
    axes = len(window)
    stacked = jnp.stack(phases).reshape(
        *strides, *phases[0].shape
    )  # [*strides, batch, *longest, in]
    order = [axes, *(axis for i in range(axes) for axis in (axes + 1 + i, i)), 2 * axes + 1]
    whole = [n * stride for n, stride in zip(longest, strides, strict=True)]
    interleaved = stacked.transpose(order).reshape(gradient.shape[0], *whole, into)
    return interleaved[(slice(None), *(slice(0, n) for n in spatial))]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _gradient_of_kernel(
    x: jax.Array,
    gradient: jax.Array,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    precision: str,
) -> jax.Array:
    """[*window, in, out] float32 of the result's gradient [batch, *out, out channels]."""
    x, gradient = (a.astype(PRECISIONS[precision]) for a in (x, gradient))
    margins, out = centred(x.shape[1:-1], window, strides)
    if x.dtype == jnp.float32 and max(window) == 1:
        # Where nothing is rounded XLA makes an array anew, from all that it was added up from, to move it. So this one product is
        # not moved: in groups, which both cores share, since one such product occupies a single one.
        groups = math.gcd(len(x), 4)
        (places,) = shifted(x, window, strides, margins, out)
        pair = (a.reshape(groups, -1, a.shape[-1]) for a in (places, gradient))
        products = jnp.einsum("gni,gno->gio", *pair)
        # Added one by one: XLA's CPU backend is slow in a reduction of the first axis.
        return functools.reduce(jnp.add, products).reshape(*window, x.shape[-1], -1)
    # The batch becomes the channels, which are summed over. XLA fuses a move with what made the array; one that keeps the last
    # axis stays fast then, so the gradient, made of several arrays, keeps it.
    images, kernel = (
        jnp.moveaxis(x, (-1, 0), (0, -1)),
        jnp.moveaxis(gradient, 0, -2),
    )  # [in, *spatial, batch], [*out, batch, ...]
    if _by_primitive(x, window):
        # Of a stride's last step the frames that begin no window are cut, or there would be more results than places.
        reach = [(count - 1) * stride + 1 for count, stride in zip(out, strides, strict=True)]
        sizes = zip(margins, x.shape[1:-1], reach, strict=True)
        exact = [(before, after - (n - covered)) for (before, after), n, covered in sizes]
        return jnp.moveaxis(_primitive(images, kernel, (1,) * len(window), exact, strides), 0, -2)
    windows = _joined(
        shifted(images, window, strides, margins, out), axis=0
    )  # [places * in, *out, batch]
    return _product(
        windows.reshape(len(windows), -1), kernel.reshape(-1, kernel.shape[-1])
    ).reshape(*window, x.shape[-1], -1)


def _save(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], precision: str
) -> tuple[Any, Any]:
    return _convolution_by_windows(x, kernel, strides, precision), (
        x.astype(PRECISIONS[precision]),
        kernel,
    )


def _backward(
    strides: tuple[int, ...], precision: str, saved: Any, gradient: jax.Array
) -> tuple[Any, Any]:
    x, kernel = saved
    of_input = _gradient_of_input(gradient, kernel, x.shape[1:-1], strides, precision)
    return of_input, _gradient_of_kernel(
        x.astype(jnp.float32), gradient, kernel.shape[:-2], strides, precision
    )


def _backward_of_input(
    spatial: Any, strides: Any, precision: str, saved: Any, change: jax.Array
) -> tuple[Any, Any]:
    gradient, kernel = saved
    of_kernel = _gradient_of_kernel(change, gradient, kernel.shape[:-2], strides, precision)
    return _convolution_by_windows(change, kernel, strides, precision), of_kernel


def _backward_of_kernel(
    window: Any, strides: Any, precision: str, saved: Any, change: jax.Array
) -> tuple[Any, Any]:
    x, gradient = saved
    of_input = _gradient_of_input(gradient, change, x.shape[1:-1], strides, precision)
    return of_input, _convolution_by_windows(x, change, strides, precision)


_convolution_by_windows.defvjp(_save, _backward)
_gradient_of_input.defvjp(
    lambda g, k, *static: (_gradient_of_input(g, k, *static), (g, k)), _backward_of_input
)
_gradient_of_kernel.defvjp(
    lambda x, g, *static: (_gradient_of_kernel(x, g, *static), (x, g)), _backward_of_kernel
)


def convolution_as_primitive(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], precision: str
) -> jax.Array:
    """`convolution` as XLA's own operation."""
    margins, _ = centred(x.shape[1:-1], kernel.shape[:-2], strides)
    x, kernel = (a.astype(PRECISIONS[precision]) for a in (x, kernel))
    return lax.conv_general_dilated(
        x, kernel, strides, margins, dimension_numbers=LAYOUTS[kernel.ndim - 2]
    ).astype(jnp.float32)


def convolution(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], precision: str = "float32"
) -> jax.Array:
    """Convolves over one or two axes, with zeros outside x and each window centred on its frame.

    On CPU it is `convolution_for_cpu`, elsewhere XLA's convolution, chosen by `jax.default_backend()` when the function is
    traced.

    Args:
      x: [batch, frames, in] or [batch, frames, bins, in], float32, padding set to zero.
      kernel: [size, in, out] or [frames size, bins size, in, out] float32, Flax's layout.
      strides: one for each axis that is convolved.
      precision: a key of `PRECISIONS`: "float32", or "mixed": x, kernel and the result's gradient are rounded to bfloat16
        before they are multiplied, and the products summed in float32. On CPU a large convolution along frames multiplies
        them in float32 all the same, which is faster.

    Returns:
      [batch, ceil(frames / stride), out] or [batch, ceil(frames / stride), ceil(bins / stride), out], float32.
    """
    form = convolution_for_cpu if jax.default_backend() == "cpu" else convolution_as_primitive
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
        return convolution(
            x,
            self.param("kernel", nn.initializers.he_uniform(), shape),
            self.strides,
            self.precision,
        )
