"""Convolutions over time: the small, fast encoder."""

from typing import Any

import jax
from flax import linen as nn

from jdann.errors import InputError
from jdann.models.cpu.convolution import Convolution, strided
from jdann.models.layers import MaskedBatchNorm, checked, statistics_pool


class Conv1d(nn.Module):
    """Layers of convolution over frames, batch norm and ReLU, then mean and deviation over time.

    Dropout acts on the representation alone: between the layers its draw would depend on the padding, and it would
    disturb the next batch norm (Li et al., "Understanding the disharmony between dropout and batch norm", 2019).

    Fields:
      channels: of each layer.
      kernel_size: in frames.
      strides: of each layer, in frames of the layer below.
      dropout: probability, 0 to 1, that an entry of the representation is dropped in training.
      precision: of the convolutions' products, a key of `jdann.models.cpu.convolution.PRECISIONS`.
    """

    channels: tuple[int, ...]
    kernel_size: int
    strides: tuple[int, ...]
    dropout: float
    precision: str = "float32"

    @nn.compact
    def __call__(self, features: jax.Array, length: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Encodes a batch of clips.

        Args:
          features: [batch, frames, bins], float32 or float16. What stands in the padding does not matter.
          length: [batch], valid frames, 1 to frames.
          train: use the batch's statistics, move the running ones and drop out; needs `mutable=["batch_stats"]` and,
            where dropout is not 0, the key `rngs={"dropout": key}`.

        Returns:
          `layer1`, `layer2`, ... [batch, ceil(frames / strides so far), channels]: what each layer made, zero in the
          padding; `pooled` [batch, 2 * channels]; `representation`: the same after dropout.

        Raises:
          InputError: the input's shape is not that.
        """
        x, length = checked(features, length)
        outputs = {}
        for layer, (channels, stride) in enumerate(
            zip(self.channels, self.strides, strict=True), start=1
        ):
            x = Convolution(channels, (self.kernel_size,), (stride,), self.precision)(x)
            length = strided(length, stride)
            x = nn.relu(MaskedBatchNorm()(x, length, train))
            outputs[f"layer{layer}"] = x
        pooled = statistics_pool(x, length)
        representation = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        return {"representation": representation, "pooled": pooled, **outputs}


def conv1d(config: Any, precision: str) -> Conv1d:
    """Makes the encoder from `config.encoder`: its `channels`, `kernel_size`, `strides` and `dropout`, and `config.precision`.

    Raises:
      InputError: `channels` and `strides` differ in length.
    """
    channels, strides = tuple(config.channels), tuple(config.strides)
    if len(channels) != len(strides) or not channels:
        raise InputError(
            f"encoder.channels {channels} and encoder.strides {strides}: expected one entry a layer in each; change them together"
        )
    return Conv1d(channels, config.kernel_size, strides, config.dropout, precision)
