"""The parts of wav2vec 2.0 and its relatives: convolutions over samples, then a transformer.

The network is that of Baevski et al. (2020). `Frames` turns samples into the frames that
`Transformer` reads. The numbers are those of transformers for each clip alone: padding never
changes the result.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jdann.pretrained.contract import HiddenStates
from jdann.pretrained.front_end import frame_mask, normalised
from jdann.pretrained.platforms import clip_by_clip, convolved
from jdann.pretrained.transformer import Block, Linear, SelfAttention, exact_gelu, layer_norm

CONVOLUTION_EPSILON = 1e-5  # of the norms between convolutions: PyTorch's default


class Convolution(NamedTuple):
    """One layer of the feature extractor."""

    channels: int
    taps: int  # length of the kernel
    stride: int


class Positions(NamedTuple):
    """The convolutions along frames whose result is added to the projected features."""

    layers: int  # 1, or data2vec's number of layers
    taps: int
    groups: int
    is_data2vec: bool  # a layer norm after each layer instead of weight norm


class Config(NamedTuple):
    """The sizes and variants of a network."""

    convolutions: tuple[Convolution, ...]
    convolution_bias: bool
    group_norm: bool  # one norm after the first convolution; False: a layer norm after each
    projection_norm: bool
    positions: Positions
    width: int
    blocks: int
    heads: int
    hidden: int  # of the feed-forward layers
    epsilon: float  # of the layer norms after the convolutions
    norm_first: bool  # `do_stable_layer_norm` of the published settings
    normalise_samples: bool  # `do_normalize` of the published settings


def frames_of(samples: Any, convolutions: tuple[Convolution, ...]) -> Any:
    """Returns how many frames the convolutions make of samples, for an int or [batch]."""
    for convolution in convolutions:
        samples = (samples - convolution.taps) // convolution.stride + 1
    return samples


def receptive_field(convolutions: tuple[Convolution, ...]) -> int:
    """Returns how many samples one frame sees: 400 in all published networks."""
    samples = 1
    for convolution in reversed(convolutions):
        samples = (samples - 1) * convolution.stride + convolution.taps
    return samples


class GroupNorm(nn.Module):
    """Normalises each channel over the valid frames of its clip (Wu and He, 2018).

    Args of a call:
      x: [batch, frames, channels].
      length: [batch], valid frames.
    """

    @nn.compact
    def __call__(self, x: jax.Array, length: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones_init(), (channels,))
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        mask = frame_mask(length, x.shape[1])[..., None]
        count = length[:, None, None].astype(jnp.float32)
        mean = jnp.where(mask, x, 0.0).sum(1, keepdims=True) / count
        variance = jnp.where(mask, jnp.square(x - mean), 0.0).sum(1, keepdims=True) / count
        factor = lax.rsqrt(variance + CONVOLUTION_EPSILON) * scale[None, None]
        return (x - mean) * factor + bias[None, None]


class ConvolutionLayer(nn.Module):
    """Convolution, norm, GELU: [batch, n, in] to [batch, frames, channels].

    `norm` is "group", "layer" or "none". `length` [batch] counts the valid frames of the result.
    """

    convolution: Convolution
    bias: bool
    norm: str
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, length: jax.Array) -> jax.Array:
        channels, taps, stride = self.convolution
        shape = (taps, x.shape[-1], channels)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        x = convolved(x, kernel, stride, 0, self.dtype)
        if self.bias:
            x += self.param("bias", nn.initializers.zeros_init(), (channels,))[None, None]
        if self.norm == "group":
            x = GroupNorm(name="norm")(x, length)
        elif self.norm == "layer":
            x = layer_norm(CONVOLUTION_EPSILON, "norm")(x)
        return exact_gelu(x)


class FeatureExtractor(nn.Module):
    """Samples to features: [batch, samples] to [batch, frames, channels].

    The frames of a clip depend on its valid samples only, because no convolution has a margin and
    the group norm knows the length.
    """

    config: Config
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, samples: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        layer: Any = nn.remat(ConvolutionLayer) if self.remat else ConvolutionLayer
        norms = ["none"] * len(self.config.convolutions)
        norms = ["group", *norms[1:]] if self.config.group_norm else ["layer" for _ in norms]
        x = samples[..., None]  # [batch, samples, 1]
        for i, convolution in enumerate(self.config.convolutions):
            length = frames_of(length, (convolution,))
            bias = self.config.convolution_bias
            x = layer(convolution, bias, norms[i], self.dtype, name=f"layer_{i}")(x, length)
        return x, length


def _submodule_clip_by_clip(module: nn.Module) -> Callable[..., Any]:
    """Returns a function that calls a submodule by `clip_by_clip`."""
    if module.is_initializing():  # its params have to be made where they belong
        return module
    return clip_by_clip(partial(module.clone(parent=None).apply, module.variables))


class PositionalConvolution(nn.Module):
    """A grouped convolution along frames: [batch, frames, width] to the same shape.

    With weight norm (Salimans and Kingma, 2016) the kernel is `direction` divided by its norm for
    each tap, times `magnitude`.
    """

    taps: int
    groups: int
    weight_norm: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        frames, width = x.shape[1:]
        size = width // self.groups
        shape = (self.taps, size, width)
        if self.weight_norm:
            direction = self.param("direction", nn.initializers.lecun_normal(), shape)
            magnitude = self.param("magnitude", nn.initializers.ones_init(), (self.taps, 1, 1))
            norm = jnp.sqrt(jnp.square(direction).sum((1, 2), keepdims=True))
            kernel = direction * (magnitude / norm)
        else:
            kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (width,))
        # One convolution for each group. XLA's own grouped convolution takes 1.4 times as long on a
        # CPU, and its gradient six times as long.
        groups = [slice(start, start + size) for start in range(0, width, size)]
        y = [
            convolved(x[..., group], kernel[..., group], 1, self.taps // 2, self.dtype)
            for group in groups
        ]
        # An even number of taps gives one frame too many.
        return jnp.concatenate(y, -1)[:, :frames] + bias[None, None]


class PositionLayers(nn.Module):
    """What is added to the projected features to say where a frame stands.

    Args of a call:
      x: [batch, frames, width], zero in the padding.
      mask: bool [batch, frames, 1], False for padding.
    """

    positions: Positions
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        layers, taps, groups, is_data2vec = self.positions
        for i in range(layers):
            # Each layer reads zeros after the end of a clip, as if the clip stood alone.
            x = jnp.where(mask, x, 0.0)
            x = PositionalConvolution(taps, groups, not is_data2vec, self.dtype, name=f"layer_{i}")(
                x
            )
            if is_data2vec:
                x = layer_norm(CONVOLUTION_EPSILON, f"norm_{i}", affine=False)(x)
            x = exact_gelu(x)
        return x


class Frames(nn.Module):
    """Samples to the frames that the transformer reads.

    Args of a call:
      samples: [batch, samples] at 16 kHz, float32. The padding may hold any value.
      length: [batch], valid samples. A clip shorter than the receptive field (400 samples) is
        continued by zeros and has one frame.

    Returns:
      [batch, frames, width], zero in the padding, and the frames of each clip [batch] int32.
    """

    config: Config
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, samples: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        config, length = self.config, length.astype(jnp.int32)
        samples = jnp.where(frame_mask(length, samples.shape[1]), samples, 0.0)
        if config.normalise_samples:
            samples = normalised(samples, length)
        shortest = receptive_field(config.convolutions)
        samples = jnp.pad(samples, ((0, 0), (0, max(0, shortest - samples.shape[1]))))
        length = jnp.maximum(length, shortest)
        extractor = FeatureExtractor(config, self.dtype, self.remat, name="features")
        x, length = _submodule_clip_by_clip(extractor)(samples, length)
        if config.projection_norm:
            x = layer_norm(config.epsilon, "projection_norm")(x)
        x = Linear(config.width, self.dtype, name="projection")(x)
        mask = frame_mask(length, x.shape[1])[..., None]
        x = jnp.where(mask, x, 0.0)
        x += PositionLayers(config.positions, self.dtype, name="positions")(x, mask)
        return jnp.where(mask, x, 0.0), length


class Transformer(nn.Module):
    """The blocks, and the layer norm before them or, with `norm_first`, after them.

    Args of a call:
      x: [batch, frames, width].
      length: [batch], valid frames.
      bias: what `attention` takes, the same for all blocks.
    """

    config: Config
    attention: type[nn.Module] = SelfAttention
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: jax.Array, length: jax.Array, bias: jax.Array | None = None
    ) -> HiddenStates:
        config = self.config
        block: Any = nn.remat(Block) if self.remat else Block
        sizes = (config.heads, config.hidden, config.epsilon, config.norm_first)
        norm = layer_norm(config.epsilon, "norm")
        mask = frame_mask(length, x.shape[1])
        states = [x if config.norm_first else norm(x)]
        for i in range(config.blocks):
            apply_block = block(*sizes, self.attention, self.dtype, name=f"block_{i}")
            states.append(apply_block(states[-1], mask, bias))
        if config.norm_first:
            states[-1] = norm(states[-1])
        return HiddenStates(tuple(jnp.where(mask[..., None], x, 0.0) for x in states), length)
