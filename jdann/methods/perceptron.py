"""The small network that methods train beside the encoder, such as a discriminator."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class Perceptron(nn.Module):
    """Dense layers with ReLU between them.

    It has no batch norm. Each domain would be normalised by its own statistics, which would hide
    from a discriminator what it looks for. A critic's gradient at one utterance would depend on the
    others.

    Fields:
      hidden: units of each hidden layer; empty for a linear map.
      outputs: units of the last layer.
    """

    hidden: tuple[int, ...]
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., inputs] to [..., outputs]."""
        # Uniform, because the inverse error function of a normal draw takes seconds to compile.
        uniform = nn.initializers.lecun_uniform()
        for units in self.hidden:
            x = nn.relu(nn.Dense(units, kernel_init=uniform)(x))
        return nn.Dense(self.outputs, kernel_init=uniform)(x)


def init_perceptron(key: jax.Array, inputs: int, hidden: Sequence[int], outputs: int) -> Any:
    """Makes the parameters of a perceptron.

    Args:
      key: random key.
      inputs: entries of an input vector.
      hidden: units of each hidden layer; empty for a linear map.
      outputs: entries of an output vector.
    """
    return Perceptron(tuple(hidden), outputs).init(key, jnp.zeros((1, inputs)))["params"]


def apply_perceptron(params: Any, x: jax.Array) -> jax.Array:
    """Maps x [..., inputs] to [..., outputs]; the parameters tell the sizes of all layers."""
    *hidden, outputs = (params[f"Dense_{i}"]["bias"].shape[-1] for i in range(len(params)))
    y = Perceptron(tuple(hidden), outputs).apply({"params": params}, x)
    assert isinstance(y, jax.Array)
    return y
