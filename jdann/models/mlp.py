"""A perceptron on one vector per utterance: the encoder of utterance statistics."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jdann.errors import InputError
from jdann.parameters import Counts, Fraction, Precision, checked


class Mlp(nn.Module):
    """Dense layers with ReLU and dropout, for a vector that is stored as frames of one bin.

    Fields:
      hidden: units of each layer.
      input_dropout: probability, 0 to 1, that a value of the input is dropped in training.
      dropout: probability, 0 to 1, that a unit of a layer is dropped in training.
      batch_norm: if True, normalise each layer before its ReLU (Ioffe and Szegedy, 2015).
    """

    hidden: tuple[int, ...]
    input_dropout: float
    dropout: float
    batch_norm: bool

    @nn.compact
    def __call__(self, features: jax.Array, length: jax.Array, train: bool) -> dict[str, jax.Array]:
        """Encodes a batch of utterances.

        Args:
          features: [batch, values].
          length: [batch]; it does not matter.
          train: if True, dropout is active and batch norm uses and updates its statistics. This
            needs the key `rngs={"dropout": key}` and `mutable=["batch_stats"]`.

        Returns:
          `layer1`, `layer2`, ... [batch, units]: the output of each layer before dropout.
          `pooled` [batch, units]: the output of the last layer before dropout.
          `representation` [batch, units]: `pooled` after dropout.

        Raises:
          InputError: the input is not one vector per utterance.
        """
        del length
        if features.ndim != 2:
            raise InputError(
                f"encoder.name=mlp needs one vector per utterance, not {features.shape[-1]} bins "
                "over time; set --config.features.recipe=statistics, or choose conv1d or resnet50"
            )
        x = features.astype(jnp.float32)  # [batch, values]
        x = nn.Dropout(self.input_dropout, deterministic=not train)(x)
        outputs = {}
        for layer, units in enumerate(self.hidden, start=1):
            x = nn.Dense(units, kernel_init=nn.initializers.he_uniform())(x)
            if self.batch_norm:
                x = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, use_fast_variance=False)(x)
            outputs[f"layer{layer}"] = pooled = nn.relu(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        return {"representation": x, "pooled": pooled, **outputs}


@checked
def mlp(
    *,
    hidden: Counts = (256, 64),
    input_dropout: Fraction = 0.1,
    dropout: Fraction = 0.3,
    batch_norm: bool = False,
    precision: Precision = "float32",
) -> Mlp:
    """Makes the encoder of utterance statistics.

    Args:
      hidden: units of each layer.
      input_dropout: probability that a value of the input is dropped in training.
      dropout: probability that a unit of a layer is dropped in training.
      batch_norm: if True, normalise each layer before its ReLU.
      precision: either value is accepted, but the products are always float32. They are small, and
        a training step spends its time elsewhere.

    Returns:
      A linen module.

    Raises:
      InputError: a value is out of range.
    """
    del precision
    return Mlp(tuple(hidden), input_dropout, dropout, batch_norm)
