"""A perceptron on one vector an utterance: the encoder of utterance statistics."""

from typing import Any

import jax
from flax import linen as nn

from jdann.errors import InputError
from jdann.models.layers import checked


class Mlp(nn.Module):
    """Dense layers with ReLU and dropout, on values that stand as frames of one bin.

    Fields:
      hidden: units of each layer.
      input_dropout: probability, 0 to 1, that a value of the input is dropped in training.
      dropout: the same of each layer's units.
      batch_norm: normalise each layer before its ReLU (Ioffe and Szegedy, 2015).
    """

    hidden: tuple[int, ...]
    input_dropout: float
    dropout: float
    batch_norm: bool

    @nn.compact
    def __call__(self, features: jax.Array, length: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Encodes a batch of utterances.

        Args:
          features: [batch, values, 1].
          length: [batch], the number of values, the same for all.
          train: drop out, and use the batch's statistics and move the running ones; needs the key
            `rngs={"dropout": key}` and `mutable=["batch_stats"]`.

        Returns:
          `layer1`, `layer2`, ... [batch, units]; `pooled`, the last of them before dropout; `representation`, after it.

        Raises:
          InputError: the input is no vector an utterance.
        """
        x, _ = checked(features, length)
        if x.shape[-1] != 1:
            raise InputError(
                f"encoder.name=mlp takes one vector an utterance, not {x.shape[-1]} bins over time; set "
                "--config.features.recipe=statistics, or choose conv1d or resnet50"
            )
        x = nn.Dropout(self.input_dropout, deterministic=not train)(x[..., 0])  # [batch, values]
        outputs = {}
        for layer, units in enumerate(self.hidden, start=1):
            x = nn.Dense(units, kernel_init=nn.initializers.he_uniform())(x)
            if self.batch_norm:
                x = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, use_fast_variance=False)(x)
            outputs[f"layer{layer}"] = pooled = nn.relu(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        return {"representation": x, "pooled": pooled, **outputs}


def mlp(config: Any, precision: str) -> Mlp:
    """Makes the encoder from `config.encoder`: its `hidden`, `input_dropout`, `dropout` and `batch_norm`.

    Its products are float32 in every precision: they are small, and its steps spend their time elsewhere.
    """
    del precision
    return Mlp(tuple(config.hidden), config.input_dropout, config.dropout, config.batch_norm)
