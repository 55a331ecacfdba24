"""Confident predictions of clean target features teach those of augmented ones, within the batch.

The clean features are the weak view, the augmented ones the strong view.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jdann.methods.contract import Context, Method, Source, Target, term
from jdann.methods.self_training import cross_entropy


def fixmatch(config: Any) -> Method:
    """FixMatch: what the model says confidently of a clean utterance is the label of the augmented one.

    loss = lambda weight 1/B sum_i [max q_i >= tau] CE(argmax q_i, g_i), q_i = sg(softmax) of the clean utterance, g_i the
    logits of the augmented one.

    Source: Sohn et al. 2020, "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence", equation 4.

    Args:
      config: `config.fixmatch.threshold`, tau, a probability, and `config.fixmatch.weight`.

    Diagnostics: `consistency_loss`, before the weight, and `confident_fraction` of the batch.
    """
    threshold, weight = config.fixmatch.threshold, config.fixmatch.weight

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        weak = jax.lax.stop_gradient(context.forward(target.features, target.length)[1])
        confident = jax.nn.softmax(weak).max(-1) >= threshold
        labels = confident[:, None] * jax.nn.one_hot(weak.argmax(-1), weak.shape[-1])
        value = cross_entropy(labels, target.logits)
        return context.strength * weight * value, {
            "consistency_loss": value,
            "confident_fraction": confident.mean(),
        }

    return term(loss)


def adamatch(config: Any) -> Method:
    """AdaMatch: FixMatch with a threshold relative to the source's confidence, and the source's class shares.

    loss = lambda weight 1/B sum_i [max q_i >= c] CE(q_i, g_i); q_i is the clean target's softmax times mean source softmax
    over mean target softmax, scaled to sum 1; c = tau times the mean greatest posterior of clean source utterances. All
    but g_i, the logits of the augmented target, is sg'd.

    Source: Berthelot et al. 2022, "AdaMatch: A Unified Approach to Semi-Supervised Learning and Domain Adaptation",
    its distribution alignment and relative confidence threshold. Left out: the random interpolation of source logits
    between two batch statistics, since the source risk is not this method's; the ramp of the weight is lambda's schedule.

    Args:
      config: `config.adamatch.threshold`, tau, relative, and `config.adamatch.weight`.

    Diagnostics: `consistency_loss`, before the weight, `confident_fraction` of the batch and `confidence_threshold`, c.
    """
    relative, weight = config.adamatch.threshold, config.adamatch.weight

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        # The running statistics of the source: right also where each domain has its own.
        of_source = context.classify(
            context.encode(context.params["encoder"], source.features, source.length)
        )
        of_target = context.forward(target.features, target.length)[1]
        labels, threshold = aligned(
            jax.lax.stop_gradient(of_source), jax.lax.stop_gradient(of_target)
        )
        threshold = relative * threshold
        confident = labels.max(-1) >= threshold
        value = cross_entropy(confident[:, None] * labels, target.logits)
        seen = {
            "consistency_loss": value,
            "confident_fraction": confident.mean(),
            "confidence_threshold": threshold,
        }
        return context.strength * weight * value, seen

    return term(loss)


def aligned(source: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Target posteriors brought to the source's class shares, and the source's mean confidence.

    Args:
      source: logits [n, classes].
      target: logits [m, classes].

    Returns:
      Posteriors [m, classes], and the mean greatest posterior of the source, a scalar.
    """
    log_source, log_target = jax.nn.log_softmax(source), jax.nn.log_softmax(target)
    # The means' logs, up to a constant that the softmax takes away; a class without any mass divides by no zero so.
    ratio = jax.nn.logsumexp(log_source, axis=0) - jax.nn.logsumexp(log_target, axis=0)
    return jax.nn.softmax(log_target + ratio), jnp.exp(log_source).max(-1).mean()
