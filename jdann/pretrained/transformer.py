"""Layers of a transformer encoder: linear, attention, feed-forward, block.

In bfloat16 the factors of a product are rounded. Sums, softmax and norms are always float32.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jdann.pretrained.contract import Blocks
from jdann.pretrained.platforms import clip_by_clip


def product(equation: str, a: jax.Array, b: jax.Array, dtype: Any) -> jax.Array:
    """Returns `jnp.einsum(equation, a, b)` in float32, with factors rounded to `dtype`."""
    a, b = a.astype(dtype), b.astype(dtype)
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)


def exact_gelu(x: jax.Array) -> jax.Array:
    """x times the normal distribution function of x (Hendrycks and Gimpel, 2016)."""
    # On a CPU this is faster than `jax.nn.gelu`, which computes it by `erfc`.
    return 0.5 * x * (1.0 + jax.lax.erf(x * 0.5**0.5))


def layer_norm(epsilon: float, name: str, affine: bool = True) -> nn.LayerNorm:
    """Returns the norm over the last axis with PyTorch's arithmetic."""
    return nn.LayerNorm(
        epsilon=epsilon, use_scale=affine, use_bias=affine, use_fast_variance=False, name=name
    )


class Linear(nn.Module):
    """[..., in] to [..., features]."""

    features: int
    dtype: Any = jnp.float32
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        y = product("...i,io->...o", x, kernel, self.dtype)
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return y + jax.lax.broadcast_to_rank(bias, y.ndim)


class SelfAttention(nn.Module):
    """Attention with several heads (Vaswani et al., 2017, section 3.2).

    Args of a call:
      x: [batch, frames, width].
      mask: bool [batch, frames], False for padding, which no frame attends to.
      bias: [batch, heads, frames, frames], added to the scores before the softmax.
    """

    heads: int
    dtype: Any = jnp.float32
    key_bias: bool = True  # whether the linear layer of the keys has a bias

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, bias: jax.Array | None = None) -> jax.Array:
        width = x.shape[-1]
        heads_shape = (*x.shape[:-1], self.heads, width // self.heads)
        query = Linear(width, self.dtype, name="query")(x)
        key = Linear(width, self.dtype, self.key_bias, name="key")(x)
        value = Linear(width, self.dtype, name="value")(x)
        query *= (width // self.heads) ** -0.5
        factors = [y.reshape(heads_shape) for y in (query, key, value)]
        if bias is not None:
            factors.append(bias)
        y = clip_by_clip(partial(attend, dtype=self.dtype))(mask, *factors)
        return Linear(width, self.dtype, name="out")(y.reshape(x.shape))


def attend(
    mask: jax.Array,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    bias: jax.Array | None = None,
    *,
    dtype: Any = jnp.float32,
) -> jax.Array:
    """Returns the mean of the values, weighted by the softmax of the scores, for each query.

    Args:
      mask: bool [batch, frames], False for padding.
      query: [batch, frames, heads, width of a head], as the other two.
      key: of the frames that are attended to.
      value: of the same frames.
      bias: [batch, heads, frames, frames], added to the scores.
      dtype: the factors of products are rounded to it.
    """
    scores = product("bqhd,bkhd->bhqk", query, key, dtype)
    if bias is not None:
        scores += bias
    # A finite value, so that the gradient of a batch has no NaN.
    scores = jnp.where(mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
    return product("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value, dtype)


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them: [..., width] to [..., width]."""

    hidden: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = exact_gelu(Linear(self.hidden, self.dtype, name="hidden")(x))
        return Linear(x.shape[-1], self.dtype, name="out")(hidden)


class Block(nn.Module):
    """Attention and feed-forward, each added to its input.

    `attention` is the module of the attention, called with (x, mask, bias). With `norm_first` each
    part reads its input through a layer norm (Xiong et al., 2020). Without, the norm follows the
    sum (Vaswani et al., 2017).

    A call takes what `SelfAttention` takes and returns [batch, frames, width].
    """

    heads: int
    hidden: int
    epsilon: float
    norm_first: bool
    attention: type[nn.Module] = SelfAttention
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, bias: jax.Array | None = None) -> jax.Array:
        attention: Any = self.attention(heads=self.heads, dtype=self.dtype, name="attention")
        feed_forward = FeedForward(self.hidden, self.dtype, name="feed_forward")
        attention_norm = layer_norm(self.epsilon, "attention_norm")
        feed_forward_norm = layer_norm(self.epsilon, "feed_forward_norm")
        if self.norm_first:
            x += attention(attention_norm(x), mask, bias)
            return x + feed_forward(feed_forward_norm(x))
        x = attention_norm(x + attention(x, mask, bias))
        return feed_forward_norm(x + feed_forward(x))


def describe_blocks(
    scope: str,
    heads: int,
    hidden: int,
    epsilon: float,
    norm_first: bool,
    attention: type[nn.Module] = SelfAttention,
) -> Blocks:
    """Returns the blocks of an encoder; with `norm_first`, a layer norm follows the last one.

    `scope` is the key of their params, and the rest are fields of `Block`.
    """
    block = partial(Block, heads, hidden, epsilon, norm_first, attention)
    norm = partial(nn.LayerNorm, epsilon=epsilon, use_fast_variance=False)
    return Blocks(scope, block, norm if norm_first else None)
