"""wav2vec 2.0, XLS-R, HuBERT and data2vec-audio.

The families share one network. HuBERT (Hsu et al., 2021) is a wav2vec 2.0 (Baevski et al., 2020)
that was trained in another way, and XLS-R (Babu et al., 2022) one that was trained on more
languages. In data2vec (Baevski et al., 2022) only the positions differ.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jdann.pretrained.contract import Architecture, HiddenStates
from jdann.pretrained.wav2vec2_layers import Config, Frames, Transformer
from jdann.pretrained.wav2vec2_settings import IGNORED, RULES, describe, read_config

FAMILIES = ("wav2vec2", "hubert", "data2vec-audio")


class Wav2Vec2(nn.Module):
    """The whole network, from samples to hidden states; for the arguments of a call see `Frames`.

    Fields:
      config: sizes and variants.
      dtype: jnp.float32, or jnp.bfloat16 to round the factors of products.
      remat: whether a gradient computes the layers again instead of keeping their insides.
    """

    config: Config
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, samples: jax.Array, length: jax.Array) -> HiddenStates:
        options = {"dtype": self.dtype, "remat": self.remat}
        x, length = Frames(self.config, **options, name="frames")(samples, length)
        return Transformer(self.config, **options, name="transformer")(x, length)


def architecture(settings: Mapping[str, Any]) -> Architecture:
    """Returns the network that a published `config.json` describes.

    Args:
      settings: keys and values as in transformers, whose defaults stand in for missing keys. The
        key "do_normalize" of `preprocessor_config.json` may be among them. If it is missing, the
        samples are normalised where each convolution has a layer norm.

    Raises:
      InputError: names a setting that this network does not know.
    """
    config = read_config(settings, FAMILIES)
    return describe(settings["model_type"], Wav2Vec2(config), config, RULES, IGNORED)
