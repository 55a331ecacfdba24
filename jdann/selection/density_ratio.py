"""Criteria that distinguish source from target with a logistic regression on representations."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann.selection.contract import Evidence, evenly
from jdann.selection.predictions import losses

MAX_ROWS = 1024  # maximum number of rows per domain in the fit
MAX_DIMENSIONS = 256  # wider representations are projected to this many dimensions, at random
# The ridge penalty, for standardised dimensions and the mean loss. A smaller one overfits as soon
# as there are not many times more rows than dimensions.
RIDGE = 0.1
INTERCEPT_RIDGE = 1e-6  # just enough to invert the Hessian when all predictions are certain
NEWTON_STEPS = 8
STEP_LENGTHS = (0.0, 1 / 16, 1 / 4, 1 / 2, 1.0)  # candidate lengths of a Newton step
LARGEST_LOG_WEIGHT = 20.0  # the logarithm of an importance weight is clipped to +- this


class DomainClassifier(NamedTuple):
    """A regression f(x) = log p(target | x) / p(source | x), with both domains equally likely."""

    # [min(d, MAX_DIMENSIONS) + 1], for standardised dimensions; the last entry is the intercept
    weight: jax.Array
    mean: jax.Array  # [d]
    scale: jax.Array  # [d], one over the standard deviation; 0 for a dimension that never varies
    train: jax.Array  # [k] leave-one-out f of at most MAX_ROWS rows of `train_representation`
    target: jax.Array  # [m] leave-one-out f of at most MAX_ROWS rows of `target_representation`


def domain_classifier(evidence: Evidence) -> DomainClassifier:
    """Fits the logistic regression that distinguishes training source from target.

    It minimises sum_i mass_i log(1 + exp(-y_i f(x_i))) + RIDGE / 2 |w|^2, with f(x) = w x + b and
    y_i = 1 for target, -1 for source. Each row i has weight mass_i; the weights of each domain sum
    to 1/2. The dimensions of x are standardised over both domains, and those
    that never vary are left out. Each step of Newton's method uses the best of several lengths, so
    that the objective never increases.

    A leave-one-out f of a row is that of a regression that was fitted without this row, to first
    order: f_i + mass_i g_i a_i / (1 - mass_i s_i a_i). Here g_i and s_i are the first and second
    derivative of row i's loss with respect to f_i, H is the Hessian of the objective, and a_i =
    x_i^T H^-1 x_i is the leverage of the row. So no rows have to be held out, and their order does
    not matter.

    Source: Rad and Maleki 2020, "A scalable estimate of the out-of-sample prediction error via
    approximate leave-one-out cross-validation", JRSS B.

    Args:
      evidence: outputs of one member; needs `train_representation` and `target_representation`.

    Returns:
      The fitted regression.
    """
    train = evenly(evidence.train_representation, MAX_ROWS)
    target = evenly(evidence.target_representation, MAX_ROWS)
    rows = jnp.concatenate([train, target])
    sizes = [len(train), len(target)]
    mass = jnp.asarray(np.repeat([0.5 / n for n in sizes], sizes), jnp.float32)
    is_target = jnp.asarray(np.repeat([0.0, 1.0], sizes), jnp.float32)

    # Divided by the largest value first, so that no square overflows.
    largest = jnp.maximum(jnp.abs(rows).max(0), 1e-30)
    unit = rows / largest[None]
    deviation = jnp.sqrt(mass @ jnp.square(unit - (mass @ unit)[None]))
    varies = deviation > 1e-6  # a smaller deviation is rounding
    mean = mass @ unit * largest
    scale = jnp.where(varies, 1 / jnp.where(varies, deviation * largest, 1), 0)

    x = _design(rows, mean, scale)
    ridge = jnp.full(x.shape[1], RIDGE).at[-1].set(INTERCEPT_RIDGE)
    weight, f = _newton(x, is_target, mass, ridge)

    p = jax.nn.sigmoid(f)
    curvature = mass * p * (1 - p)
    factor = jnp.linalg.cholesky(_hessian(x, curvature, ridge))
    root = jax.scipy.linalg.solve_triangular(factor, x.T, lower=True)
    leverage = jnp.square(root).sum(0)  # [rows]
    left_out = f + mass * (p - is_target) * leverage / jnp.maximum(1 - curvature * leverage, 1e-3)
    return DomainClassifier(weight, mean, scale, left_out[: len(train)], left_out[len(train) :])


def _design(rows: jax.Array, mean: jax.Array, scale: jax.Array) -> jax.Array:
    """Standardises rows [n, d]; returns [n, columns] with ones in the last column.

    There are min(d, MAX_DIMENSIONS) + 1 columns.
    """
    rows = (rows - mean[None]) * scale[None]
    d = rows.shape[1]
    if d > MAX_DIMENSIONS:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (d, MAX_DIMENSIONS))
        # With this scale the variance stays about 1 if the dimensions are uncorrelated.
        projection = jnp.asarray(signs / np.sqrt(d), jnp.float32)
        rows = jnp.matmul(rows, projection, precision="highest")
    return jnp.pad(rows, ((0, 0), (0, 1)), constant_values=1.0)


def _hessian(x: jax.Array, weight: jax.Array, ridge: jax.Array) -> jax.Array:
    """Returns x^T diag(weight) x + diag(ridge), [columns, columns]."""
    return jnp.matmul((x * weight[:, None]).T, x, precision="highest") + jnp.diag(ridge)


def _newton(
    x: jax.Array, label: jax.Array, mass: jax.Array, ridge: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Minimises sum_i mass_i (softplus(f_i) - label_i f_i) + 1/2 ridge w^2, with f = x w.

    Args:
      x: [rows, columns].
      label: [rows], 0 or 1.
      mass: [rows], weights of the rows.
      ridge: [columns].

    Returns:
      w [columns] and f [rows].
    """
    lengths = jnp.asarray(STEP_LENGTHS)

    def objective(w: jax.Array, f: jax.Array) -> jax.Array:
        return mass @ (jax.nn.softplus(f) - label * f) + 0.5 * ridge @ jnp.square(w)

    def step(_: int, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        w, f = state
        p = jax.nn.sigmoid(f)
        factor = jnp.linalg.cholesky(_hessian(x, mass * p * (1 - p), ridge))
        gradient = jnp.matmul(mass * (p - label), x, precision="highest") + ridge * w
        dw = -jax.scipy.linalg.cho_solve((factor, True), gradient)
        df = jnp.matmul(x, dw, precision="highest")
        objectives = jax.vmap(lambda length: objective(w + length * dw, f + length * df))(lengths)
        best = lengths[jnp.argmin(objectives)]
        return w + best * dw, f + best * df

    return jax.lax.fori_loop(0, NEWTON_STEPS, step, (jnp.zeros(x.shape[1]), jnp.zeros(len(x))))


def importance_weights(evidence: Evidence, classifier: DomainClassifier | None = None) -> jax.Array:
    """Returns the density ratios p_target(x) / p_source(x) of held-out source representations.

    They are exp f(x), with f of the `domain_classifier` clipped to +-LARGEST_LOG_WEIGHT.

    Args:
      evidence: outputs of one member.
      classifier: `domain_classifier(evidence)`; None: it is fitted here.

    Returns:
      [n], above 0.
    """
    weight, mean, scale, *_ = domain_classifier(evidence) if classifier is None else classifier
    x = _design(evidence.source_representation, mean, scale)
    log_weight = jnp.matmul(x, weight, precision="highest")
    return jnp.exp(jnp.clip(log_weight, -LARGEST_LOG_WEIGHT, LARGEST_LOG_WEIGHT))


def iwv(evidence: Evidence, classifier: DomainClassifier | None = None) -> jax.Array:
    """Importance-weighted validation: mean_i w_i l_i over held-out source. Lower is better.

    w are the `importance_weights` and l the cross-entropies. It estimates the risk on the target.
    The estimate is unbiased if source and target differ only in p(x) and the weights are right. A
    few large weights can dominate it.

    Source: Sugiyama et al. 2007, "Covariate Shift Adaptation by Importance Weighted Cross
    Validation", JMLR 8.

    Args:
      evidence: outputs of one member.
      classifier: `domain_classifier(evidence)`; None: it is fitted here.

    Returns:
      A scalar, at least 0.
    """
    labelled = evidence.source_emotion >= 0
    loss = losses(evidence.source_logits, evidence.source_emotion)
    return jnp.mean(importance_weights(evidence, classifier) * loss, where=labelled)


def dev(evidence: Evidence, classifier: DomainClassifier | None = None) -> jax.Array:
    """Deep embedded validation: `iwv` with a control variate. Lower is better.

    mean_i w_i l_i + eta (mean_i w_i - 1), with eta = -cov(w l, w) / var(w), or 0 if w does not
    vary. Since the mean of w is known to be 1, this has less variance than `iwv`.

    Source: You et al. 2019, "Towards Accurate Model Selection in Deep Unsupervised Domain
    Adaptation", ICML, algorithm 1. The paper's domain classifier is a perceptron; this one is
    linear.

    Args:
      evidence: outputs of one member.
      classifier: `domain_classifier(evidence)`; None: it is fitted here.

    Returns:
      A scalar of either sign.
    """
    labelled = evidence.source_emotion >= 0
    weight = importance_weights(evidence, classifier)
    weighted = weight * losses(evidence.source_logits, evidence.source_emotion)
    mean, mean_weighted = jnp.mean(weight, where=labelled), jnp.mean(weighted, where=labelled)
    # Variance of weight / mean, and its covariance with the weighted losses.
    relative = weight / mean - 1
    variance = jnp.mean(jnp.square(relative), where=labelled)
    covariance = jnp.mean((weighted - mean_weighted) * relative, where=labelled)
    varies = variance > 1e-10
    slope = jnp.where(varies, covariance / jnp.where(varies, variance, 1), 0)
    # mean w l - slope (1 - 1 / mean) equals mean w l + eta (mean - 1), since slope = -eta * mean
    return mean_weighted - slope * (1 - 1 / mean)


def a_distance(evidence: Evidence, classifier: DomainClassifier | None = None) -> jax.Array:
    """Proxy A-distance of training source and target, 2 (1 - 2 error). Lower is better.

    The error is the balanced leave-one-out error of the `domain_classifier`. An error above 1/2
    counts as 1/2. A collapsed representation (the same for all utterances) gets 0, the best value,
    although it is useless.

    This form is fast enough for each record of each member. `jdann.evaluation.domain_distance`
    is an independent check: it fits scikit-learn's regression to one half of the rows and takes the
    error on the other half, so that it may be negative.

    Source: Ben-David et al. 2006, "Analysis of Representations for Domain Adaptation", NeurIPS,
    section 4.

    Args:
      evidence: outputs of one member.
      classifier: `domain_classifier(evidence)`; None: it is fitted here.

    Returns:
      A scalar, 0 to 2.
    """
    classifier = domain_classifier(evidence) if classifier is None else classifier
    error = 0.25 * (2 + jnp.sign(classifier.train).mean() - jnp.sign(classifier.target).mean())
    return jnp.maximum(2 * (1 - 2 * error), 0.0)
