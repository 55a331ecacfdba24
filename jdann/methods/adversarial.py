"""Adversarial alignment: the encoder hides the domain, or the speaker, from a discriminator."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jdann.methods.contract import (
    Context,
    Dims,
    LossValue,
    Method,
    Params,
    Source,
    Target,
    term,
)
from jdann.methods.losses import domain_loss, entropies
from jdann.methods.perceptron import apply_perceptron, init_perceptron
from jdann.parameters import Count, CountOrZero, NonNegative, checked
from jdann.reversal import gradient_reversal


@checked
def dann(*, hidden: Count = 128, layers: Count = 2) -> Method:
    """Domain-adversarial training of neural networks.

    loss = 1/2 (BCE(D(R f_s), 0) + BCE(D(R f_t), 1)), where R is the gradient reversal with strength
    lambda. lambda acts on the encoder alone: the discriminator D always learns at full speed.

    Source: Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks", JMLR 17, equations
    9 and 18.

    Args:
      hidden: units of each hidden layer of the discriminator.
      layers: number of hidden layers of the discriminator.

    Diagnostics: `domain_loss`, which is ln 2 = .693 for a discriminator that guesses, and
    `domain_accuracy`.
    """

    def init(key: jax.Array, dims: Dims) -> Params:
        return init_perceptron(key, dims.representation, (hidden,) * layers, 1)

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        both = jnp.concatenate([source.representation, target.representation])
        logits = apply_perceptron(params, gradient_reversal(both, context.strength))
        return domain_loss(logits[:, 0], len(source.representation))

    return term(loss, init)


@checked
def cdan(
    *,
    hidden: Count = 128,
    layers: Count = 2,
    direct: CountOrZero = 4096,
    projection: Count = 1024,
) -> Method:
    """Conditional domain-adversarial training: the discriminator sees the prediction too.

    loss = 1/2 (BCE(D(h_s), 0) + BCE(D(h_t), 1)), h = R f (x) sg(p), where p are the class
    probabilities; sg: stop gradient. The outer product has representation * classes entries. If
    there are more than `direct`, then h = (A R f) * (B sg(p)) / sqrt(n), which estimates the inner
    products of the outer product; A and B hold random signs in n = `projection` rows.

    Source: Long et al. 2018, "Conditional Adversarial Domain Adaptation", NeurIPS, sections 3.1 and
    3.2.

    Args:
      hidden: units of each hidden layer of the discriminator.
      layers: number of hidden layers of the discriminator.
      direct: the largest outer product, in entries, that is not projected.
      projection: entries of the projection.

    Diagnostics: `domain_loss` and `domain_accuracy`, as in `dann`.
    """
    return _conditional(hidden, layers, direct, projection, weighted=False)


@checked
def cdan_e(
    *,
    hidden: Count = 128,
    layers: Count = 2,
    direct: CountOrZero = 4096,
    projection: Count = 1024,
) -> Method:
    """CDAN+E: `cdan` in which confident predictions count more.

    The cross-entropy of each utterance has the weight 1 + exp(-H(p)), divided by the mean weight of
    its domain; H is the entropy of the prediction. The weights carry no gradient.

    Source: Long et al. 2018, "Conditional Adversarial Domain Adaptation", NeurIPS, section 3.2.

    Args:
      hidden: as in `cdan`; so are `layers`, `direct` and `projection`.

    Diagnostics: `domain_loss`, with the weights, and `domain_accuracy`, without them.
    """
    return _conditional(hidden, layers, direct, projection, weighted=True)


def _conditional(hidden: int, layers: int, direct: int, projection: int, weighted: bool) -> Method:
    def init(key: jax.Array, dims: Dims) -> Params:
        outer = dims.representation * dims.classes
        inputs = outer if outer <= direct else projection
        return init_perceptron(key, inputs, (hidden,) * layers, 1)

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        representation = jnp.concatenate([source.representation, target.representation])
        logits = jax.lax.stop_gradient(jnp.concatenate([source.logits, target.logits]))
        probability = jax.nn.softmax(logits)
        reversed_ = gradient_reversal(representation, context.strength)
        joint = conditioned(reversed_, probability, direct, projection)
        weight = 1.0 + jnp.exp(-entropies(logits)) if weighted else None  # [batch]
        domain_logits = apply_perceptron(params, joint)[:, 0]
        return domain_loss(domain_logits, len(source.representation), weight)

    return term(loss, init)


def conditioned(
    representation: jax.Array, probability: jax.Array, direct: int, projection: int
) -> jax.Array:
    """The outer product of representation and prediction, or a random projection of a large one.

    Args:
      representation: [batch, representation].
      probability: [batch, classes].
      direct: the largest outer product, in entries, that is not projected.
      projection: entries of the projection.

    Returns:
      [batch, representation * classes] or [batch, projection].
    """
    outer = representation.shape[-1] * probability.shape[-1]
    if outer <= direct:
        # [batch, representation, classes] -> [batch, representation * classes]
        return (representation[:, :, None] * probability[:, None, :]).reshape(-1, outer)
    # The signs are always the same. They are a constant of the program, not a state that would have
    # to be kept from weight decay and restored.
    random = np.random.default_rng(0)
    signs_a, signs_b = (
        random.integers(0, 2, (x.shape[-1], projection), np.int8) * 2 - 1
        for x in (representation, probability)
    )
    projected = representation @ jnp.asarray(signs_a, jnp.float32)
    return projected * (probability @ jnp.asarray(signs_b, jnp.float32)) / projection**0.5


@checked
def speaker_adversary(
    *, hidden: Count = 128, layers: Count = 2, reversal: NonNegative = 1.0
) -> Method:
    """An adversary on the speakers of the source: the encoder hides who is speaking.

    loss = mean of CE(S(R f_s), speaker) over the utterances of known speakers, where S classifies
    the speakers of the source.

    Source: Meng et al. 2018, "Speaker-Invariant Training via Adversarial Learning", ICASSP, section
    2.

    Args:
      hidden: units of each hidden layer of the speaker classifier.
      layers: number of hidden layers of the speaker classifier.
      reversal: factor of lambda in the gradient reversal R.

    Diagnostics: `speaker_loss` and `speaker_accuracy`, over the utterances of known speakers.
    """

    def init(key: jax.Array, dims: Dims) -> Params:
        return init_perceptron(key, dims.representation, (hidden,) * layers, dims.speakers)

    def loss(params: Params, source: Source, target: Target | None, context: Context) -> LossValue:
        strength = reversal * context.strength
        logits = apply_perceptron(params, gradient_reversal(source.representation, strength))
        known = source.speaker >= 0
        risk = optax.softmax_cross_entropy_with_integer_labels(
            logits, jnp.maximum(source.speaker, 0)
        )
        count = jnp.maximum(known.sum(), 1).astype(jnp.float32)
        value = jnp.where(known, risk, 0.0).sum() / count
        correct = known & (logits.argmax(-1) == source.speaker)
        accuracy = correct.sum().astype(jnp.float32) / count
        return value, {"speaker_loss": value, "speaker_accuracy": accuracy}

    return term(loss, init, domains=("source",), needs=frozenset({"speakers"}))
