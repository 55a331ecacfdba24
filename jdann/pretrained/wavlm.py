"""WavLM: HuBERT's network with a gated relative position bias (Chen et al., 2022, section 3.2).

The bias depends on the distance between two frames. It is computed once, and each block scales it
by gates, which depend on the frame that attends.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jdann.pretrained.contract import Architecture, HiddenStates
from jdann.pretrained.transformer import Linear, SelfAttention
from jdann.pretrained.wav2vec2_layers import Config, Frames, Transformer
from jdann.pretrained.wav2vec2_settings import (
    BLOCK,
    BLOCK_PATH,
    IGNORED,
    RULES,
    describe,
    linear_rules,
    read_config,
    rule,
    whole_number,
)

GATE_VALUES = 8  # of a head: two gates, each the sum of four values

ATTENTION, ATTENTION_PATH = rf"{BLOCK}\.attention", f"{BLOCK_PATH}/attention"
WAVLM_RULES = (
    *RULES,
    rule(r"encoder\.layers\.0\.attention\.rel_attn_embed\.weight", "distances/embedding"),
    rule(rf"{ATTENTION}\.gru_rel_pos_const", f"{ATTENTION_PATH}/gate_scale"),
    *linear_rules(rf"{ATTENTION}\.gru_rel_pos_linear", f"{ATTENTION_PATH}/gates"),
)


class Distances(NamedTuple):
    """How distances between frames are put into buckets."""

    buckets: int  # half of them for frames that come later
    farthest: int  # from this distance on all frames share a bucket


class DistanceBias(nn.Module):
    """The bias of a score for each distance between two frames.

    A call takes the number of frames and returns [heads, frames, frames].
    """

    distances: Distances
    heads: int

    @nn.compact
    def __call__(self, frames: int) -> jax.Array:
        shape = (self.distances.buckets, self.heads)
        embedding = self.param("embedding", nn.initializers.normal(1.0), shape)
        offsets = jnp.arange(2 * frames - 1) - (frames - 1)
        # Weights from a file are NumPy's, which a traced index cannot read.
        biases = jnp.asarray(embedding)[bucket_of(offsets, self.distances)]  # [offsets, heads]
        frame = jnp.arange(frames)
        offset_index = frame[None] - frame[:, None] + frames - 1  # key minus query
        return biases.T[:, offset_index]


def bucket_of(offsets: jax.Array, distances: Distances) -> jax.Array:
    """Returns the bucket of each offset: exact for near frames, logarithmic for far ones.

    The source is section 2.1 of Raffel et al. (2020); transformers computes it in
    `_relative_positions_bucket`.

    Args:
      offsets: whole numbers, the position of a key minus the position of its query.
      distances: the number of buckets and the farthest distance.
    """
    half = distances.buckets // 2
    exact = half // 2
    distance = jnp.abs(offsets)
    # Distance 0 is below `exact`, so that its logarithm is not used.
    ratio = jnp.maximum(distance, 1).astype(jnp.float32) / exact
    place = jnp.log(ratio) / math.log(distances.farthest / exact) * (half - exact)
    far = jnp.minimum(exact + place.astype(jnp.int32), half - 1)
    return jnp.where(distance < exact, distance, far) + jnp.where(offsets > 0, half, 0)


class GatedAttention(nn.Module):
    """Self-attention whose bias [heads, frames, frames] is scaled by gates.

    The gates of a head depend on the head's part of x. `x` and `mask` are those of
    `SelfAttention`.
    """

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, bias: jax.Array) -> jax.Array:
        batch, frames, width = x.shape
        parts = x.reshape(batch, frames, self.heads, width // self.heads)
        values = Linear(GATE_VALUES, self.dtype, name="gates")(parts)
        gates = jax.nn.sigmoid(values.reshape(*parts.shape[:-1], 2, -1).sum(-1))
        update, reset = gates.transpose(3, 0, 2, 1)  # each [batch, heads, frames]
        scale = self.param("gate_scale", nn.initializers.ones_init(), (1, self.heads, 1, 1))
        factor = update * (reset * scale[..., 0] - 1.0) + 2.0
        attention = SelfAttention(self.heads, self.dtype)
        nn.share_scope(self, attention)  # so that the params are those of other families
        return attention(x, mask, factor[..., None] * bias[None])


class WavLM(nn.Module):
    """The whole network; its call and its other fields are those of `Wav2Vec2`."""

    config: Config
    distances: Distances
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, samples: jax.Array, length: jax.Array) -> HiddenStates:
        options = {"dtype": self.dtype, "remat": self.remat}
        x, length = Frames(self.config, **options, name="frames")(samples, length)
        bias = DistanceBias(self.distances, self.config.heads, name="distances")(x.shape[1])
        transformer = Transformer(self.config, GatedAttention, **options, name="transformer")
        return transformer(x, length, bias)


def architecture(settings: Mapping[str, Any]) -> Architecture:
    """Returns the network that a published `config.json` describes.

    Args:
      settings: as for `jdann.pretrained.wav2vec2.architecture`.

    Raises:
      InputError: names a setting that this network does not know.
    """
    config = read_config(settings, ("wavlm",))
    distances = Distances(
        whole_number(settings, "num_buckets", 320),
        whole_number(settings, "max_bucket_distance", 800),
    )
    module = WavLM(config, distances)
    network = describe("wavlm", module, config, WAVLM_RULES, IGNORED, GatedAttention)
    assert network.blocks is not None
    bias = partial(DistanceBias, distances, config.heads)
    return network._replace(blocks=network.blocks._replace(bias=bias))
