"""The small network that methods train beside the encoder: discriminators, critics and second classifiers."""

from typing import Any

import flax.linen as nn
import jax


class Perceptron(nn.Module):
    """Dense layers with ReLU between them.

    It has no batch norm: normalising each domain by its own statistics would hide from a discriminator just what it
    looks for, and would make a critic's gradient at one utterance depend on the others.

    Fields:
      hidden: units of each hidden layer; none for a linear map.
      outputs: units of the last layer.
    """

    hidden: tuple[int, ...]
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., inputs] to [..., outputs]."""
        uniform = (
            nn.initializers.lecun_uniform()
        )  # a normal draw's inverse error function takes seconds to compile
        for units in self.hidden:
            x = nn.relu(nn.Dense(units, kernel_init=uniform)(x))
        return nn.Dense(self.outputs, kernel_init=uniform)(x)


def evaluate(perceptron: Perceptron, params: Any, x: jax.Array) -> jax.Array:
    """What a perceptron with these parameters makes of x: [..., inputs] to [..., outputs]."""
    outputs = perceptron.apply({"params": params}, x)
    assert isinstance(outputs, jax.Array)
    return outputs
