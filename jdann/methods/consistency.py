"""Confident predictions for clean target features are labels for the augmented ones, in each batch.

The clean features are the weak view, the augmented features are the strong view.
"""

import jax
import jax.numpy as jnp

from jdann.methods.contract import Context, LossValue, Method, Params, Source, Target, term
from jdann.methods.losses import cross_entropy
from jdann.parameters import Fraction, NonNegative, checked


@checked
def fixmatch(*, threshold: Fraction = 0.8, weight: NonNegative = 1.0) -> Method:
    """FixMatch: a confident prediction for the clean utterance is the label of the augmented one.

    loss = lambda weight 1/B sum_i [max q_i >= tau] CE(argmax q_i, g_i), where q_i = sg(softmax) of
    the clean utterance and g_i are the logits of the augmented one.

    Source: Sohn et al. 2020, "FixMatch: Simplifying Semi-Supervised Learning with Consistency and
    Confidence", equation 4.

    Args:
      threshold: tau, a probability. Label smoothing keeps probabilities well below the paper's .95.
      weight: factor of the loss, beside lambda.

    Diagnostics: `consistency_loss`, before the weight, and `confident_fraction` of the batch.
    """

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        weak = jax.lax.stop_gradient(context.forward(target.features, target.length)[1])
        confident = jax.nn.softmax(weak).max(-1) >= threshold
        labels = jax.nn.one_hot(weak.argmax(-1), weak.shape[-1])
        labels *= confident[:, None].astype(labels.dtype)
        value = cross_entropy(labels, target.logits)
        diagnostics = {"consistency_loss": value, "confident_fraction": confident.mean()}
        return context.strength * weight * value, diagnostics

    return term(loss)


@checked
def adamatch(*, threshold: NonNegative = 0.9, weight: NonNegative = 1.0) -> Method:
    """AdaMatch: FixMatch with a threshold and class shares that are taken from the source.

    loss = lambda weight 1/B sum_i [max q_i >= c] CE(q_i, g_i). q_i is the softmax of the clean
    target times mean source softmax over mean target softmax, scaled to sum 1. c is tau times the
    mean greatest probability of clean source utterances. g_i are the logits of the augmented
    target; everything else carries no gradient.

    Source: Berthelot et al. 2022, "AdaMatch: A Unified Approach to Semi-Supervised Learning and
    Domain Adaptation", its distribution alignment and relative confidence threshold. The random
    interpolation of source logits between two batch statistics is left out, because the source risk
    does not belong to this method. The schedule of lambda replaces the paper's ramp of the weight.

    Args:
      threshold: tau, relative to the source's mean confidence.
      weight: factor of the loss, beside lambda.

    Diagnostics: `consistency_loss`, before the weight, `confident_fraction` of the batch and
    `confidence_threshold`, c.
    """

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        # With the source's running statistics, also where each domain has its own.
        source_logits = context.classify(
            context.encode(context.params["encoder"], source.features, source.length)
        )
        target_logits = context.forward(target.features, target.length)[1]
        labels, confidence = aligned(
            jax.lax.stop_gradient(source_logits), jax.lax.stop_gradient(target_logits)
        )
        absolute_threshold = threshold * confidence
        confident = labels.max(-1) >= absolute_threshold
        labels *= confident[:, None].astype(labels.dtype)
        value = cross_entropy(labels, target.logits)
        diagnostics = {
            "consistency_loss": value,
            "confident_fraction": confident.mean(),
            "confidence_threshold": absolute_threshold,
        }
        return context.strength * weight * value, diagnostics

    return term(loss)


def aligned(source: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Target probabilities with the source's class shares, and the source's mean confidence.

    Args:
      source: logits [n, classes].
      target: logits [m, classes].

    Returns:
      Probabilities [m, classes], and the mean greatest probability of the source, a scalar.
    """
    log_source, log_target = jax.nn.log_softmax(source), jax.nn.log_softmax(target)
    # Logarithms of the means, up to a constant that the softmax removes. In this form a class
    # without any probability does not divide by zero.
    ratio = jax.nn.logsumexp(log_source, axis=0) - jax.nn.logsumexp(log_target, axis=0)
    return jax.nn.softmax(log_target + ratio[None]), jnp.exp(log_source).max(-1).mean()
