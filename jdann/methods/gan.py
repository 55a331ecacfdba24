"""Alternating games: a discriminator or critic learns first, then the encoder learns against it."""

import jax
import jax.numpy as jnp
import optax

from jdann.methods.contract import (
    FROZEN,
    Context,
    Dims,
    LossValue,
    Method,
    Params,
    Phase,
    Source,
    Target,
    Update,
)
from jdann.methods.losses import domain_loss
from jdann.methods.perceptron import apply_perceptron, init_perceptron
from jdann.methods.source_only import no_loss
from jdann.parameters import Count, FractionBetween, NonNegative, Positive, checked


@checked
def adda(
    *,
    hidden: Count = 128,
    layers: Count = 2,
    source_fraction: FractionBetween = 0.5,
    rate: Positive = 0.1,
) -> Method:
    """Adversarial discriminative domain adaptation: the target gets an encoder of its own.

    It starts from the trained source encoder.

    Phase 1 trains on the source alone. Phase 2 keeps the resulting encoder, M_s, and alternates
    D, the discriminator: loss = 1/2 (BCE(D(M_s(x_s)), 0) + BCE(D(M(x_t)), 1));
    M, the encoder: loss = lambda BCE(D(M(x_t)), 0), the inverted label.
    The classifier and the batch statistics stay those of phase 1. Both encoders run without
    augmentation and dropout, by which D could tell them apart.

    Source: Tzeng et al. 2017, "Adversarial Discriminative Domain Adaptation", CVPR, equation 9.

    Args:
      hidden: units of each hidden layer of the discriminator.
      layers: number of hidden layers of the discriminator.
      source_fraction: the part of the epochs that is phase 1, on the source alone.
      rate: factor of the learning rate in phase 2.

    Diagnostics of phase 2: `domain_loss` and `domain_accuracy` as in `dann`; `inverted_loss`,
    BCE(D(M(x_t)), 0).
    """

    def init(key: jax.Array, dims: Dims) -> Params:
        return init_perceptron(key, dims.representation, (hidden,) * layers, 1)

    def discriminate(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        source_encoder = context.memory["encoder"]
        source_points = context.encode(source_encoder, source.features, source.length)
        target_points, _ = context.forward(target.features, target.length)
        both = jax.lax.stop_gradient(jnp.concatenate([source_points, target_points]))
        return domain_loss(apply_perceptron(params, both)[:, 0], len(source_points))

    def encode(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        representation, _ = context.forward(target.features, target.length)
        logits = apply_perceptron(params, representation)[:, 0]
        value = optax.sigmoid_binary_cross_entropy(logits, jnp.zeros_like(logits)).mean()
        return context.strength * value, {"inverted_loss": value}

    game = (
        Update(discriminate, trains=("method",), source_risk=False),
        Update(encode, trains=("encoder",), source_risk=False),
    )
    phases = (
        Phase("source", (Update(no_loss),), fraction=source_fraction, domains=("source",)),
        Phase("adapt", game, fraction=1.0 - source_fraction, batch_norm=FROZEN, rate=rate),
    )
    return Method(init, phases, remember=lambda params: {"encoder": params["encoder"]})


@checked
def wdgrl(
    *,
    hidden: Count = 128,
    layers: Count = 2,
    critic_steps: Count = 5,
    gamma: NonNegative = 10.0,
    weight: NonNegative = 0.1,
) -> Method:
    """Wasserstein distance guided representation learning.

    With W = mean C(f_s) - mean C(f_t), each step makes `critic_steps` updates of the critic C:
    loss = -W + gamma mean (|grad C| - 1)^2 over source, target and random points between them. Then
    it makes one update of encoder and classifier: loss = lambda * weight * W, beside the source
    risk.

    Source: Shen et al. 2018, "Wasserstein Distance Guided Representation Learning for Domain
    Adaptation", AAAI, algorithm 1.

    Args:
      hidden: units of each hidden layer of the critic.
      layers: number of hidden layers of the critic.
      critic_steps: updates of the critic in a step, before the update of the encoder.
      gamma: weight of the gradient penalty.
      weight: factor of the distance, beside lambda.

    Diagnostics: `wasserstein_distance`, W, and `gradient_penalty`, the mean of (|grad C| - 1)^2.
    """

    def init(key: jax.Array, dims: Dims) -> Params:
        return init_perceptron(key, dims.representation, (hidden,) * layers, 1)

    def distance(params: Params, source: jax.Array, target: jax.Array) -> jax.Array:
        value = apply_perceptron(params, jnp.concatenate([source, target]))[:, 0]
        return value[: len(source)].mean() - value[len(source) :].mean()

    def criticise(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        x, y = jax.lax.stop_gradient((source.representation, target.representation))
        part = jax.random.uniform(context.key, (len(x), 1))
        points = jnp.concatenate([x, y, part * x + (1.0 - part) * y])  # [3 batch, representation]
        slope = jax.vmap(jax.grad(lambda point: apply_perceptron(params, point)[0]))(points)
        penalty = jnp.square(safe_norm(slope) - 1.0).mean()
        return gamma * penalty - distance(params, x, y), {"gradient_penalty": penalty}

    def approach(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        value = distance(params, source.representation, target.representation)
        return context.strength * weight * value, {"wasserstein_distance": value}

    updates = (
        Update(criticise, trains=("method",), repeat=critic_steps, source_risk=False),
        Update(approach, trains=("encoder", "classifier")),
    )
    return Method(init, (Phase("all", updates),))


def safe_norm(x: jax.Array) -> jax.Array:
    """The L2 norm over the last axis, with gradient zero at zero.

    A critic whose units are all inactive has slope zero.
    """
    return jnp.sqrt(jnp.square(x).sum(-1) + 1e-12)
