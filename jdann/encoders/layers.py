"""Layers of which no result depends on padding: convolution, masked batch norm, masked pooling.

A batch is `[batch, frames, ..., channels]` with `length[batch]` in frames; frames at and after the length are padding.

Every layer keeps two laws. Padded frames are zero wherever a window could reach them. And a window begins
`(size - 1) // 2` frames before its own frame, however many frames the array has, and a stride keeps the frames
0, stride, 2 stride, ... So n frames become ceil(n / stride), for the array and for each length alike. These are the
windows of PyTorch's `padding=kernel_size // 2`; XLA's `SAME`, equal at stride 1, shifts strided windows by a frame
between an odd and an even number of frames, so that padding would change the result.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jdann.errors import InputError


def checked(features: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns an encoder's input in float32 with its padding set to zero, and the lengths in int32.

    Args:
      features: [batch, frames, bins], float32 or float16.
      length: [batch], valid frames of each clip, 1 to frames.

    Returns:
      features [batch, frames, bins] float32 and length [batch] int32.

    Raises:
      InputError: the shapes are not those.
    """
    if features.ndim != 3 or length.shape != features.shape[:1]:
        raise InputError(
            f"an encoder got features of shape {features.shape} and lengths of shape {length.shape}; "
            "give it [batch, frames, bins] and [batch]"
        )
    mask = frame_mask(length, features)
    # `where`, not a product: padding may hold anything, NaN included.
    return jnp.where(mask, features.astype(jnp.float32), 0.0), length.astype(jnp.int32)


def frame_mask(length: jax.Array, x: jax.Array) -> jax.Array:
    """Says which frames of x are not padding.

    Args:
      length: [batch], in frames.
      x: [batch, frames, ...].

    Returns:
      bool [batch, frames, 1, ...], with as many axes as x.
    """
    mask = jnp.arange(x.shape[1]) < length[:, None]  # [batch, frames]
    return mask.reshape(mask.shape + (1,) * (x.ndim - 2))


def strided(length: Any, stride: int) -> Any:
    """Returns what is left of `length` frames, a number or [batch], after a stride: ceil(length / stride)."""
    return -(-length // stride)


def _shifted(x: jax.Array, window: Sequence[int], strides: Sequence[int]) -> list[jax.Array]:
    """For each place in the window, in row-major order, what stands there: [batch, *ceil(spatial / strides), channels].

    Outside x stands zero.
    """
    margins = [((size - 1) // 2, size // 2) for size in window]
    padded = jnp.pad(x, [(0, 0), *margins, (0, 0)])
    span = [(strided(size, stride) - 1) * stride + 1 for size, stride in zip(x.shape[1:-1], strides, strict=True)]
    return [
        lax.slice(
            padded,
            (0, *place, 0),
            (x.shape[0], *(p + s for p, s in zip(place, span, strict=True)), x.shape[-1]),
            (1, *strides, 1),
        )
        for place in itertools.product(*(range(size) for size in window))
    ]


def convolution_as_product(x: jax.Array, kernel: jax.Array, strides: Sequence[int]) -> jax.Array:
    """`convolution` as one matrix product of all windows and the kernel."""
    *window, _, channels = kernel.shape
    windows = jnp.concatenate(_shifted(x, window, strides), axis=-1)  # [batch, *spatial, places * in]
    # Two axes: XLA's CPU backend is up to three times slower on the same product with more.
    product = windows.reshape(-1, windows.shape[-1]) @ kernel.reshape(-1, channels)
    return product.reshape(*windows.shape[:-1], channels)


def convolution_as_primitive(x: jax.Array, kernel: jax.Array, strides: Sequence[int]) -> jax.Array:
    """`convolution` as XLA's own operation."""
    *window, _, _ = kernel.shape
    margins = [((size - 1) // 2, size // 2) for size in window]
    layout = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}[len(window)]
    return lax.conv_general_dilated(x, kernel, strides, margins, dimension_numbers=layout)


def convolution(x: jax.Array, kernel: jax.Array, strides: Sequence[int]) -> jax.Array:
    """Convolves over one or two axes, with zeros outside x and each window centred on its frame.

    On CPU it is a matrix product, elsewhere XLA's convolution, chosen by `jax.default_backend()` when the function is
    traced. XLA's CPU backend is slow in a convolution's weight gradient, in the grouped convolution that `vmap` over
    kernels makes, and forty times slower inside `lax.scan` and `lax.map`, where training spends its time; a
    matrix product is none of that.

    Args:
      x: [batch, frames, in] or [batch, frames, bins, in], float32, padding set to zero.
      kernel: [size, in, out] or [frames size, bins size, in, out], Flax's layout.
      strides: one for each axis that is convolved.

    Returns:
      [batch, ceil(frames / stride), out] or [batch, ceil(frames / stride), ceil(bins / stride), out].
    """
    form = convolution_as_product if jax.default_backend() == "cpu" else convolution_as_primitive
    return form(x, kernel, strides)


class Convolution(nn.Module):
    """`convolution` with its own kernel, uniform after He et al. (2015), and no bias: batch norm follows.

    Fields:
      channels: of the result.
      window: kernel size along each axis.
      strides: along each axis.
    """

    channels: int
    window: tuple[int, ...]
    strides: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.window, x.shape[-1], self.channels)
        return convolution(x, self.param("kernel", nn.initializers.he_uniform(), shape), self.strides)


class MaskedBatchNorm(nn.Module):
    """Batch norm (Ioffe and Szegedy, 2015) whose statistics are those of the frames that are not padding.

    Training uses the batch's mean and biased variance and moves the running ones (collection `batch_stats`) a tenth of
    the way there; evaluation uses the running ones. The result's padding is zero.

    Fields:
      scale_init: initialiser of the scale.
    """

    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array, length: jax.Array, train: bool) -> jax.Array:
        """Normalises x [batch, frames, ..., channels] of `length` [batch] frames, channel by channel."""
        mask = frame_mask(length, x)
        # E[x^2] - E[x]^2, the "fast" variance, is rounding noise where the mean is far from zero.
        norm = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, use_fast_variance=False, scale_init=self.scale_init)
        return jnp.where(mask, norm(x, mask=mask), 0.0)


def max_pool(x: jax.Array, length: jax.Array) -> jax.Array:
    """Takes the largest of each 3 x 3 neighbourhood, at every second frame and bin.

    Args:
      x: [batch, frames, bins, channels], nowhere negative, padding set to zero: so zero changes no maximum.
      length: [batch], valid frames of x.

    Returns:
      [batch, ceil(frames / 2), ceil(bins / 2), channels], padding set to zero.
    """
    # Maxima of shifted arrays: the gradient of XLA's own window maximum is a slow scatter.
    rows = jnp.stack(_shifted(x, (3, 1), (2, 1))).max(axis=0)
    largest = jnp.stack(_shifted(rows, (1, 3), (1, 2))).max(axis=0)
    return jnp.where(frame_mask(strided(length, 2), largest), largest, 0.0)


def mean_pool(x: jax.Array, length: jax.Array) -> jax.Array:
    """Averages x [batch, frames, channels] over its `length` [batch] valid frames, to [batch, channels]."""
    return jnp.where(frame_mask(length, x), x, 0.0).sum(axis=1) / length[:, None]


def statistics_pool(x: jax.Array, length: jax.Array) -> jax.Array:
    """Returns mean and standard deviation over the valid frames (statistics pooling, Snyder et al., 2017).

    Args:
      x: [batch, frames, channels].
      length: [batch], 1 to frames.

    Returns:
      [batch, 2 * channels], the means first. The deviation is sqrt(biased variance + 1e-5), so that its gradient is
      finite where nothing varies, as in a clip of one frame.
    """
    mean = mean_pool(x, length)
    variance = mean_pool(jnp.square(x - mean[:, None]), length)
    return jnp.concatenate([mean, jnp.sqrt(variance + 1e-5)], axis=-1)
