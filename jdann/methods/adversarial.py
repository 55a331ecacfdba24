"""Adversarial alignment: the encoder learns what a discriminator of domains, or of speakers, cannot tell apart."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jdann.gradient_reversal import gradient_reversal
from jdann.methods.contract import Context, Dims, Method, Source, Target, term
from jdann.methods.perceptron import Perceptron, evaluate


def dann(config: Any) -> Method:
    """Domain-adversarial training of neural networks.

    loss = 1/2 (BCE(D(R f_s), 0) + BCE(D(R f_t), 1)), R the gradient reversal with strength lambda. lambda acts on the
    encoder alone: the discriminator always learns at full speed.

    Source: Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks", JMLR 17, equations 9 and 18.

    Args:
      config: `config.dann.hidden`, the units of each of the discriminator's two hidden layers.

    Diagnostics: `domain_loss` (ln 2 = .693 for a discriminator that guesses) and `domain_accuracy`.
    """
    discriminator = domain_discriminator(config.dann.hidden)

    def init(key: jax.Array, dims: Dims) -> Any:
        return discriminator.init(key, jnp.zeros((1, dims.representation)))["params"]

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        both = jnp.concatenate([source.representation, target.representation])
        logits = evaluate(discriminator, params, gradient_reversal(both, context.strength))
        return domain_loss(logits[:, 0], len(source.representation))

    return term(loss, init)


def cdan(config: Any) -> Method:
    """Conditional domain-adversarial training: the discriminator sees the representation together with the prediction.

    loss = 1/2 (BCE(D(h_s), 0) + BCE(D(h_t), 1)), h = R f (x) sg(p), p the class probabilities. The outer product has
    representation * classes entries; where these are more than `config.cdan.direct`, its inner products are estimated
    by h = (A R f) * (B sg(p)) / sqrt(n) with A and B random signs in n = `config.cdan.projection` rows.

    Source: Long et al. 2018, "Conditional Adversarial Domain Adaptation", NeurIPS, sections 3.1
    and 3.2.

    Args:
      config: `config.cdan.hidden`, as `dann`; `config.cdan.direct` and `config.cdan.projection`.

    Diagnostics: `domain_loss` and `domain_accuracy`, as `dann`.
    """
    return _conditional(config.cdan, weighted=False)


def cdan_e(config: Any) -> Method:
    """CDAN+E: `cdan` that trusts confident predictions more.

    Each utterance's cross-entropy has the weight 1 + exp(-H(p)), H the entropy of its prediction, divided by the mean
    weight of its domain. The weights carry no gradient.

    Source: Long et al. 2018, "Conditional Adversarial Domain Adaptation", NeurIPS, section 3.2.

    Args:
      config: `config.cdan`, as `cdan`.

    Diagnostics: `domain_loss`, weighted, and `domain_accuracy`, not weighted.
    """
    return _conditional(config.cdan, weighted=True)


def _conditional(config: Any, weighted: bool) -> Method:
    discriminator = domain_discriminator(config.hidden)

    def init(key: jax.Array, dims: Dims) -> Any:
        nothing = conditioned(
            jnp.zeros((1, dims.representation)),
            jnp.zeros((1, dims.classes)),
            config.direct,
            config.projection,
        )
        return discriminator.init(key, nothing)["params"]

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        representation = jnp.concatenate([source.representation, target.representation])
        logits = jax.lax.stop_gradient(jnp.concatenate([source.logits, target.logits]))
        probability = jax.nn.softmax(logits)
        entropy = -(probability * jax.nn.log_softmax(logits)).sum(-1)  # [batch]
        joint = conditioned(
            gradient_reversal(representation, context.strength),
            probability,
            config.direct,
            config.projection,
        )
        weight = 1.0 + jnp.exp(-entropy) if weighted else jnp.ones_like(entropy)
        return domain_loss(
            evaluate(discriminator, params, joint)[:, 0], len(source.representation), weight
        )

    return term(loss, init)


def conditioned(
    representation: jax.Array, probability: jax.Array, direct: int, projection: int
) -> jax.Array:
    """The outer product of representation and prediction, or a random projection of it where it is large.

    Args:
      representation: [batch, representation].
      probability: [batch, classes].
      direct: the largest outer product that is not projected, in entries.
      projection: entries of the projection.

    Returns:
      [batch, representation * classes] or [batch, projection].
    """
    outer = representation.shape[-1] * probability.shape[-1]
    if outer <= direct:
        product = (
            representation[:, :, None] * probability[:, None, :]
        )  # [batch, representation, classes]
        return product.reshape(-1, outer)
    # Always the same signs: a constant of the program, so that there is no state to keep, to decay or to restore.
    random = np.random.default_rng(0)
    a, b = (
        random.integers(0, 2, (x.shape[-1], projection), np.int8) * 2 - 1
        for x in (representation, probability)
    )
    both = (representation @ jnp.asarray(a, jnp.float32)) * (
        probability @ jnp.asarray(b, jnp.float32)
    )
    return both / projection**0.5


def speaker_adversary(config: Any) -> Method:
    """Adversary on the source's speakers: the encoder forgets who speaks.

    loss = mean over utterances of a known speaker of CE(S(R f_s), speaker), S a classifier of the source's speakers.

    Source: Meng et al. 2018, "Speaker-Invariant Training via Adversarial Learning", ICASSP, section 2.

    Args:
      config: `config.speaker_adversary.hidden`, the units of each of the classifier's two hidden layers, and
        `config.speaker_adversary.reversal`, a factor of the strength in R.

    Diagnostics: `speaker_loss` and `speaker_accuracy`, over utterances of a known speaker.
    """
    hidden, reversal = config.speaker_adversary.hidden, config.speaker_adversary.reversal

    def init(key: jax.Array, dims: Dims) -> Any:
        return Perceptron((hidden, hidden), dims.speakers).init(
            key, jnp.zeros((1, dims.representation))
        )["params"]

    def loss(
        params: Any, source: Source, target: Target | None, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        del target
        classifier = Perceptron((hidden, hidden), params["Dense_2"]["bias"].shape[-1])
        logits = evaluate(
            classifier,
            params,
            gradient_reversal(source.representation, reversal * context.strength),
        )
        known = source.speaker >= 0
        risk = optax.softmax_cross_entropy_with_integer_labels(
            logits, jnp.maximum(source.speaker, 0)
        )
        count = jnp.maximum(known.sum(), 1)
        value = jnp.where(known, risk, 0.0).sum() / count
        accuracy = (known & (logits.argmax(-1) == source.speaker)).sum() / count
        return value, {"speaker_loss": value, "speaker_accuracy": accuracy}

    return term(loss, init, domains=("source",), needs=frozenset({"speakers"}))


def domain_discriminator(hidden: int) -> Perceptron:
    """A perceptron with two hidden layers and one logit: positive for the target."""
    return Perceptron((hidden, hidden), 1)


def domain_loss(
    logits: jax.Array, sources: int, weight: jax.Array | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean binary cross-entropy over both domains of a discriminator's logits [batch], the first `sources` the source's.

    Args:
      logits: [batch], positive for the target.
      sources: utterances of the source.
      weight: [batch], positive, of each utterance within its domain; else all are equal.

    Returns:
      The loss, and it with the accuracy as diagnostics.
    """
    weight = jnp.ones_like(logits) if weight is None else weight
    of_target = jnp.arange(len(logits)) >= sources
    risk = weight * optax.sigmoid_binary_cross_entropy(logits, of_target.astype(logits.dtype))
    value = 0.5 * (
        risk[:sources].sum() / weight[:sources].sum()
        + risk[sources:].sum() / weight[sources:].sum()
    )
    right = (logits > 0) == of_target
    accuracy = 0.5 * (right[:sources].mean() + right[sources:].mean())
    return value, {"domain_loss": value, "domain_accuracy": accuracy}
