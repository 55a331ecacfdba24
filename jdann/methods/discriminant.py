"""Linear discriminant analysis with soft labels, in closed form.

It works well with many statistics and few utterances.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


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
    classes = labels.shape[1]
    count = labels.sum(0) + 1e-6
    # [classes, values]
    means = jnp.matmul(labels.T, features, precision="highest") / count[:, None]
    weight = (labels / count[None]).sum(1) / classes
    covariance = jnp.matmul((features * weight[:, None]).T, features, precision="highest")
    covariance -= jnp.matmul(means.T, means, precision="highest") / classes
    variance = jnp.trace(covariance) / len(covariance) + 1e-6
    shrunk = (1 - shrinkage) * covariance + shrinkage * variance * jnp.eye(len(covariance))
    directions = jax.scipy.linalg.solve(shrunk, means.T, assume_a="pos")  # [values, classes]
    return Discriminant(directions, -0.5 * (means.T * directions).sum(0))


def logits(model: Discriminant, features: jax.Array) -> jax.Array:
    """Logits [n, classes] of features [n, values]."""
    return jnp.matmul(features, model.weight, precision="highest") + model.bias[None]
