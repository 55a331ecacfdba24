"""ResNet-50 over frames and bins: the features of a clip are an image with one channel."""

import jax
from flax import linen as nn

from jdann.models.convolution import Convolution
from jdann.models.layers import MaskedBatchNorm, max_pool, mean_pool, prepare_input
from jdann.models.windows import strided
from jdann.parameters import Fraction, Precision, checked


class Bottleneck(nn.Module):
    """Convolutions of 1 x 1, 3 x 3 and 1 x 1 with batch norm, added to the block's input.

    He et al., "Deep residual learning for image recognition", 2015, figure 5. The 3 x 3 convolution
    has the stride, as in "v1.5" of the network. The scale of the last batch norm is initially zero,
    so that the block initially passes its input on (Goyal et al., 2017, section 5.1).

    Fields:
      channels: inside the block; its output has four times as many.
      stride: along frames and bins.
      precision: of the products, a key of `jdann.models.convolution.PRECISIONS`.
    """

    channels: int
    stride: int
    precision: str

    @nn.compact
    def __call__(self, x: jax.Array, length: jax.Array, train: bool) -> jax.Array:
        """Applies the block.

        Args:
          x: [batch, frames, bins, in], zero in the padding.
          length: [batch], valid frames of x.
          train: if True, batch norm uses and updates its statistics.

        Returns:
          [batch, ceil(frames / stride), ceil(bins / stride), 4 * channels], zero in the padding.
        """
        strides, shorter = (self.stride, self.stride), strided(length, self.stride)
        y = Convolution(self.channels, (1, 1), (1, 1), self.precision)(x)
        y = nn.relu(MaskedBatchNorm()(y, length, train))
        y = Convolution(self.channels, (3, 3), strides, self.precision)(y)
        y = nn.relu(MaskedBatchNorm()(y, shorter, train))
        y = Convolution(4 * self.channels, (1, 1), (1, 1), self.precision)(y)
        y = MaskedBatchNorm(scale_init=nn.initializers.zeros)(y, shorter, train)
        if x.shape[-1] != 4 * self.channels:
            x = Convolution(4 * self.channels, (1, 1), strides, self.precision, name="shortcut")(x)
            x = MaskedBatchNorm(name="shortcut_norm")(x, shorter, train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A deep residual network of bottlenecks.

    He et al., "Deep residual learning for image recognition", 2015.

    Fields:
      blocks: the number of bottlenecks in each stage. Each stage after the first halves frames and
        bins and doubles the channels.
      channels: of the stem, and inside the bottlenecks of the first stage.
      dropout: probability, 0 to 1, that an entry of the representation is dropped in training.
      precision: of the products, a key of `jdann.models.convolution.PRECISIONS`.
    """

    blocks: tuple[int, ...]
    channels: int
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
          `stem`, `stage1`, `stage2`, ... [batch, frames, bins, channels], zero in the padding.
          Frames and bins are divided by 4 in `stem` and `stage1`, by 8 in `stage2` and so on, and
          rounded up.
          `pooled` [batch, channels of the last stage]: the mean over valid frames and all bins.
          `representation` [batch, channels of the last stage]: `pooled` after dropout.

        Raises:
          InputError: the shapes are different.
        """
        x, length = prepare_input(features, length)
        x, length = x[..., None], strided(length, 2)  # [batch, frames, bins, 1]
        x = Convolution(self.channels, (7, 7), (2, 2), self.precision, name="stem")(x)
        x = max_pool(nn.relu(MaskedBatchNorm(name="stem_norm")(x, length, train)), length)
        length = strided(length, 2)
        outputs = {"stem": x}
        for stage, blocks in enumerate(self.blocks, start=1):
            for block in range(blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                channels, name = self.channels * 2 ** (stage - 1), f"stage{stage}_block{block + 1}"
                bottleneck = Bottleneck(channels, stride, self.precision, name=name)
                x = bottleneck(x, length, train)
                length = strided(length, stride)
            outputs[f"stage{stage}"] = x
        pooled = mean_pool(x.mean(axis=2), length)  # [batch, channels]
        representation = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        return {"representation": representation, "pooled": pooled, **outputs}


@checked
def resnet50(*, dropout: Fraction = 0.3, precision: Precision = "float32") -> ResNet:
    """Makes the ResNet-50: stages of 3, 4, 6 and 3 bottlenecks, with 64 channels in the first.

    Args:
      dropout: probability that an entry of the representation is dropped in training.
      precision: "float32", or "mixed" for products in bfloat16 that are summed in float32.

    Returns:
      A linen module.

    Raises:
      InputError: a value is out of range.
    """
    return ResNet((3, 4, 6, 3), 64, dropout, precision)
