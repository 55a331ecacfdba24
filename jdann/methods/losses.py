"""Formulas that several methods share: entropies, discrepancies and cross-entropies.

Logits are [batch, classes]. Results are in nats where they are entropies or divergences.
"""

import jax
import jax.numpy as jnp
import optax

# Some accelerators multiply float32 matrices with ten bits. An eigenvalue near zero, or a
# difference of two large entries, would then be noise.
PRECISE = jax.lax.Precision.HIGHEST


# --- Predictions ----------------------------------------------------------------------------------


def entropies(logits: jax.Array) -> jax.Array:
    """Entropy of each row's softmax, [batch], in nats."""
    # The logarithm is finite where the probability is zero, and so is the gradient.
    log_probabilities = jax.nn.log_softmax(logits)
    return -(jnp.exp(log_probabilities) * log_probabilities).sum(-1)


def diversity(logits: jax.Array) -> jax.Array:
    """Entropy of the mean of all rows' softmax, a scalar, in nats."""
    log_mean = jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0) - jnp.log(len(logits))
    return -(jnp.exp(log_mean) * log_mean).sum()


def kl_divergence(logits: jax.Array, other_logits: jax.Array) -> jax.Array:
    """KL(softmax(logits) || softmax(other_logits)) of each row, [batch], in nats."""
    log_probabilities = jax.nn.log_softmax(logits)
    difference = log_probabilities - jax.nn.log_softmax(other_logits)
    return (jnp.exp(log_probabilities) * difference).sum(-1)


def cross_entropy(labels: jax.Array, logits: jax.Array) -> jax.Array:
    """Mean cross-entropy over the batch with soft labels, which carry no gradient.

    Args:
      labels: [batch, classes]; each row is a distribution times a weight, or zero.
      logits: [batch, classes].
    """
    return -(jax.lax.stop_gradient(labels) * jax.nn.log_softmax(logits)).sum(-1).mean()


def class_confusion(logits: jax.Array) -> jax.Array:
    """How much probability the predictions put on two classes at once, a scalar in [0, 1].

    It is the mean, over the rows of the class confusion matrix, of what lies off the diagonal.

    Source: Jin et al. 2020, "Minimum Class Confusion for Versatile Domain Adaptation", equations 2
    to 7.

    Args:
      logits: [batch, classes], divided by the temperature.
    """
    probabilities = jax.nn.softmax(logits)
    certainty = jax.lax.stop_gradient(1 + jnp.exp(-entropies(logits)))
    certainty = certainty * len(logits) / certainty.sum()
    confusion = (probabilities * certainty[:, None]).T @ probabilities  # [classes, classes]
    # The row of a class that is never predicted is zero.
    confusion = confusion / (confusion.sum(1, keepdims=True) + 1e-8)
    return (confusion.sum() - jnp.trace(confusion)) / len(confusion)


def nuclear_norm(matrix: jax.Array) -> jax.Array:
    """Sum of the singular values of a tall matrix [n, c].

    The singular values are the square roots of the eigenvalues of matrix^T matrix. So the gradient
    needs no singular vectors: those of a repeated value are not unique, and their derivative
    divides by zero. A value that rounding cannot tell from zero counts as zero and carries no
    gradient, because a square root has none at zero.
    """
    squares = jnp.linalg.eigvalsh(jnp.matmul(matrix.T, matrix, precision=PRECISE))
    noise = (
        jax.lax.stop_gradient(squares[-1]) * matrix.shape[1] * jnp.finfo(matrix.dtype).eps
        + jnp.finfo(matrix.dtype).tiny
    )
    nonzero = squares > noise
    return jnp.where(nonzero, jnp.sqrt(jnp.where(nonzero, squares, 1.0)), 0.0).sum()


# --- Domains --------------------------------------------------------------------------------------


def domain_loss(
    logits: jax.Array, sources: int, weight: jax.Array | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean binary cross-entropy of a domain discriminator, in which both domains weigh the same.

    Args:
      logits: [batch], positive for the target. The source comes first.
      sources: how many rows belong to the source.
      weight: [batch], positive: how much each utterance counts within its domain. None: all the
        same.

    Returns:
      The loss, and the loss and the accuracy as diagnostics.
    """
    weight = jnp.ones_like(logits) if weight is None else weight
    is_target = jnp.arange(len(logits)) >= sources
    risk = weight * optax.sigmoid_binary_cross_entropy(logits, is_target.astype(logits.dtype))
    value = 0.5 * (
        risk[:sources].sum() / weight[:sources].sum()
        + risk[sources:].sum() / weight[sources:].sum()
    )
    correct = (logits > 0) == is_target
    accuracy = 0.5 * (correct[:sources].mean() + correct[sources:].mean())
    return value, {"domain_loss": value, "domain_accuracy": accuracy}


def squared_distances(x: jax.Array, y: jax.Array | None = None) -> jax.Array:
    """Squared Euclidean distances [n, m] between the rows of x [n, d] and of y [m, d].

    Without y: between the rows of x, [n, n].
    """
    # The centre does not change distances, but it changes their rounding.
    centre = jax.lax.stop_gradient(x.mean(0)[None])
    x = x - centre
    y = x if y is None else y - centre
    lengths = jnp.square(x).sum(1)[:, None] + jnp.square(y).sum(1)[None]
    return jnp.maximum(lengths - 2 * jnp.matmul(x, y.T, precision=PRECISE), 0.0)


def gaussian_kernels(distances: jax.Array, kernels: int) -> jax.Array:
    """Mean of Gaussian kernels whose bandwidths are the mean squared distance times powers of two.

    Args:
      distances: squared distances [n, n] between the points of one set.
      kernels: the number of kernels; an odd number centres them on the mean distance.

    Returns:
      [n, n]. The bandwidths carry no gradient: otherwise training could shrink the discrepancy by
      making them larger.
    """
    n = len(distances)
    mean = jax.lax.stop_gradient(distances).sum() / (n * (n - 1))
    mean = jnp.maximum(mean, 1e-6)  # all rows may be equal
    powers = range(-(kernels // 2), kernels - kernels // 2)
    return jnp.stack([jnp.exp(-distances / (mean * 2.0**power)) for power in powers]).mean(0)


def unbiased_mmd(kernel: jax.Array, sources: int) -> jax.Array:
    """Unbiased estimate of the squared maximum mean discrepancy of two sets; it may be negative.

    Source: Gretton et al. 2012, "A Kernel Two-Sample Test", JMLR 13, equation 3.

    Args:
      kernel: [n, n], of all points with each other; the first `sources` points are the first set.
      sources: 1 to n - 1.
    """
    n, m = sources, len(kernel) - sources
    source, target, across = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
    within = (source.sum() - jnp.trace(source)) / max(n * (n - 1), 1)
    within += (target.sum() - jnp.trace(target)) / max(m * (m - 1), 1)
    return within - 2 * across.mean()
