"""Virtual adversarial training: no small change of the features may change the prediction.

The decision boundaries then avoid the data.
"""

import jax
import jax.numpy as jnp

from jdann.methods.contract import (
    Context,
    Dims,
    LossValue,
    Method,
    Params,
    Phase,
    Source,
    Target,
    Update,
    term,
)
from jdann.methods.losses import domain_loss, entropies, kl_divergence
from jdann.methods.perceptron import apply_perceptron, init_perceptron
from jdann.parameters import Count, FractionBetween, NonNegative, Positive, checked
from jdann.reversal import gradient_reversal


@checked
def vada(
    *,
    hidden: Count = 128,
    layers: Count = 2,
    reversal: NonNegative = 1.0,
    source_weight: NonNegative = 1.0,
    target_weight: NonNegative = 0.1,
    radius: Positive = 0.1,
    probe: Positive = 0.01,
) -> Method:
    """Virtual adversarial domain adaptation.

    loss = L_d(R f) + lambda (w_s V(x_s) + w_t (V(x_t) + H(p_t))). L_d is the loss of `dann`, H the
    mean entropy of the predictions and V(x) = mean KL(sg(p(x)) || p(x + r)); sg: stop gradient. r
    is the change of a given size that changes p(x) most; one power iteration finds it
    (`virtual_adversarial`).

    Source: Shu et al. 2018, "A DIRT-T Approach to Unsupervised Domain Adaptation", ICLR, section 4;
    Miyato et al. 2019, "Virtual Adversarial Training", TPAMI 41, section 3.

    Args:
      hidden: units of each hidden layer of the discriminator.
      layers: number of hidden layers of the discriminator.
      reversal: factor of lambda in the gradient reversal R.
      source_weight: w_s, factor of the virtual adversarial loss of the source, beside lambda.
      target_weight: w_t, factor of the target's loss and of its entropy, beside lambda.
      radius: size of the virtual adversarial change, relative to the L2 norm of an utterance's
        features.
      probe: size of the random change that finds the direction of r, also relative.

    Diagnostics: `domain_loss` and `domain_accuracy` as in `dann`; `entropy`, H(p_t) in nats;
    `vat_source` and `vat_target`, V of each domain.
    """

    def init(key: jax.Array, dims: Dims) -> Params:
        return init_perceptron(key, dims.representation, (hidden,) * layers, 1)

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        both = jnp.concatenate([source.representation, target.representation])
        reversed_ = gradient_reversal(both, reversal * context.strength)
        logits = apply_perceptron(params, reversed_)[:, 0]
        domain, diagnostics = domain_loss(logits, len(source.representation))
        vat_source, vat_target = (
            virtual_adversarial(batch.features, batch.length, part, radius, probe).mean()
            for batch, part in zip((source, target), _domain_contexts(context), strict=True)
        )
        entropy = entropies(target.logits).mean()
        smoothness = source_weight * vat_source + target_weight * (vat_target + entropy)
        diagnostics |= {"entropy": entropy, "vat_source": vat_source, "vat_target": vat_target}
        return domain + context.strength * smoothness, diagnostics

    return term(loss, init)


def _domain_contexts(context: Context) -> tuple[Context, Context]:
    """The contexts for source and target: each has its own running statistics and its own key."""

    def forward_source(features: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        representation = context.encode(context.params["encoder"], features, length)
        return representation, context.classify(representation)

    source, target = (context._replace(key=jax.random.fold_in(context.key, i)) for i in range(2))
    return source._replace(forward=forward_source), target


@checked
def dirt_t(
    *,
    hidden: Count = 128,
    layers: Count = 2,
    reversal: NonNegative = 1.0,
    source_weight: NonNegative = 1.0,
    target_weight: NonNegative = 0.1,
    radius: Positive = 0.1,
    probe: Positive = 0.01,
    fraction: FractionBetween = 0.7,
    teacher_weight: NonNegative = 1.0,
) -> Method:
    """DIRT-T: `vada`, then refinement on the target alone, led by a moving average of the model.

    Phase 1 is `vada`. Phase 2 has no source:
    loss = lambda (V(x_t) + H(p_t) + beta mean KL(teacher(x_t) || p_t)).

    Source: Shu et al. 2018, "A DIRT-T Approach to Unsupervised Domain Adaptation", ICLR, section 4.
    The moving average replaces the paper's chain of teachers.

    Args:
      hidden: as in `vada`; so are `layers`, `reversal`, `source_weight`, `target_weight`, `radius`
        and `probe`.
      fraction: the part of the epochs that is phase 1; the rest is on the target alone.
      teacher_weight: beta, factor of the divergence from the moving average, beside lambda.

    Diagnostics of phase 2: `entropy` and `vat_target` as in `vada`; `teacher_divergence`, the mean
    KL.
    """
    first = vada(
        hidden=hidden,
        layers=layers,
        reversal=reversal,
        source_weight=source_weight,
        target_weight=target_weight,
        radius=radius,
        probe=probe,
    )

    def refine(params: Params, source: None, target: Target, context: Context) -> LossValue:
        vat = virtual_adversarial(target.features, target.length, context, radius, probe).mean()
        entropy = entropies(target.logits).mean()
        teacher = jax.lax.stop_gradient(context.teacher(target.features, target.length))
        divergence = kl_divergence(teacher, target.logits).mean()
        value = context.strength * (vat + entropy + teacher_weight * divergence)
        return value, {"entropy": entropy, "vat_target": vat, "teacher_divergence": divergence}

    refinement = Update(refine, trains=("encoder", "classifier"), source_risk=False)
    phases = (
        first.phases[0]._replace(name="vada", fraction=fraction),
        Phase("refine", (refinement,), fraction=1.0 - fraction, domains=("target",)),
    )
    return first._replace(phases=phases)


def virtual_adversarial(
    features: jax.Array, length: jax.Array, context: Context, radius: float, probe: float
) -> jax.Array:
    """How much the prediction changes under the worst small change of the features.

    KL(sg(p(x)) || p(x + r)) with r = radius |x| u, where u is the unit vector along the gradient of
    KL(p(x) || p(x + probe |x| v)) with respect to the change, and v is a random unit vector: one
    power iteration. Norms are over the valid frames of an utterance, and only these are changed.
    Gradients flow into p(x + r) only.

    Args:
      features: [batch, frames, bins] or [batch, values].
      length: [batch] int32, frames.
      context: its `forward` and `key` are used.
      radius: size of the change, relative to the L2 norm of the utterance's features.
      probe: size of the random change, also relative. It is small, but so large that p changes by
        more than float32 rounds.

    Returns:
      [batch], in nats.
    """
    if features.ndim == 2:
        return _of_vectors(features, context, radius, probe)
    features = jax.lax.stop_gradient(features.astype(jnp.float32))
    valid = (jnp.arange(features.shape[1])[None] < length[:, None])[..., None]  # [batch, frames, 1]
    squares = jnp.where(valid, jnp.square(features), 0.0)
    size = jnp.sqrt(squares.sum((1, 2), keepdims=True))  # [batch, 1, 1]
    clean = jax.lax.stop_gradient(context.forward(features, length)[1])

    def divergence(change: jax.Array) -> jax.Array:
        return kl_divergence(clean, context.forward(features + change, length)[1])  # [batch]

    draw = jax.random.uniform(context.key, features.shape, minval=-1.0)
    change = probe * size * unit(jnp.where(valid, draw, 0.0))
    steepest = jax.lax.stop_gradient(jax.grad(lambda change: divergence(change).sum())(change))
    return divergence(radius * size * unit(jnp.where(valid, steepest, 0.0)))


def _of_vectors(features: jax.Array, context: Context, radius: float, probe: float) -> jax.Array:
    """`virtual_adversarial` of vectors [batch, values], seen as as many frames of one bin."""

    def forward(frames: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        return context.forward(frames[:, :, 0], length)

    length = jnp.full(len(features), features.shape[1])
    framed = context._replace(forward=forward)
    return virtual_adversarial(features[:, :, None], length, framed, radius, probe)


def unit(x: jax.Array) -> jax.Array:
    """Divides each utterance of x [batch, frames, bins] by its L2 norm; zero stays zero."""
    # By the largest entry first: the squares of tiny gradients would all be zero.
    largest = jnp.abs(x).max((1, 2), keepdims=True)
    x = x / jnp.where(largest > 0, largest, 1.0)
    norm = jnp.sqrt(jnp.square(x).sum((1, 2), keepdims=True))  # zero, or at least 1
    return x / jnp.maximum(norm, 1.0)
