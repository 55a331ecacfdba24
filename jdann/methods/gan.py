"""Alternating games: a discriminator or critic learns first, then the encoder against it, in updates of their own."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jdann.methods.adversarial import domain_discriminator, domain_loss
from jdann.methods.contract import Context, Dims, Method, Phase, Source, Target, Update
from jdann.methods.perceptron import Perceptron, evaluate
from jdann.methods.source_only import nothing
from jdann.models.network import FROZEN


def adda(config: Any) -> Method:
    """Adversarial discriminative domain adaptation: a target encoder that starts from the trained source encoder.

    Phase 1 trains on the source alone. Phase 2 keeps that encoder, M_s, and alternates
    D, the discriminator: loss = 1/2 (BCE(D(M_s(x_s)), 0) + BCE(D(M(x_t)), 1));
    M, the encoder: loss = lambda BCE(D(M(x_t)), 0), the inverted label.
    The classifier and the batch statistics stay those of phase 1, and both encoders see neither augmentation nor dropout,
    by which D could tell them apart.

    Source: Tzeng et al. 2017, "Adversarial Discriminative Domain Adaptation", CVPR, equation 9.

    Args:
      config: `config.adda.hidden`, units of each of the discriminator's two hidden layers; `config.adda.source_fraction`,
        the part of the epochs that is phase 1; `config.adda.rate`, the factor of the learning rate in phase 2.

    Diagnostics of phase 2: `domain_loss` and `domain_accuracy` as `dann`; `inverted_loss`, BCE(D(M(x_t)), 0).
    """
    discriminator = domain_discriminator(config.adda.hidden)

    def init(key: jax.Array, dims: Dims) -> Any:
        return discriminator.init(key, jnp.zeros((1, dims.representation)))["params"]

    def discriminate(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        of_source = context.encode(context.memory["encoder"], source.features, source.length)
        of_target, _ = context.forward(target.features, target.length)
        both = jax.lax.stop_gradient(jnp.concatenate([of_source, of_target]))
        return domain_loss(evaluate(discriminator, params, both)[:, 0], len(of_source))

    def encode(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        del source
        representation, _ = context.forward(target.features, target.length)
        logits = evaluate(discriminator, params, representation)[:, 0]
        value = optax.sigmoid_binary_cross_entropy(logits, jnp.zeros_like(logits)).mean()
        return context.strength * value, {"inverted_loss": value}

    game = (
        Update(discriminate, trains=("method",), source_risk=False),
        Update(encode, trains=("encoder",), source_risk=False),
    )
    first = config.adda.source_fraction
    phases = (
        Phase("source", (Update(nothing),), fraction=first, domains=("source",)),
        Phase("adapt", game, fraction=1.0 - first, batch_norm=FROZEN, rate=config.adda.rate),
    )
    return Method(init, phases, remember=lambda params: {"encoder": params["encoder"]})


def wdgrl(config: Any) -> Method:
    """Wasserstein distance guided representation learning.

    With W = mean C(f_s) - mean C(f_t), each step makes, `config.wdgrl.critic_steps` times, an update of the critic:
    loss = -W + gamma mean (|grad C| - 1)^2 over source, target and random points between them; then one of encoder and
    classifier: loss = lambda * weight * W, next to the source risk.

    Source: Shen et al. 2018, "Wasserstein Distance Guided Representation Learning for Domain Adaptation", AAAI,
    algorithm 1.

    Args:
      config: `config.wdgrl.hidden`, units of each of the critic's two hidden layers; `config.wdgrl.critic_steps`;
        `config.wdgrl.gamma`, the penalty's weight; `config.wdgrl.weight`.

    Diagnostics: `wasserstein_distance`, W, and `gradient_penalty`, the mean of (|grad C| - 1)^2.
    """
    critic = Perceptron((config.wdgrl.hidden, config.wdgrl.hidden), 1)

    def init(key: jax.Array, dims: Dims) -> Any:
        return critic.init(key, jnp.zeros((1, dims.representation)))["params"]

    def distance(params: Any, of_source: jax.Array, of_target: jax.Array) -> jax.Array:
        value = evaluate(critic, params, jnp.concatenate([of_source, of_target]))[:, 0]
        return value[: len(of_source)].mean() - value[len(of_source) :].mean()

    def criticise(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        of_source, of_target = jax.lax.stop_gradient((source.representation, target.representation))
        part = jax.random.uniform(context.key, (len(of_source), 1))
        points = jnp.concatenate(
            [of_source, of_target, part * of_source + (1.0 - part) * of_target]
        )
        slope = jax.vmap(jax.grad(lambda x: evaluate(critic, params, x)[0]))(
            points
        )  # [3 batch, representation]
        penalty = jnp.square(safe_norm(slope) - 1.0).mean()
        return config.wdgrl.gamma * penalty - distance(params, of_source, of_target), {
            "gradient_penalty": penalty
        }

    def approach(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        value = distance(params, source.representation, target.representation)
        return context.strength * config.wdgrl.weight * value, {"wasserstein_distance": value}

    updates = (
        Update(criticise, trains=("method",), repeat=config.wdgrl.critic_steps, source_risk=False),
        Update(approach, trains=("encoder", "classifier")),
    )
    return Method(init, (Phase("all", updates),))


def safe_norm(x: jax.Array) -> jax.Array:
    """The L2 norm over the last axis, whose gradient at zero is zero: a critic of dead units has slope zero."""
    return jnp.sqrt(jnp.square(x).sum(-1) + 1e-12)
