"""Linear discriminant analysis with soft labels, in closed form.

It works well with many statistics and few utterances.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

LARGEST_SCORE = 5.0  # z-scores are clipped to this before a fit, so that no outlier decides
_IMPOSSIBLE = -1e4  # logit of a class that has no labels
_TEMPERATURE = 2.0  # softens the posteriors, which are too confident


class Moments(NamedTuple):
    """All that a discriminant has to know of labelled utterances."""

    mean: jax.Array  # [classes, values]; 0 for a class without labels
    covariance: jax.Array  # [values, values], within classes; each class has the same weight


class Discriminant(NamedTuple):
    """A linear classifier: its logits are features @ weight + bias."""

    weight: jax.Array  # [values, classes]
    bias: jax.Array  # [classes]


def fit(features: jax.Array, labels: jax.Array, shrinkage: float) -> Discriminant:
    """Fits class means and one covariance. Each class has the same weight, whatever its size.

    S = 1/K sum_c 1/n_c sum_i q_ic (x_i - m_c)(x_i - m_c)^T; S' = (1 - gamma) S + gamma tr(S)/d I;
    weights S'^-1 m_c, biases -1/2 m_c^T S'^-1 m_c.

    Source: Friedman 1989, "Regularized Discriminant Analysis", JASA 84, with equal priors.

    Args:
      features: float32 [n, values].
      labels: q, [n, classes]; each row is a distribution times a weight.
      shrinkage: gamma, 0 to 1.
    """
    return from_moments(moments(features, labels), shrinkage)


def moments(features: jax.Array, labels: jax.Array) -> Moments:
    """The class means m_c and the covariance S of `fit`, over the classes that have labels."""
    count = labels.sum(0)
    classes = jnp.maximum((count > 0).sum(), 1).astype(features.dtype)
    count += 1e-6
    # [classes, values]
    mean = jnp.matmul(labels.T, features, precision="highest") / count[:, None]
    weight = (labels / count[None]).sum(1) / classes
    square = second_moment(features, weight)
    return Moments(mean, square - jnp.matmul(mean.T, mean, precision="highest") / classes)


def second_moment(features: jax.Array, weight: jax.Array) -> jax.Array:
    """The sum of weight x x^T over features x [n, values] with a weight [n]: [values, values]."""
    return jnp.matmul((features * weight[:, None]).T, features, precision="highest")


def from_moments(fitted: Moments, shrinkage: float) -> Discriminant:
    """The discriminant of class means and a covariance; `fit` says how."""
    mean, covariance = fitted
    variance = jnp.trace(covariance) / len(covariance) + 1e-6
    shrunk = (1 - shrinkage) * covariance + shrinkage * variance * jnp.eye(len(covariance))
    directions = jax.scipy.linalg.solve(shrunk, mean.T, assume_a="pos")  # [values, classes]
    return Discriminant(directions, -0.5 * (mean.T * directions).sum(0))


def logits(model: Discriminant, features: jax.Array) -> jax.Array:
    """Logits [n, classes] of features [n, values]."""
    return jnp.matmul(features, model.weight, precision="highest") + model.bias[None]


def log_posteriors(model: Discriminant, features: jax.Array, present: jax.Array) -> jax.Array:
    """Softened log posteriors [n, classes] of features [n, values].

    Args:
      model: a discriminant.
      features: as those that it was fitted to.
      present: bool [classes]; a class without labels has the probability 0.
    """
    return jax.nn.log_softmax(logits(softened(model, present), features))


def softened(model: Discriminant, present: jax.Array) -> Discriminant:
    """The linear classifier whose log-softmax is `log_posteriors`."""
    return Discriminant(
        jnp.where(present, model.weight / _TEMPERATURE, 0.0),
        jnp.where(present, model.bias / _TEMPERATURE, _IMPOSSIBLE),
    )
