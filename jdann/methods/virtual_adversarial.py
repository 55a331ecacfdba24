"""Virtual adversarial training: predictions that no small change of the features can turn, so that boundaries avoid data."""

from typing import Any

import jax
import jax.numpy as jnp

from jdann.gradient_reversal import gradient_reversal
from jdann.methods.adversarial import domain_discriminator, domain_loss
from jdann.methods.contract import Context, Dims, Method, Phase, Source, Target, Update, term
from jdann.methods.perceptron import evaluate


def vada(config: Any) -> Method:
    """Virtual adversarial domain adaptation.

    loss = L_d(R f) + lambda (w_s V(x_s) + w_t (V(x_t) + H(p_t))), L_d the loss of `dann`, H the mean entropy of the
    predictions and V(x) = mean KL(sg p(x) || p(x + r)), r the change of a given size that turns p(x) most, found by one
    power iteration (`virtual_adversarial`).

    Source: Shu et al. 2018, "A DIRT-T Approach to Unsupervised Domain Adaptation", ICLR, section 4; Miyato et al.
    2019, "Virtual Adversarial Training", TPAMI 41, section 3.

    Args:
      config: `config.vada.hidden`, units of each of the discriminator's two hidden layers; `config.vada.reversal`, a
        factor of the strength in R; `config.vada.source_weight` and `config.vada.target_weight`, w_s and w_t;
        `config.vada.radius` and `config.vada.probe`.

    Diagnostics: `domain_loss` and `domain_accuracy` as `dann`; `entropy`, H(p_t) in nats; `vat_source` and `vat_target`.
    """
    discriminator = domain_discriminator(config.vada.hidden)

    def init(key: jax.Array, dims: Dims) -> Any:
        return discriminator.init(key, jnp.zeros((1, dims.representation)))["params"]

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        both = jnp.concatenate([source.representation, target.representation])
        logits = evaluate(
            discriminator, params, gradient_reversal(both, config.vada.reversal * context.strength)
        )
        domain, seen = domain_loss(logits[:, 0], len(source.representation))
        vat_source, vat_target = (
            virtual_adversarial(
                x.features, x.length, of_domain, config.vada.radius, config.vada.probe
            ).mean()
            for x, of_domain in zip((source, target), _contexts(context), strict=True)
        )
        entropy = conditional_entropy(target.logits)
        of_both = config.vada.source_weight * vat_source + config.vada.target_weight * (
            vat_target + entropy
        )
        return domain + context.strength * of_both, {
            **seen, "entropy": entropy, "vat_source": vat_source, "vat_target": vat_target,
        }  # fmt: skip

    return term(loss, init)


def _contexts(context: Context) -> tuple[Context, Context]:
    """The context for source and for target utterances: each domain by its own running statistics and random key."""

    def forward(features: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        representation = context.encode(context.params["encoder"], features, length)
        return representation, context.classify(representation)

    of_source, of_target = (
        context._replace(key=jax.random.fold_in(context.key, i)) for i in range(2)
    )
    return of_source._replace(forward=forward), of_target


def dirt_t(config: Any) -> Method:
    """DIRT-T: `vada`, then refinement on the target alone, led by a moving average of the model itself.

    Phase 1 is `vada`. Phase 2 has no source: loss = lambda (V(x_t) + H(p_t) + beta mean KL(teacher(x_t) || p_t)).

    Source: Shu et al. 2018, "A DIRT-T Approach to Unsupervised Domain Adaptation", ICLR, section 4. The moving
    average stands for the paper's chain of teachers.

    Args:
      config: `config.vada`, as `vada`; `config.dirt_t.fraction`, the part of the epochs that is phase 1;
        `config.dirt_t.teacher_weight`, beta.

    Diagnostics of phase 2: `entropy` and `vat_target` as `vada`; `teacher_divergence`, the mean KL.
    """
    first = vada(config)

    def refine(
        params: Any, source: None, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        del params, source
        vat = virtual_adversarial(
            target.features, target.length, context, config.vada.radius, config.vada.probe
        ).mean()
        entropy = conditional_entropy(target.logits)
        teacher = jax.lax.stop_gradient(context.teacher(target.features, target.length))
        divergence = kl_divergence(teacher, target.logits).mean()
        value = context.strength * (vat + entropy + config.dirt_t.teacher_weight * divergence)
        return value, {"entropy": entropy, "vat_target": vat, "teacher_divergence": divergence}

    refinement = Update(refine, trains=("encoder", "classifier"), source_risk=False)
    phases = (
        first.phases[0]._replace(name="vada", fraction=config.dirt_t.fraction),
        Phase("refine", (refinement,), fraction=1.0 - config.dirt_t.fraction, domains=("target",)),
    )
    return first._replace(phases=phases)


def virtual_adversarial(
    features: jax.Array, length: jax.Array, context: Context, radius: float, probe: float
) -> jax.Array:
    """How far the prediction turns under the change of the features, of a given size, that turns it most.

    KL(sg p(x) || p(x + r)) with r = radius |x| u, u the unit vector along the gradient of KL(p(x) || p(x + probe |x| v))
    by the change, and v a random unit vector: one power iteration. Norms are over an utterance's valid frames, which alone
    are changed. Gradients flow into p(x + r) only.

    Args:
      features: [batch, frames, bins].
      length: [batch] int32, frames.
      context: its `forward` and `key` are used.
      radius: of the change, relative to the L2 norm of the utterance's features.
      probe: size of the random change, likewise: small, yet large enough that p moves by more than float32's rounding.

    Returns:
      [batch], in nats.
    """
    features = jax.lax.stop_gradient(features.astype(jnp.float32))
    valid = (jnp.arange(features.shape[1]) < length[:, None])[:, :, None]  # [batch, frames, 1]
    size = jnp.sqrt(
        jnp.where(valid, jnp.square(features), 0.0).sum((1, 2), keepdims=True)
    )  # [batch, 1, 1]
    clean = jax.lax.stop_gradient(context.forward(features, length)[1])

    def divergence(change: jax.Array) -> jax.Array:
        return kl_divergence(clean, context.forward(features + change, length)[1])  # [batch]

    direction = unit(
        jnp.where(valid, jax.random.uniform(context.key, features.shape, minval=-1.0), 0.0)
    )
    steepest = jax.lax.stop_gradient(
        jax.grad(lambda change: divergence(change).sum())(probe * size * direction)
    )
    return divergence(radius * size * unit(jnp.where(valid, steepest, 0.0)))


def unit(x: jax.Array) -> jax.Array:
    """Each utterance of x [batch, frames, bins] divided by its L2 norm, and zero where that is zero."""
    largest = jnp.abs(x).max((1, 2), keepdims=True)
    # By the largest entry first: the squares of tiny gradients would all be zero.
    x = x / jnp.where(largest > 0, largest, 1.0)
    norm = jnp.sqrt(jnp.square(x).sum((1, 2), keepdims=True))  # zero, or at least 1
    return x / jnp.maximum(norm, 1.0)


def conditional_entropy(logits: jax.Array) -> jax.Array:
    """Mean entropy of the predictions, of logits [batch, classes], in nats."""
    return -(jax.nn.softmax(logits) * jax.nn.log_softmax(logits)).sum(-1).mean()


def kl_divergence(logits: jax.Array, others: jax.Array) -> jax.Array:
    """KL(softmax(logits) || softmax(others)) of logits [batch, classes]; [batch], in nats."""
    log = jax.nn.log_softmax(logits)
    return (jnp.exp(log) * (log - jax.nn.log_softmax(others))).sum(-1)
