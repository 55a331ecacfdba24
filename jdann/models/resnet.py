"""ResNet-50 over frames and bins: the feature matrix as a picture of one channel."""

from typing import Any

import jax
from flax import linen as nn

from jdann.models.cpu.convolution import Convolution, strided
from jdann.models.layers import MaskedBatchNorm, checked, max_pool, mean_pool


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions with batch norm, added to their input (He et al., 2015, figure 5).

    The stride is the 3 x 3 convolution's ("v1.5"). The last batch norm's scale begins at zero, so that the block begins
    as its shortcut (Goyal et al., 2017, section 5.1).

    Fields:
      channels: inside; the result has four times as many.
      stride: along frames and bins.
      precision: of the convolutions' products, a key of `jdann.models.cpu.convolution.PRECISIONS`.
    """

    channels: int
    stride: int
    precision: str

    @nn.compact
    def __call__(self, x: jax.Array, length: jax.Array, train: bool) -> jax.Array:
        """Maps [batch, frames, bins, in] to [batch, ceil(frames / stride), ceil(bins / stride), 4 * channels]."""
        strides, shorter = (self.stride, self.stride), strided(length, self.stride)
        y = nn.relu(
            MaskedBatchNorm()(
                Convolution(self.channels, (1, 1), (1, 1), self.precision)(x), length, train
            )
        )
        y = nn.relu(
            MaskedBatchNorm()(
                Convolution(self.channels, (3, 3), strides, self.precision)(y), shorter, train
            )
        )
        y = Convolution(4 * self.channels, (1, 1), (1, 1), self.precision)(y)
        y = MaskedBatchNorm(scale_init=nn.initializers.zeros)(y, shorter, train)
        if x.shape[-1] != 4 * self.channels:
            x = Convolution(4 * self.channels, (1, 1), strides, self.precision, name="shortcut")(x)
            x = MaskedBatchNorm(name="shortcut_norm")(x, shorter, train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Deep residual network of bottlenecks (He et al., "Deep residual learning for image recognition", 2015).

    Fields:
      blocks: bottlenecks of each stage; a stage after the first halves frames and bins and doubles the channels.
      channels: of the stem and inside the first stage's bottlenecks.
      dropout: probability, 0 to 1, that an entry of the representation is dropped in training.
      precision: of the convolutions' products, a key of `jdann.models.cpu.convolution.PRECISIONS`.
    """

    blocks: tuple[int, ...]
    channels: int
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
          `stem`, `stage1`, `stage2`, ... [batch, frames, bins, channels], zero in the padding: frames and bins are the
          input's over 4 in `stem` and `stage1`, over 8 in `stage2` and so on, rounded up; `pooled` [batch, channels of
          the last stage]: its mean over valid frames and bins; `representation`: the same after dropout.

        Raises:
          InputError: the input's shape is not that.
        """
        x, length = checked(features, length)
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


def resnet50(config: Any, precision: str) -> ResNet:
    """Makes the ResNet-50 (stages of 3, 4, 6 and 3 bottlenecks, 64 channels) from `config.encoder`: its `dropout`,
    and `config.precision`.
    """
    return ResNet((3, 4, 6, 3), 64, config.dropout, precision)
