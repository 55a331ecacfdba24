"""A second head agrees with the classifier on the source and disagrees on the target.

The encoder learns to prevent the disagreement.
"""

import jax
import jax.numpy as jnp
import optax

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
from jdann.methods.perceptron import apply_perceptron, init_perceptron
from jdann.parameters import Count, NonNegative, Positive, checked
from jdann.reversal import gradient_reversal


@checked
def mdd(*, hidden: Count = 128, gamma: Positive = 4.0, reversal: NonNegative = 0.1) -> Method:
    """Margin disparity discrepancy.

    loss = gamma mean(-log p'_y(f_s)) + mean(-log(1 - p'_y(f_t))), where p' are the probabilities of
    an adversarial head on R f and y = sg(argmax of the classifier's logits); sg: stop gradient. The
    head learns to repeat the classifier's answer on the source and to avoid it on the target. R
    reverses the gradient by min(lambda, 1) * `reversal`.

    Source: Zhang et al. 2019, "Bridging Theory and Algorithm for Domain Adaptation", ICML, its
    combined cross-entropy loss.

    Args:
      hidden: units of the hidden layer of the adversarial head.
      gamma: weight of the source; it is exp of the margin.
      reversal: strength of the reversal at lambda = 1, which is also the largest strength.

    Diagnostics: `disparity`, the negative loss, which estimates the margin disparity discrepancy;
    `agreement_source` and `agreement_target`, the fractions of utterances on which both heads
    agree.
    """

    def init(key: jax.Array, dims: Dims) -> Params:
        return init_perceptron(key, dims.representation, (hidden,), dims.classes)

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        strength = reversal * jnp.minimum(context.strength, 1.0)
        both = jnp.concatenate([source.representation, target.representation])
        logits = apply_perceptron(params, gradient_reversal(both, strength))
        source_logits, target_logits = logits[: len(source.logits)], logits[len(source.logits) :]
        source_answer, target_answer = (
            jax.lax.stop_gradient(batch.logits).argmax(-1) for batch in (source, target)
        )
        agreement = optax.softmax_cross_entropy_with_integer_labels(
            source_logits, source_answer
        ).mean()
        disagreement = -log_probability_of_other_classes(target_logits, target_answer).mean()
        value = gamma * agreement + disagreement
        return value, {
            "disparity": -value,
            "agreement_source": (source_logits.argmax(-1) == source_answer).mean(),
            "agreement_target": (target_logits.argmax(-1) == target_answer).mean(),
        }

    return term(loss, init)


def log_probability_of_other_classes(logits: jax.Array, label: jax.Array) -> jax.Array:
    """log(1 - p_label) of the softmax p, with a gradient of at most 1 per logit.

    It is exact also where p_label rounds to 1. The usual form, log(1 - p) with a lower limit, has
    no gradient where the answer is most wrong.

    Args:
      logits: [batch, classes], at least two classes.
      label: [batch] int.

    Returns:
      [batch], negative.
    """
    is_label = jax.nn.one_hot(label, logits.shape[-1], dtype=bool)
    others = jax.nn.logsumexp(logits, axis=-1, where=~is_label)
    return others - jax.nn.logsumexp(logits, axis=-1)


@checked
def mcd(*, encoder_steps: Count = 4) -> Method:
    """Maximum classifier discrepancy: two heads disagree on the target.

    The encoder then reconciles them.

    With d = mean |p - p'| over target utterances and classes, where p' are the second head's
    probabilities, each step makes three kinds of updates:
    A, all parameters: loss = risk of the second head;
    B, both heads: loss = risk of the second head - d;
    C, the encoder, `encoder_steps` times: loss = d.
    The source risk of the classifier is part of A and B. lambda scales the gradient of the encoder
    and of the classifier; the second head always learns at full speed. The classifier alone
    predicts.

    Source: Saito et al. 2018, "Maximum Classifier Discrepancy for Unsupervised Domain Adaptation",
    CVPR, its training steps A, B and C.

    Args:
      encoder_steps: updates of the encoder in a step, after the updates of the heads.

    Diagnostics: `second_risk`, the second head's source risk, and `discrepancy`, d before the last
    update of the encoder.
    """

    # Linear, as the classifier is, but with a key of its own: heads that begin alike never
    # disagree.
    def init(key: jax.Array, dims: Dims) -> Params:
        return init_perceptron(key, dims.representation, (), dims.classes)

    def second_risk(params: Params, source: Source, context: Context) -> jax.Array:
        representation = scale_gradient(source.representation, context.strength)
        logits = apply_perceptron(params, representation)
        labels = optax.smooth_labels(
            jax.nn.one_hot(source.emotion, logits.shape[-1]), context.label_smoothing
        )
        return optax.softmax_cross_entropy(logits, labels).mean()

    def learn(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        value = second_risk(params, source, context)
        return value, {"second_risk": value}

    def disagree(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        second_logits = apply_perceptron(params, target.representation)
        logits = scale_gradient(target.logits, context.strength)
        return second_risk(params, source, context) - discrepancy(logits, second_logits), {}

    def reconcile(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        value = discrepancy(target.logits, apply_perceptron(params, target.representation))
        return context.strength * value, {"discrepancy": value}

    updates = (
        Update(learn),
        Update(disagree, trains=("classifier", "method")),
        Update(reconcile, trains=("encoder",), repeat=encoder_steps, source_risk=False),
    )
    return Method(init, (Phase("all", updates),))


def discrepancy(logits: jax.Array, second_logits: jax.Array) -> jax.Array:
    """Mean absolute difference of two heads' probabilities (Saito et al. 2018, section 3.2).

    Args:
      logits: [batch, classes]; so are the `second_logits`.
    """
    return jnp.abs(jax.nn.softmax(logits) - jax.nn.softmax(second_logits)).mean()


def scale_gradient(x: jax.Array, factor: jax.Array) -> jax.Array:
    """Returns `x` and multiplies its gradient by `factor`: a reversal with the opposite sign."""
    return gradient_reversal(x, -factor)
