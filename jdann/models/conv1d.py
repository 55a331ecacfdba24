"""Convolutions over time: the small, fast encoder."""

import jax
from flax import linen as nn

from jdann.errors import InputError
from jdann.models.convolution import Convolution
from jdann.models.layers import MaskedBatchNorm, prepare_input, statistics_pool
from jdann.models.windows import strided
from jdann.parameters import Count, Counts, Fraction, Precision, checked


class Conv1d(nn.Module):
    """Layers of convolution over frames, batch norm and ReLU; then mean and deviation over time.

    Dropout is applied to the representation only. Between layers, the dropped entries would depend
    on the padding, and dropout would disturb the statistics of the next batch norm (Li et al.,
    "Understanding the disharmony between dropout and batch norm", 2019).

    Fields:
      channels: output channels of each layer.
      kernel_size: in frames, the same in all layers.
      strides: of each layer, in frames of the layer below.
      dropout: probability, 0 to 1, that an entry of the representation is dropped in training.
      precision: of the products, a key of `jdann.models.convolution.PRECISIONS`.
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
          features: [batch, frames, bins], float32 or float16. The padding may hold any value.
          length: [batch], valid frames of each clip, 1 to frames.
          train: if True, batch norm uses and updates its statistics and dropout is active. This
            needs `mutable=["batch_stats"]` and, for dropout, the key `rngs={"dropout": key}`.

        Returns:
          `layer1`, `layer2`, ... [batch, ceil(frames / product of strides so far), channels]: the
          output of each layer, zero in the padding.
          `pooled` [batch, 2 * channels]: mean and deviation over the valid frames.
          `representation` [batch, 2 * channels]: `pooled` after dropout.

        Raises:
          InputError: the shapes are different.
        """
        x, length = prepare_input(features, length)
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


@checked
def conv1d(
    *,
    channels: Counts = (64, 64, 64, 64),
    kernel_size: Count = 5,
    strides: Counts = (2, 2, 2, 1),
    dropout: Fraction = 0.3,
    precision: Precision = "float32",
) -> Conv1d:
    """Makes the encoder of convolutions over time.

    Args:
      channels: output channels of each layer.
      kernel_size: in frames, the same in all layers.
      strides: of each layer, in frames of the layer below; as many as `channels`.
      dropout: probability that an entry of the representation is dropped in training.
      precision: "float32", or "mixed" for products in bfloat16 that are summed in float32.

    Returns:
      A linen module.

    Raises:
      InputError: a value is out of range, or `channels` and `strides` differ in length.
    """
    if len(channels) != len(strides):
        raise InputError(
            f"encoder.channels {tuple(channels)} and encoder.strides {tuple(strides)} differ in "
            "length; expected one entry per layer in each, so change them together"
        )
    return Conv1d(tuple(channels), kernel_size, tuple(strides), dropout, precision)
