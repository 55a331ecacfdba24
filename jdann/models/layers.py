"""Layers for clips of different lengths: masked batch norm, masked pooling, the encoder's input.

A batch is an array [batch, frames, ..., channels] and `length` [batch] in frames. The frames of a
clip from its length on are padding, and the padding never changes the result. Together with the
convolutions of `jdann/models/convolution.py`, these are all layers of the encoders.

Two rules make this possible:

1. Each layer sets the padding of its result to zero. So a convolution or a pooling window that
   reaches over the end of a clip reads zeros, as it does at the end of the array.
2. The window of frame i begins at frame i - (size - 1) // 2, for any number of frames. A stride
   keeps the frames 0, stride, 2 * stride and so on. So n frames become ceil(n / stride) frames,
   both for the array and for the length of each clip.

The windows are those of PyTorch's `padding=kernel_size // 2`. The `SAME` padding of XLA is the same
at stride 1. At a larger stride it moves the windows by one frame when the number of frames changes
from odd to even, so that the padding would change the result.
"""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jdann.errors import InputError
from jdann.models.windows import centred, shifted, strided

MOMENTUM = 0.9  # of batch norm: the part of the running statistics that a training step keeps
EPSILON = 1e-5  # added to a variance before its root is taken


def prepare_input(features: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Checks the input of an encoder and sets its padding to zero.

    Args:
      features: [batch, frames, bins], float32 or float16. The padding may hold any value. Or
        [batch, values], one vector per utterance, which becomes as many frames of one bin.
      length: [batch], valid frames of each clip, 1 to frames; of vectors it does not matter.

    Returns:
      features [batch, frames, bins] float32 and length [batch] int32.

    Raises:
      InputError: the shapes are different.
    """
    if features.ndim == 2:
        length = jnp.full(features.shape[:1], features.shape[1])
        features = features[:, :, None]  # [batch, values, 1]
    if features.ndim != 3 or length.shape != features.shape[:1]:
        raise InputError(
            f"an encoder got features of shape {features.shape} and lengths of shape "
            f"{length.shape}; give it [batch, frames, bins] and [batch]"
        )
    mask = frame_mask(length, features)
    # `where` and not a product, because the padding may hold NaN.
    return jnp.where(mask, features.astype(jnp.float32), 0.0), length.astype(jnp.int32)


def frame_mask(length: jax.Array, x: jax.Array) -> jax.Array:
    """Returns True for each frame that is not padding.

    Args:
      length: [batch], valid frames of x.
      x: [batch, frames, ...].

    Returns:
      bool [batch, frames, 1, ...], with as many axes as x.
    """
    mask = jnp.arange(x.shape[1])[None] < length[:, None]  # [batch, frames]
    return mask.reshape(mask.shape + (1,) * (x.ndim - 2))  # [batch, frames, 1, ...]


def _per_channel(values: jax.Array, x: jax.Array) -> jax.Array:
    """Gives values [channels] the axes of x [..., channels]: [1, ..., channels]."""
    return lax.broadcast_to_rank(values, x.ndim)


@jax.custom_vjp
def _normalise(
    x: jax.Array, mask: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Batch norm in training.

    Args:
      x: [..., channels].
      mask: bool, broadcast to x; False where x is padding.
      scale: [channels].
      bias: [channels].

    Returns:
      The normalised x, zero where the mask is False; the mean [channels]; the biased variance
      [channels].
    """
    return _normalise_forward(x, mask, scale, bias)[0]


def _normalise_forward(x: jax.Array, mask: jax.Array, scale: jax.Array, bias: jax.Array) -> Any:
    # How many valid values each channel has.
    count = mask.sum().astype(jnp.float32) * (x.size / (mask.size * x.shape[-1]))
    axes = tuple(range(x.ndim - 1))
    mean = jnp.where(mask, x, 0.0).sum(axes) / count
    # The faster E[x^2] - E[x]^2 is only rounding noise where the mean is far from zero.
    centred_x = x - _per_channel(mean, x)
    variance = jnp.where(mask, jnp.square(centred_x), 0.0).sum(axes) / count
    factor = _per_channel(lax.rsqrt(variance + EPSILON) * scale, x)
    y = jnp.where(mask, centred_x * factor + _per_channel(bias, x), 0.0)
    return (y, mean, variance), (x, mask, scale, mean, variance, count)


def _normalise_backward(saved: Any, gradients: Any) -> Any:
    # Ioffe and Szegedy (2015), section 3. The gradient that passes through the mean and the
    # variance removes two parts of the gradient of y: its mean, and its part along x.
    # This is written out because automatic differentiation reads and writes x several times more.
    # The gradients of the mean and the variance are ignored: no loss depends on them directly.
    x, mask, scale, mean, variance, count = saved
    gradient = jnp.where(mask, gradients[0], 0.0)
    inverse = lax.rsqrt(variance + EPSILON)
    axes = tuple(range(x.ndim - 1))
    bias_gradient = gradient.sum(axes)
    centred_x = x - _per_channel(mean, x)
    scale_gradient = (gradient * centred_x).sum(axes) * inverse
    along_x = _per_channel(scale_gradient * inverse / count, x)
    centred_gradient = gradient - _per_channel(bias_gradient / count, x) - centred_x * along_x
    x_gradient = jnp.where(mask, centred_gradient * _per_channel(inverse * scale, x), 0.0)
    return x_gradient, None, scale_gradient, bias_gradient


_normalise.defvjp(_normalise_forward, _normalise_backward)


class BatchNorm(nn.Module):
    """Batch norm of each channel, over the entries where a mask is True.

    Fields:
      scale_init: initialiser of the scale.
    """

    scale_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Normalises x [..., channels]; the result is zero where the mask is False."""
        shape = x.shape[-1:]
        scale = self.param("scale", self.scale_init, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        variance = self.variable("batch_stats", "var", jnp.ones, shape)
        if not train:
            centred_x = x - _per_channel(mean.value, x)
            factor = _per_channel(lax.rsqrt(variance.value + EPSILON) * scale, x)
            return jnp.where(mask, centred_x * factor + _per_channel(bias, x), 0.0)
        y, *batch_statistics = _normalise(x, mask, scale, bias)
        if not self.is_initializing():
            for running, value in zip((mean, variance), batch_statistics, strict=True):
                value = lax.stop_gradient(value)
                running.value = MOMENTUM * running.value + (1 - MOMENTUM) * value
        return y


class MaskedBatchNorm(nn.Module):
    """Batch norm (Ioffe and Szegedy, 2015) over the frames that are not padding.

    Training uses the mean and the biased variance of the batch, and moves the running statistics
    (collection `batch_stats`) by a tenth of the difference to them. Evaluation uses the running
    statistics. The padding of the result is zero.

    Fields:
      scale_init: initialiser of the scale.
    """

    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array, length: jax.Array, train: bool) -> jax.Array:
        """Normalises each channel of x [batch, frames, ..., channels] with `length` [batch]."""
        return BatchNorm(self.scale_init)(x, frame_mask(length, x), train)


def max_pool(x: jax.Array, length: jax.Array) -> jax.Array:
    """Takes the maximum of 3 x 3 frames and bins, at every second frame and bin.

    Args:
      x: [batch, frames, bins, channels], at least 0 everywhere and 0 in the padding. So the zeros
        of the padding never change a maximum.
      length: [batch], valid frames of x.

    Returns:
      [batch, ceil(frames / 2), ceil(bins / 2), channels], zero in the padding.
    """
    chex.assert_rank(x, 4)
    # Maxima of shifted arrays, because the gradient of XLA's window maximum is a slow scatter.
    frames = _window_max(x, (3, 1), (2, 1))  # [batch, ceil(frames / 2), bins, channels]
    pooled = _window_max(frames, (1, 3), (1, 2))
    return jnp.where(frame_mask(strided(length, 2), pooled), pooled, 0.0)


def _window_max(x: jax.Array, window: tuple[int, ...], strides: tuple[int, ...]) -> jax.Array:
    margins, windows = centred(x.shape[1:-1], window, strides)
    return functools.reduce(jnp.maximum, shifted(x, window, strides, margins, windows))


def mean_pool(x: jax.Array, length: jax.Array) -> jax.Array:
    """Returns the mean over the valid frames.

    Args:
      x: [batch, frames, channels].
      length: [batch], valid frames of x, at least 1.

    Returns:
      [batch, channels].
    """
    chex.assert_rank([x, length], [3, 1])
    total = jnp.where(frame_mask(length, x), x, 0.0).sum(axis=1)
    return total / length[:, None].astype(jnp.float32)


def statistics_pool(x: jax.Array, length: jax.Array) -> jax.Array:
    """Returns mean and standard deviation over the valid frames (Snyder et al., 2017).

    The deviation is sqrt(biased variance + 1e-5). So its gradient is finite where nothing varies,
    as in a clip of one frame.

    Args:
      x: [batch, frames, channels].
      length: [batch], valid frames of x, at least 1.

    Returns:
      [batch, 2 * channels], the means first.
    """
    mean = mean_pool(x, length)
    variance = mean_pool(jnp.square(x - mean[:, None]), length)
    return jnp.concatenate([mean, jnp.sqrt(variance + 1e-5)], axis=-1)
