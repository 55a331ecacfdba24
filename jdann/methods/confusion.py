"""What can be asked of predictions on the target, and of the spectrum of representations, without any label.

Each is one loss, added to the source risk or, as in "cdan+mcc", to other methods.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jdann.methods.contract import Context, Method, Source, Target, term

PRECISE = jax.lax.Precision.HIGHEST  # an eigenvalue near zero is noise in a product of ten bits


def mcc(config: Any) -> Method:
    """Minimum class confusion: target predictions put little mass on two classes at once.

    loss = lambda weight 1/c sum_{j != k} N_jk, N the matrix P^T W P with rows scaled to sum 1, P = softmax(g_t / T) and
    W = diag(sg(w)), w_i proportional to 1 + exp(-H(p_i)) with mean 1: who is certain counts more.

    Source: Jin et al. 2020, "Minimum Class Confusion for Versatile Domain Adaptation", equations 1 to 7.

    Args:
      config: `config.mcc.temperature`, T, and `config.mcc.weight`.

    Diagnostics: `class_confusion`, in [0, 1], before the weight.
    """
    temperature, weight = config.mcc.temperature, config.mcc.weight

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        value = class_confusion(target.logits / temperature)
        return context.strength * weight * value, {"class_confusion": value}

    return term(loss)


def class_confusion(logits: jax.Array) -> jax.Array:
    """The mean over classes of the mass that each class's row of the confusion matrix has off the diagonal.

    Args:
      logits: [batch, classes], divided by the temperature.
    """
    posteriors = jax.nn.softmax(logits)
    certainty = jax.lax.stop_gradient(1 + jnp.exp(-entropies(logits)))
    certainty = certainty * len(logits) / certainty.sum()
    confusion = (posteriors * certainty[:, None]).T @ posteriors  # [classes, classes]
    # A class that nobody is taken for has a row of zeros.
    confusion = confusion / (confusion.sum(1, keepdims=True) + 1e-8)
    return (confusion.sum() - jnp.trace(confusion)) / len(confusion)


def bnm(config: Any) -> Method:
    """Batch nuclear-norm maximisation: target predictions become certain and keep all classes in use.

    loss = -lambda weight ||P_t||_* / B, P_t the posteriors of a target batch of B.

    Source: Cui et al. 2020, "Towards Discriminability and Diversity: Batch Nuclear-norm Maximization under Label
    Insufficient Situations", equation 12.

    Args:
      config: `config.bnm.weight`.

    Diagnostics: `nuclear_norm`, ||P_t||_* / B.
    """
    weight = config.bnm.weight

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        value = nuclear_norm(jax.nn.softmax(target.logits)) / len(target.logits)
        return -context.strength * weight * value, {"nuclear_norm": value}

    return term(loss)


def nuclear_norm(matrix: jax.Array) -> jax.Array:
    """Sum of the singular values of a tall matrix [n, c].

    They are the roots of the eigenvalues of matrix^T matrix, so that the gradient needs no singular vectors: those of a
    repeated value are not unique, and their derivative divides by zero. Values that rounding cannot tell from zero count
    as zero and carry no gradient, as a root has none there.
    """
    squares = jnp.linalg.eigvalsh(jnp.matmul(matrix.T, matrix, precision=PRECISE))
    noise = (
        jax.lax.stop_gradient(squares[-1]) * matrix.shape[1] * jnp.finfo(matrix.dtype).eps
        + jnp.finfo(matrix.dtype).tiny
    )
    some = squares > noise
    return jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1.0)), 0.0).sum()


def bsp(config: Any) -> Method:
    """Batch spectral penalisation: no direction of the representations outshines the others.

    loss = lambda weight sum_{i <= k} (sigma_i(F_s)^2 + sigma_i(F_t)^2), F the representations of a domain's batch. Made to
    go with an adversary, which transfers by the strongest directions first: "dann+bsp", "cdan+bsp".

    Source: Chen et al. 2019, "Transferability vs. Discriminability: Batch Spectral Penalization for Adversarial Domain
    Adaptation", the term L_bsp.

    Args:
      config: `config.bsp.singular_values`, k, and `config.bsp.weight`.

    Diagnostics: `spectral_penalty`, before the weight.
    """
    values, weight = config.bsp.singular_values, config.bsp.weight

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        value = spectral_penalty(source.representation, values) + spectral_penalty(
            target.representation, values
        )
        return context.strength * weight * value, {"spectral_penalty": value}

    return term(loss)


def spectral_penalty(matrix: jax.Array, values: int) -> jax.Array:
    """Sum of the `values` largest squared singular values of a matrix [n, d].

    With fixed left vectors u_i, sum ||matrix^T u_i||^2 has their value and their gradient, repeated ones included.
    """
    rows = jax.lax.stop_gradient(matrix)
    _, vectors = jnp.linalg.eigh(jnp.matmul(rows, rows.T, precision=PRECISE))  # [n, n], ascending
    return jnp.square(jnp.matmul(vectors[:, -values:].T, matrix, precision=PRECISE)).sum()


def entropy(config: Any) -> Method:
    """Entropy minimisation: target predictions become certain.

    loss = lambda weight 1/B sum_i H(p_i). Alone it may give all of the target to one class.

    Source: Grandvalet and Bengio 2004, "Semi-supervised Learning by Entropy Minimization", section 2.2.

    Args:
      config: `config.entropy.weight`.

    Diagnostics: `target_entropy`, nats, before the weight.
    """
    weight = config.entropy.weight

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        value = entropies(target.logits).mean()
        return context.strength * weight * value, {"target_entropy": value}

    return term(loss)


def information_maximisation(config: Any) -> Method:
    """Information maximisation: each target prediction is certain, all together are diverse.

    loss = lambda weight (1/B sum_i H(p_i) - H(1/B sum_i p_i)), which is minus the mutual information of input and class.
    It assumes that the target holds all classes in like numbers.

    Source: Krause et al. 2010, "Discriminative Clustering by Regularized Information Maximization", section 2.

    Args:
      config: `config.information_maximisation.weight`.

    Diagnostics: `target_entropy` and `target_diversity`, nats.
    """
    weight = config.information_maximisation.weight

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        certainty, diversity = entropies(target.logits).mean(), diversity_of(target.logits)
        seen = {"target_entropy": certainty, "target_diversity": diversity}
        return context.strength * weight * (certainty - diversity), seen

    return term(loss)


def entropies(logits: jax.Array) -> jax.Array:
    """Entropy of each row's softmax, [batch], in nats."""
    log_posteriors = jax.nn.log_softmax(
        logits
    )  # finite where the posterior is zero, and so is the gradient
    return -(jnp.exp(log_posteriors) * log_posteriors).sum(-1)


def diversity_of(logits: jax.Array) -> jax.Array:
    """Entropy of the rows' mean softmax, in nats."""
    log_mean = jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0) - jnp.log(len(logits))
    return -(jnp.exp(log_mean) * log_mean).sum()
