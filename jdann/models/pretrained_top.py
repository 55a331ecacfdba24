"""The top blocks of a pretrained speech encoder, trained fully or by LoRA.

The lower part of the encoder is frozen: it makes the features
(`features.recipe=pretrained_frames`), which are computed once and kept on disk. The blocks above
the layer of the features are the encoder of this module.

A pretrained block expects the hidden states that it was trained with, and features are normalised,
by default as z-scores within each speaker. So the module scales them back before the first block:
by one mean and one deviation of each bin, those of the mean group of the source. What normalisation
has removed, such as the voice of a speaker, stays removed, and the block gets values of the size
that it knows. With `features.normalise` "none" the mean is 0 and the deviation 1.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.core import unfreeze

from jdann.errors import InputError
from jdann.features.pretrained_recipes import encoder_digest as check_digest
from jdann.features.pretrained_recipes import layer_numbers
from jdann.models.checkpointing import checkpointed
from jdann.models.convolution import PRECISIONS
from jdann.models.layers import frame_mask, prepare_input, statistics_pool
from jdann.parameters import Count, CountOrZero, Fraction, Positive, Precision, checked
from jdann.pretrained import PRETRAINED_FRAMES
from jdann.pretrained.contract import Blocks
from jdann.pretrained.load import load_encoder

ADAPTED = ("query", "value")  # projections of the attention that LoRA changes


class PretrainedTop(nn.Module):
    """Blocks of a pretrained transformer; then mean and deviation over time, and dropout.

    Fields:
      blocks: of the pretrained encoder.
      numbers: which of them, from 0.
      has_norm: whether the encoder's last layer norm follows them.
      lora_rank: 0: all weights of these blocks are trained, and begin at the pretrained ones. r:
        these weights are fixed, and a product of matrices [in, r] and [r, out] is added to the
        weights of query and value (Hu et al., 2021, "LoRA: low-rank adaptation of large language
        models"). The second matrix begins at zero. Nothing else in the blocks is trained.
      lora_scale: the factor of the product.
      dropout: probability, 0 to 1, that an entry of the representation is dropped in training.
      dtype: jnp.float32, or jnp.bfloat16 to round the factors of products.
      gradient_checkpointing: whether a gradient computes the inside of each block again instead of
        keeping it.
      mean: [bins] that is added to the scaled features.
      std: [bins] that features are multiplied by.
      weights: params of the pretrained encoder, at least those of the blocks. They are a field and
        no variables, so that the members of a training share them, no optimiser keeps moments of
        them and no file repeats them. `jdann.models.network.with_weights` replaces them by the
        arguments of a compiled program.
    """

    blocks: Blocks
    numbers: tuple[int, ...]
    has_norm: bool
    lora_rank: int
    lora_scale: float
    dropout: float
    dtype: Any
    gradient_checkpointing: bool
    mean: np.ndarray
    std: np.ndarray
    weights: Mapping[str, Any]

    @nn.compact
    def __call__(self, features: jax.Array, length: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Encodes a batch of clips.

        Args:
          features: [batch, frames, width], hidden states below the first of the blocks,
            normalised. The padding may hold any value.
          length: [batch], valid frames of each clip, 1 to frames.
          train: if True, dropout is active, which needs the key `rngs={"dropout": key}`.

        Returns:
          `layer3`, `layer4`, ... [batch, frames, width]: the hidden states of these numbers, zero
          in the padding. A norm that follows the last block changes `pooled` only.
          `pooled` [batch, 2 * width]: mean and deviation over the valid frames.
          `representation` [batch, 2 * width]: `pooled` after dropout.

        Raises:
          InputError: the shapes are different.
        """
        x, length = prepare_input(features, length)
        x = self._scaled_back(x)
        inside = frame_mask(length, x)  # [batch, frames, 1]
        bias = None
        if self.blocks.bias is not None:
            distances: Any = self.blocks.bias(parent=None)
            bias = distances.apply({"params": _on_device(self.weights["distances"])}, x.shape[1])
        block: Any = self.blocks.block(dtype=self.dtype, parent=None)

        def apply_block(trained: Any, fixed: Any) -> jax.Array:
            (x, weights), (fixed_weights, *mask_and_bias) = trained, fixed
            params = {"params": self._merged(weights, fixed_weights)}
            return block.apply(params, x, *mask_and_bias)

        compute = checkpointed(apply_block) if self.gradient_checkpointing else apply_block
        outputs = {}
        for i in self.numbers:
            trained, fixed = self._block_weights(f"block_{i}")
            x = compute((x, trained), (fixed, inside[..., 0], bias))
            outputs[f"layer{i + 1}"] = jnp.where(inside, x, 0.0)
        if self.has_norm:
            assert self.blocks.norm is not None
            norm: Any = self.blocks.norm(parent=None)
            fixed = self._pretrained("norm")
            weights = fixed if self.lora_rank else self.param("norm", lambda _: fixed)
            x = norm.apply({"params": weights}, x)
        pooled = statistics_pool(x, length)
        representation = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        return {"representation": representation, "pooled": pooled, **outputs}

    def _scaled_back(self, x: jax.Array) -> jax.Array:
        """Features in the size of hidden states. Both arrays are kept with the params."""
        mean, std = (
            jax.lax.stop_gradient(self.param(name, lambda _, value=value: jnp.asarray(value)))
            for name, value in (("mean", self.mean), ("std", self.std))
        )
        return x * std[None, None] + mean[None, None]

    def _pretrained(self, name: str) -> Any:
        """The pretrained weights of a block or of the norm."""
        return _on_device(self.weights[self.blocks.scope][name])

    def _block_weights(self, name: str) -> tuple[Any, Any]:
        """What is trained of a block, and its fixed weights: () if all of them are trained."""
        fixed = self._pretrained(name)
        if not self.lora_rank:
            return self.param(name, lambda _: fixed), ()
        matrices = {}
        for projection in ADAPTED:
            inputs, outputs = fixed["attention"][projection]["kernel"].shape
            down = self.param(
                f"{name}_{projection}_down",
                nn.initializers.lecun_uniform(),
                (inputs, self.lora_rank),
            )
            up = self.param(
                f"{name}_{projection}_up", nn.initializers.zeros, (self.lora_rank, outputs)
            )
            matrices[projection] = down, up
        return matrices, fixed

    def _merged(self, trained: Any, fixed: Any) -> Any:
        """The weights of a block; with LoRA, the products are added to the fixed ones."""
        if not self.lora_rank:
            return trained
        attention = dict(fixed["attention"])
        for projection, (down, up) in trained.items():
            kernel = attention[projection]["kernel"] + self.lora_scale * down @ up
            attention[projection] = {**attention[projection], "kernel": kernel}
        return {**fixed, "attention": attention}


def _on_device(weights: Any) -> Any:
    """Weights as plain dicts of JAX's arrays, whether they are arguments or from a file."""
    return jax.tree.map(jnp.asarray, unfreeze(weights))


def with_statistics(encoder: nn.Module, mean: np.ndarray, std: np.ndarray) -> nn.Module:
    """The encoder, which knows by what its features were normalised, if it scales them back.

    Args:
      encoder: any encoder.
      mean: [groups, bins] that was subtracted in each group of utterances.
      std: [groups, bins] that features were divided by.
    """
    if not isinstance(encoder, PretrainedTop):
        return encoder
    deviation = np.sqrt(np.square(std).mean(0))
    return encoder.clone(mean=mean.mean(0), std=deviation)


@checked
def pretrained_top(
    *,
    blocks: Count = 2,
    lora_rank: CountOrZero = 0,
    lora_alpha: Positive = 16.0,
    dropout: Fraction = 0.3,
    gradient_checkpointing: bool = False,
    precision: Precision = "float32",
    recipe: str = "frames",
    encoder: str = "",
    encoder_digest: str = "",
    layers: str = "auto",
) -> PretrainedTop:
    """Makes the encoder of the blocks above the features of a pretrained encoder.

    Args:
      blocks: how many blocks above the layer of the features.
      lora_rank: 0: all weights of the blocks are trained; r: updates of rank r of the attention's
        query and value, and the blocks are frozen.
      lora_alpha: the updates are multiplied by alpha / r.
      dropout: probability that an entry of the representation is dropped in training.
      gradient_checkpointing: whether a gradient computes the inside of each block again, which
        takes more time and less memory.
      precision: "float32", or "mixed" for products in bfloat16 that are summed in float32.
      recipe: of the features; "pretrained_frames" is the only one.
      encoder: whose hidden states the features are, as for that recipe.
      encoder_digest: that its weights must have; "": any.
      layers: the hidden state that the features are, a number as text.

    Returns:
      A linen module.

    Raises:
      InputError: the features are other ones, or there are fewer blocks above them.
    """
    if recipe != PRETRAINED_FRAMES:
        raise InputError(
            f"encoder.name=pretrained_top needs the frames of a pretrained encoder, and "
            f"features.recipe is {recipe!r}; set --config.features.recipe={PRETRAINED_FRAMES}"
        )
    check_digest(encoder, encoder_digest)
    loaded = load_encoder(encoder)
    architecture = loaded.architecture
    if architecture.blocks is None:
        raise InputError(
            f"encoder.name=pretrained_top knows no blocks of {encoder}; choose conv1d, or another "
            "encoder"
        )
    first = _only_layer(layers, architecture.layers, encoder)
    above = architecture.layers - 1 - first
    if blocks > above:
        raise InputError(
            f"encoder.blocks is {blocks}, and {encoder} has {above} blocks above layer {first}; "
            "set --config.encoder.blocks to fewer blocks, or --config.features.layers to a lower "
            "layer"
        )
    numbers = tuple(range(first, first + blocks))
    has_norm = architecture.blocks.norm is not None and blocks == above
    names = [f"block_{i}" for i in numbers] + ["norm"] * has_norm
    scope = architecture.blocks.scope
    weights = {scope: {name: loaded.params[scope][name] for name in names}}
    if architecture.blocks.bias is not None:
        weights["distances"] = loaded.params["distances"]
    return PretrainedTop(
        blocks=architecture.blocks,
        numbers=numbers,
        has_norm=has_norm,
        lora_rank=lora_rank,
        lora_scale=lora_alpha / max(lora_rank, 1),
        dropout=dropout,
        dtype=PRECISIONS[precision],
        gradient_checkpointing=gradient_checkpointing,
        mean=np.zeros(architecture.width, np.float32),
        std=np.ones(architecture.width, np.float32),
        weights=weights,
    )


def _only_layer(layers: str, count: int, encoder: str) -> int:
    """The number of the layer that the features are."""
    first, *others = layer_numbers(layers, count, encoder)
    if others:
        raise InputError(
            f"encoder.name=pretrained_top continues one layer, and features.layers is {layers!r}; "
            f"choose one of them, such as --config.features.layers={first}"
        )
    return first
