"""Losses on the target's predictions, or on the spectrum of representations, without any label.

Each is one loss. It is added to the source risk or, as in "cdan+mcc", to another method.
"""

import jax
import jax.numpy as jnp

from jdann.methods.contract import Context, LossValue, Method, Params, Source, Target, term
from jdann.methods.losses import PRECISE, class_confusion, diversity, entropies, nuclear_norm
from jdann.parameters import Count, NonNegative, Positive, checked


@checked
def mcc(*, temperature: Positive = 2.5, weight: NonNegative = 1.0) -> Method:
    """Minimum class confusion: no target prediction puts probability on two classes at once.

    loss = lambda * weight / c * sum_{j != k} N_jk, for c classes. N is the matrix P^T W P, each row
    divided by its sum. P = softmax(g_t / T) and W = diag(sg(w)), where w_i is proportional to
    1 + exp(-H(p_i)) and has mean 1, so that a certain prediction counts more. sg: stop gradient.

    Source: Jin et al. 2020, "Minimum Class Confusion for Versatile Domain Adaptation", equations 1
    to 7.

    Args:
      temperature: T; a larger one makes the predictions softer.
      weight: factor of the loss, beside lambda.

    Diagnostics: `class_confusion`, in [0, 1], before the weight.
    """

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        value = class_confusion(target.logits / temperature)
        return context.strength * weight * value, {"class_confusion": value}

    return term(loss)


@checked
def bnm(*, weight: NonNegative = 1.0) -> Method:
    """Batch nuclear-norm maximisation: target predictions are certain and use all classes.

    loss = -lambda * weight / B * ||P_t||_*, where P_t are the class probabilities of a target batch
    of B utterances.

    Source: Cui et al. 2020, "Towards Discriminability and Diversity: Batch Nuclear-norm
    Maximization under Label Insufficient Situations", equation 12.

    Args:
      weight: factor of the loss, beside lambda.

    Diagnostics: `nuclear_norm`, ||P_t||_* / B.
    """

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        value = nuclear_norm(jax.nn.softmax(target.logits)) / len(target.logits)
        return -context.strength * weight * value, {"nuclear_norm": value}

    return term(loss)


@checked
def bsp(*, singular_values: Count = 1, weight: NonNegative = 1e-4) -> Method:
    """Batch spectral penalisation: no direction of the representations dominates the others.

    loss = lambda * weight * sum_{i <= k} (sigma_i(F_s)^2 + sigma_i(F_t)^2), where F are the
    representations of a domain's batch. It is meant to be added to an adversary, which transfers by
    the strongest directions first: "dann+bsp", "cdan+bsp".

    Source: Chen et al. 2019, "Transferability vs. Discriminability: Batch Spectral Penalization for
    Adversarial Domain Adaptation", the term L_bsp.

    Args:
      singular_values: k, how many of the largest singular values are penalised.
      weight: factor of the loss, beside lambda.

    Diagnostics: `spectral_penalty`, before the weight.
    """

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        value = spectral_penalty(source.representation, singular_values) + spectral_penalty(
            target.representation, singular_values
        )
        return context.strength * weight * value, {"spectral_penalty": value}

    return term(loss)


def spectral_penalty(matrix: jax.Array, singular_values: int) -> jax.Array:
    """Sum of the largest squared singular values of a matrix [n, d].

    sum ||matrix^T u_i||^2 with fixed left vectors u_i has this value and its gradient, also where
    singular values repeat.
    """
    rows = jax.lax.stop_gradient(matrix)
    _, vectors = jnp.linalg.eigh(jnp.matmul(rows, rows.T, precision=PRECISE))  # [n, n], ascending
    largest = vectors[:, -singular_values:]  # [n, singular_values]
    return jnp.square(jnp.matmul(largest.T, matrix, precision=PRECISE)).sum()


@checked
def entropy(*, weight: NonNegative = 0.1) -> Method:
    """Entropy minimisation: target predictions become certain.

    loss = lambda * weight / B * sum_i H(p_i). Alone it may put the whole target into one class.

    Source: Grandvalet and Bengio 2004, "Semi-supervised Learning by Entropy Minimization", section
    2.2.

    Args:
      weight: factor of the loss, beside lambda.

    Diagnostics: `target_entropy`, nats, before the weight.
    """

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        value = entropies(target.logits).mean()
        return context.strength * weight * value, {"target_entropy": value}

    return term(loss)


@checked
def information_maximisation(*, weight: NonNegative = 1.0) -> Method:
    """Information maximisation: each target prediction is certain, and together they are diverse.

    loss = lambda * weight * (mean_i H(p_i) - H(mean_i p_i)), which is -lambda * weight times the
    mutual information of input and class. It assumes that all classes are about equally frequent in
    the target.

    Source: Krause et al. 2010, "Discriminative Clustering by Regularized Information Maximization",
    section 2.

    Args:
      weight: factor of the loss, beside lambda.

    Diagnostics: `target_entropy` and `target_diversity`, nats.
    """

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        mean_entropy, mean_diversity = entropies(target.logits).mean(), diversity(target.logits)
        diagnostics = {"target_entropy": mean_entropy, "target_diversity": mean_diversity}
        return context.strength * weight * (mean_entropy - mean_diversity), diagnostics

    return term(loss)
