"""A second head that agrees with the classifier on the source and disagrees on the target, which the encoder prevents."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jdann.gradient_reversal import gradient_reversal
from jdann.methods.contract import Context, Dims, Method, Phase, Source, Target, Update, term
from jdann.methods.perceptron import Perceptron, evaluate


def mdd(config: Any) -> Method:
    """Margin disparity discrepancy.

    loss = gamma mean(-log p'_y(f_s)) + mean(-log(1 - p'_y(f_t))), p' the probabilities of an adversarial head on R f and
    y = sg(argmax of the classifier's logits): the head learns to repeat the classifier's answer on the source and to
    avoid it on the target. R reverses by min(lambda, 1) * `config.mdd.reversal`.

    Source: Zhang et al. 2019, "Bridging Theory and Algorithm for Domain Adaptation", ICML, its combined
    cross-entropy loss.

    Args:
      config: `config.mdd.hidden`, units of the adversarial head's hidden layer; `config.mdd.gamma`, the source's weight,
        exp of the margin; `config.mdd.reversal`, the largest strength in R.

    Diagnostics: `disparity`, the negative loss, which estimates the margin disparity discrepancy; `agreement_source` and
    `agreement_target`, the parts of the utterances where both heads answer alike.
    """
    hidden, gamma, reversal = config.mdd.hidden, config.mdd.gamma, config.mdd.reversal

    def init(key: jax.Array, dims: Dims) -> Any:
        return Perceptron((hidden,), dims.classes).init(key, jnp.zeros((1, dims.representation)))[
            "params"
        ]

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        head = Perceptron((hidden,), source.logits.shape[-1])
        strength = reversal * jnp.minimum(context.strength, 1.0)
        both = jnp.concatenate([source.representation, target.representation])
        logits = evaluate(head, params, gradient_reversal(both, strength))
        of_source, of_target = logits[: len(source.logits)], logits[len(source.logits) :]
        said_of_source, said_of_target = (
            jax.lax.stop_gradient(x.logits).argmax(-1) for x in (source, target)
        )
        agrees = optax.softmax_cross_entropy_with_integer_labels(of_source, said_of_source).mean()
        differs = -log_of_others(of_target, said_of_target).mean()
        value = gamma * agrees + differs
        return value, {
            "disparity": -value,
            "agreement_source": (of_source.argmax(-1) == said_of_source).mean(),
            "agreement_target": (of_target.argmax(-1) == said_of_target).mean(),
        }

    return term(loss, init)


def log_of_others(logits: jax.Array, label: jax.Array) -> jax.Array:
    """log(1 - p_label) of the softmax p, exact also where p_label rounds to 1, with a gradient of at most 1 per logit.

    The textbook form is clamped to be finite and then has no gradient just where the answer is most wrong.

    Args:
      logits: [batch, classes], at least two classes.
      label: [batch] int.

    Returns:
      [batch], negative.
    """
    is_label = jax.nn.one_hot(label, logits.shape[-1], dtype=bool)
    others = jax.nn.logsumexp(logits, axis=-1, where=~is_label)
    return others - jax.nn.logsumexp(logits, axis=-1)


def mcd(config: Any) -> Method:
    """Maximum classifier discrepancy: two heads disagree on the target as far as they can, then the encoder reconciles them.

    With d = mean |p - p'| over target utterances and classes, p' the second head's probabilities, each step makes
    A, all parameters: loss = risk of the second head; B, both heads: loss = risk of the second head - d; and
    `config.mcd.encoder_steps` times C, the encoder: loss = d. The source risk of the classifier is part of A and B. lambda
    scales what the encoder and the classifier receive; the second head always learns at full speed. The classifier alone
    predicts.

    Source: Saito et al. 2018, "Maximum Classifier Discrepancy for Unsupervised Domain Adaptation", CVPR, its
    training steps A, B and C.

    Args:
      config: `config.mcd.encoder_steps`.

    Diagnostics: `second_risk`, the second head's source risk, and `discrepancy`, d before the encoder's last step.
    """

    # Linear, as the classifier is, but with a key of its own: heads that begin alike never disagree.
    def init(key: jax.Array, dims: Dims) -> Any:
        return Perceptron((), dims.classes).init(key, jnp.zeros((1, dims.representation)))["params"]

    def second(params: Any, representation: jax.Array, classes: int) -> jax.Array:
        return evaluate(Perceptron((), classes), params, representation)

    def risk(params: Any, source: Source, context: Context) -> jax.Array:
        classes = source.logits.shape[-1]
        logits = second(params, scale_gradient(source.representation, context.strength), classes)
        labels = optax.smooth_labels(
            jax.nn.one_hot(source.emotion, classes), context.label_smoothing
        )
        return optax.softmax_cross_entropy(logits, labels).mean()

    def learn(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        del target
        value = risk(params, source, context)
        return value, {"second_risk": value}

    def disagree(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits = second(params, target.representation, target.logits.shape[-1])
        return risk(params, source, context) - discrepancy(
            scale_gradient(target.logits, context.strength), logits
        ), {}

    def reconcile(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        del source
        value = discrepancy(
            target.logits, second(params, target.representation, target.logits.shape[-1])
        )
        return context.strength * value, {"discrepancy": value}

    updates = (
        Update(learn),
        Update(disagree, trains=("classifier", "method")),
        Update(reconcile, trains=("encoder",), repeat=config.mcd.encoder_steps, source_risk=False),
    )
    return Method(init, (Phase("all", updates),))


def discrepancy(logits: jax.Array, others: jax.Array) -> jax.Array:
    """Mean absolute difference of two heads' probabilities, of logits [batch, classes] (Saito et al. 2018, section 3.2)."""
    return jnp.abs(jax.nn.softmax(logits) - jax.nn.softmax(others)).mean()


def scale_gradient(x: jax.Array, factor: jax.Array) -> jax.Array:
    """Returns `x` and multiplies the gradient that flows back by `factor`: a reversal of the opposite sign."""
    return gradient_reversal(x, -factor)
