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

    loss = lambda * weight / B * sum_i [max q_i >= tau] CE(argmax q_i, g_i), where q_i =
    sg(softmax(clean logits)) and g_i are the logits of the augmented utterance. sg: stop gradient.

    Source: Sohn et al. 2020, "FixMatch: Simplifying Semi-Supervised Learning with Consistency and
    Confidence", equation 4.

    Args:
      threshold: tau, a probability. With label smoothing 0.1 and five classes the best-fitting
        probability is .92, so the paper's threshold of .95 would accept little.
      weight: factor of the loss, beside lambda.

    Diagnostics: `consistency_loss`, before the weight, and `confident_fraction` of the batch.
    """

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        _, clean_logits = context.forward(target.features, target.length)
        clean_logits = jax.lax.stop_gradient(clean_logits)
        confident = jax.nn.softmax(clean_logits).max(-1) >= threshold
        labels = jax.nn.one_hot(clean_logits.argmax(-1), clean_logits.shape[-1])
        labels *= confident[:, None].astype(labels.dtype)
        value = cross_entropy(labels, target.logits)
        diagnostics = {"consistency_loss": value, "confident_fraction": confident.mean()}
        return context.strength * weight * value, diagnostics

    return term(loss)


@checked
def adamatch(*, threshold: NonNegative = 0.9, weight: NonNegative = 1.0) -> Method:
    """AdaMatch: FixMatch with a threshold and class shares that are taken from the source.

    loss = lambda * weight / B * sum_i [max q_i >= c] CE(q_i, g_i), where

    - q_i = softmax(clean target logits) * (mean source softmax / mean target softmax), divided by
      its sum;
    - c is tau times the mean greatest probability of clean source utterances;
    - g_i are the logits of the augmented target. Nothing else carries a gradient.

    Source: Berthelot et al. 2022, "AdaMatch: A Unified Approach to Semi-Supervised Learning and
    Domain Adaptation", its distribution alignment and relative confidence threshold. The random
    interpolation of source logits between two batch statistics is left out, because the
    cross-entropy on source labels is computed outside the method. The schedule of lambda replaces
    the paper's ramp of the weight.

    Args:
      threshold: tau, relative to the source's mean confidence.
      weight: factor of the loss, beside lambda.

    Diagnostics: `consistency_loss`, before the weight, `confident_fraction` of the batch and
    `confidence_threshold`, c.
    """

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        # `context.encode` uses the source's running statistics, also if each domain has its own
        # batch norm.
        source_logits = context.classify(
            context.encode(context.params["encoder"], source.features, source.length)
        )
        _, target_logits = context.forward(target.features, target.length)
        labels, confidence = align_class_shares(
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


def align_class_shares(
    source_logits: jax.Array, target_logits: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Gives target probabilities the source's class shares.

    Args:
      source_logits: [n, classes].
      target_logits: [m, classes].

    Returns:
      Probabilities [m, classes], and the mean greatest probability of the source, a scalar.
    """
    log_source, log_target = jax.nn.log_softmax(source_logits), jax.nn.log_softmax(target_logits)
    # The log of each mean, up to a constant per domain, which the softmax removes. In logarithms a
    # class of probability zero causes no division by zero.
    ratio = jax.nn.logsumexp(log_source, axis=0) - jax.nn.logsumexp(log_target, axis=0)
    return jax.nn.softmax(log_target + ratio[None]), jnp.exp(log_source).max(-1).mean()
