"""Layers of which no result depends on padding: masked batch norm, masked pooling; with `convolution.py`, all of an encoder.

A batch is `[batch, frames, ..., channels]` with `length[batch]` in frames; frames at and after the length are padding.

Every layer keeps two laws. Padded frames are zero wherever a window could reach them. And a window begins
`(size - 1) // 2` frames before its own frame, however many frames the array has, and a stride keeps the frames
0, stride, 2 stride, ... So n frames become ceil(n / stride), for the array and for each length alike. These are the
windows of PyTorch's `padding=kernel_size // 2`; XLA's `SAME`, equal at stride 1, shifts strided windows by a frame
between an odd and an even number of frames, so that padding would change the result.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jdann.errors import InputError
from jdann.models.cpu.convolution import centred, shifted, strided

MOMENTUM, EPSILON = (
    0.9,
    1e-5,
)  # of batch norm: kept of the running statistics in a step; added to the variance


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


@jax.custom_vjp
def _normalised(
    x: jax.Array, mask: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Batch norm by the batch's own statistics, zero where the mask is False: the result, the mean and the biased variance."""
    return _normalised_forward(x, mask, scale, bias)[0]


def _normalised_forward(x: jax.Array, mask: jax.Array, scale: jax.Array, bias: jax.Array) -> Any:
    count = mask.sum() * (x.size / (mask.size * x.shape[-1]))  # of the values of a channel
    axes = tuple(range(x.ndim - 1))
    mean = jnp.where(mask, x, 0.0).sum(axes) / count
    # E[x^2] - E[x]^2, the "fast" variance, is rounding noise where the mean is far from zero.
    variance = jnp.where(mask, jnp.square(x - mean), 0.0).sum(axes) / count
    y = jnp.where(mask, (x - mean) * (lax.rsqrt(variance + EPSILON) * scale) + bias, 0.0)
    return (y, mean, variance), (x, mask, scale, mean, variance, count)


def _normalised_backward(saved: Any, gradients: Any) -> Any:
    # Ioffe and Szegedy (2015), section 3: the gradient through mean and variance takes its mean and its part along x away.
    # Automatic differentiation reads and writes x several times more. No loss depends on the statistics themselves.
    x, mask, scale, mean, variance, count = saved
    gradient = jnp.where(mask, gradients[0], 0.0)
    inverse = lax.rsqrt(variance + EPSILON)
    axes = tuple(range(x.ndim - 1))
    of_bias = gradient.sum(axes)
    of_scale = (gradient * (x - mean)).sum(axes) * inverse
    along = of_scale * inverse / count
    of_x = jnp.where(
        mask, (gradient - of_bias / count - (x - mean) * along) * (inverse * scale), 0.0
    )
    return of_x, None, of_scale, of_bias


_normalised.defvjp(_normalised_forward, _normalised_backward)


class BatchNorm(nn.Module):
    """Batch norm over all but the last axis, over the entries where a mask is True; zero elsewhere.

    Fields:
      scale_init: initialiser of the scale.
    """

    scale_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        shape = x.shape[-1:]
        scale, bias = (
            self.param("scale", self.scale_init, shape),
            self.param("bias", nn.initializers.zeros, shape),
        )
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        variance = self.variable("batch_stats", "var", jnp.ones, shape)
        if not train:
            return jnp.where(
                mask, (x - mean.value) * (lax.rsqrt(variance.value + EPSILON) * scale) + bias, 0.0
            )
        y, *found = _normalised(x, mask, scale, bias)
        if not self.is_initializing():
            for running, of_batch in zip((mean, variance), found, strict=True):
                running.value = MOMENTUM * running.value + (1 - MOMENTUM) * lax.stop_gradient(
                    of_batch
                )
        return y


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
        return BatchNorm(self.scale_init)(x, frame_mask(length, x), train)


def max_pool(x: jax.Array, length: jax.Array) -> jax.Array:
    """Takes the largest of each 3 x 3 neighbourhood, at every second frame and bin.

    Args:
      x: [batch, frames, bins, channels], nowhere negative, padding set to zero: so zero changes no maximum.
      length: [batch], valid frames of x.

    Returns:
      [batch, ceil(frames / 2), ceil(bins / 2), channels], padding set to zero.
    """
    # Maxima of shifted arrays: the gradient of XLA's own window maximum is a slow scatter.
    rows = _largest(x, (3, 1), (2, 1))
    largest = _largest(rows, (1, 3), (1, 2))
    return jnp.where(frame_mask(strided(length, 2), largest), largest, 0.0)


def _largest(x: jax.Array, window: tuple[int, ...], strides: tuple[int, ...]) -> jax.Array:
    return functools.reduce(
        jnp.maximum, shifted(x, window, strides, *centred(x.shape[1:-1], window, strides))
    )


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
