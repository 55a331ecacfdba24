"""Adversarial alignment: the encoder learns what a domain discriminator cannot tell apart."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jdann.gradient_reversal import gradient_reversal
from jdann.methods.contract import Dims, Method, Source, Target


class DomainDiscriminator(nn.Module):
    """A perceptron with two hidden layers and one logit: positive for the target.

    It has no batch norm: normalising each domain by its own statistics would hide from it just what it looks for.
    """

    hidden: int

    @nn.compact
    def __call__(self, representation: jax.Array) -> jax.Array:
        """Maps [batch, representation] to logits [batch]."""
        uniform = nn.initializers.lecun_uniform()
        x = nn.relu(nn.Dense(self.hidden, kernel_init=uniform)(representation))
        x = nn.relu(nn.Dense(self.hidden, kernel_init=uniform)(x))
        return nn.Dense(1, kernel_init=uniform)(x)[:, 0]


def dann(config: Any) -> Method:
    """Domain-adversarial training of neural networks.

    loss = source risk + 1/2 (BCE(D(R f_s), 0) + BCE(D(R f_t), 1)), R the gradient reversal with strength lambda. lambda
    acts on the encoder alone: the discriminator always learns at full speed.

    Source: Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks", JMLR 17, equations 9 and 18.

    Args:
      config: `config.dann.hidden`, the units of each of the discriminator's hidden layers.

    Diagnostics: `domain_loss` (ln 2 = .693 for a discriminator that guesses) and `domain_accuracy`.
    """
    discriminator = DomainDiscriminator(config.dann.hidden)

    def init(key: jax.Array, dims: Dims) -> Any:
        return discriminator.init(key, jnp.zeros((1, dims.representation)))["params"]

    def loss(
        params: Any, source: Source, target: Target, *, strength: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        del key
        both = jnp.concatenate([source.representation, target.representation])
        logits = discriminator.apply({"params": params}, gradient_reversal(both, strength))
        assert isinstance(logits, jax.Array)
        of_source, of_target = logits[: len(source.representation)], logits[len(source.representation) :]
        domain_loss = 0.5 * (
            optax.sigmoid_binary_cross_entropy(of_source, jnp.zeros_like(of_source)).mean()
            + optax.sigmoid_binary_cross_entropy(of_target, jnp.ones_like(of_target)).mean()
        )
        accuracy = 0.5 * ((of_source < 0).mean() + (of_target > 0).mean())
        return source.risk + domain_loss, {"domain_loss": domain_loss, "domain_accuracy": accuracy}

    return Method(init, loss, uses_target=True)
