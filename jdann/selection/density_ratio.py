"""Criteria that tell source from target by a logistic regression on representations."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann.selection.contract import Evidence, evenly
from jdann.selection.predictions import losses

ROWS = 1024  # at most, of each domain, to fit on
DIMENSIONS = 256  # at most: wider representations are projected at random
RIDGE = 0.1  # on standardised dimensions, beside the mean loss; less of it overfits as soon as rows are not many times d
NEWTON_STEPS = 8
LARGEST_LOGIT = 20.0  # of an importance weight's logarithm


class DomainClassifier(NamedTuple):
    """A fitted f(x) = log p(target | x) / p(source | x), both domains equally likely beforehand."""

    weight: jax.Array  # [d + 1] on standardised dimensions; the last one is the intercept
    mean: jax.Array  # [d]
    scale: jax.Array  # [d], one over the standard deviation
    train: (
        jax.Array
    )  # [k] f of train_representation, each by a regression fitted without that row; at most ROWS
    target: jax.Array  # [m] f of target_representation, likewise


def domain_classifier(evidence: Evidence) -> DomainClassifier:
    """Minimises sum_i mass_i log(1 + exp(-y_i f(x_i))) + RIDGE / 2 |w|^2, f(x) = w x + b, with each domain's mass 1/2.

    x are the dimensions, standardised over both domains, dimensions that never vary left out. Newton's method, each step
    of the best of several lengths, so that the objective never rises. The logits of the rows that it is fitted on are
    those without them, to first order: f_i + mass_i g_i a_i / (1 - mass_i s_i a_i) with g, s the loss's derivatives and
    a_i = x_i^T H^-1 x_i (Rad and Maleki 2020, "A scalable estimate of the out-of-sample prediction error via approximate
    leave-one-out cross-validation", JRSS B). That needs no split, and the order of rows does not matter.
    """
    train, target = (
        evenly(evidence.train_representation, ROWS),
        evenly(evidence.target_representation, ROWS),
    )
    rows = jnp.concatenate([train, target])
    mass = jnp.asarray(
        np.repeat([0.5 / len(train), 0.5 / len(target)], [len(train), len(target)]), jnp.float32
    )
    is_target = jnp.asarray(np.repeat([0.0, 1.0], [len(train), len(target)]), jnp.float32)

    largest = jnp.maximum(
        jnp.abs(rows).max(0), 1e-30
    )  # divided by it first, so that no square overflows
    unit = rows / largest
    deviation = jnp.sqrt(mass @ jnp.square(unit - mass @ unit))
    varies = deviation > 1e-6  # what is below that is rounding
    mean, scale = (
        mass @ unit * largest,
        jnp.where(varies, 1 / jnp.where(varies, deviation * largest, 1), 0),
    )

    x = _design(rows, mean, scale)
    # Hardly any ridge on b: just enough that the Hessian can be inverted where all rows are certain.
    ridge = jnp.full(x.shape[1], RIDGE).at[-1].set(1e-6)
    weight, f = _newton(x, is_target, mass, ridge)

    p = jax.nn.sigmoid(f)
    curvature = mass * p * (1 - p)
    factor = jnp.linalg.cholesky(_hessian(x, curvature, ridge))
    leverage = jnp.square(jax.scipy.linalg.solve_triangular(factor, x.T, lower=True)).sum(
        0
    )  # [rows], x_i^T H^-1 x_i
    without = f + mass * (p - is_target) * leverage / jnp.maximum(1 - curvature * leverage, 1e-3)
    return DomainClassifier(weight, mean, scale, without[: len(train)], without[len(train) :])


def _design(rows: jax.Array, mean: jax.Array, scale: jax.Array) -> jax.Array:
    """Standardised rows [n, min(d, DIMENSIONS) + 1], with a column of ones at the end."""
    rows = (rows - mean) * scale
    d = rows.shape[1]
    if d > DIMENSIONS:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (d, DIMENSIONS))
        projection = jnp.asarray(signs / np.sqrt(d), jnp.float32)  # what has unit variance keeps it
        rows = jnp.matmul(rows, projection, precision="highest")
    return jnp.pad(rows, ((0, 0), (0, 1)), constant_values=1.0)


def _hessian(x: jax.Array, weight: jax.Array, ridge: jax.Array) -> jax.Array:
    return jnp.matmul((x * weight[:, None]).T, x, precision="highest") + jnp.diag(ridge)


def _newton(
    x: jax.Array, label: jax.Array, mass: jax.Array, ridge: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The minimum w [d] of sum_i mass_i (softplus(f_i) - label_i f_i) + 1/2 ridge w^2, and f = x w [rows]."""
    lengths = jnp.asarray([0.0, 1 / 16, 1 / 4, 1 / 2, 1.0])

    def objective(w: jax.Array, f: jax.Array) -> jax.Array:
        return mass @ (jax.nn.softplus(f) - label * f) + 0.5 * ridge @ jnp.square(w)

    def step(_: int, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        w, f = state
        p = jax.nn.sigmoid(f)
        factor = jnp.linalg.cholesky(_hessian(x, mass * p * (1 - p), ridge))
        gradient = jnp.matmul(mass * (p - label), x, precision="highest") + ridge * w
        dw = -jax.scipy.linalg.cho_solve((factor, True), gradient)
        df = jnp.matmul(x, dw, precision="highest")
        best = lengths[jnp.argmin(jax.vmap(lambda t: objective(w + t * dw, f + t * df))(lengths))]
        return w + best * dw, f + best * df

    return jax.lax.fori_loop(0, NEWTON_STEPS, step, (jnp.zeros(x.shape[1]), jnp.zeros(len(x))))


def importance_weights(evidence: Evidence, classifier: DomainClassifier | None = None) -> jax.Array:
    """Density ratios p_target(x) / p_source(x) of the held-out source's representations, [n], above 0.

    exp f(x) of the `domain_classifier`, f clipped to +-LARGEST_LOGIT.
    """
    weight, mean, scale, *_ = domain_classifier(evidence) if classifier is None else classifier
    logit = jnp.matmul(
        _design(evidence.source_representation, mean, scale), weight, precision="highest"
    )
    return jnp.exp(jnp.clip(logit, -LARGEST_LOGIT, LARGEST_LOGIT))


def iwv(evidence: Evidence, classifier: DomainClassifier | None = None) -> jax.Array:
    """Importance-weighted validation: mean_i w_i l_i over held-out source. Lower is better, from 0.

    w are the `importance_weights`, l the cross-entropies. An estimate of the target's risk, unbiased where source and
    target differ in p(x) alone and w is right; a few large weights can decide it.

    Source: Sugiyama et al. 2007, "Covariate Shift Adaptation by Importance Weighted Cross Validation", JMLR 8.

    Args:
      evidence: of one member.
      classifier: that of `domain_classifier(evidence)`; None: fitted here.
    """
    labelled = evidence.source_emotion >= 0
    loss = losses(evidence.source_logits, evidence.source_emotion)
    return jnp.mean(importance_weights(evidence, classifier) * loss, where=labelled)


def dev(evidence: Evidence, classifier: DomainClassifier | None = None) -> jax.Array:
    """Deep embedded validation: `iwv` with a control variate. Lower is better, of either sign.

    mean_i w_i l_i + eta (mean_i w_i - 1), eta = -cov(w l, w) / var(w), which has less variance: the mean of w is known to
    be 1. eta = 0 where w does not vary.

    Source: You et al. 2019, "Towards Accurate Model Selection in Deep Unsupervised Domain Adaptation", ICML, algorithm 1;
    with a linear domain classifier in place of a perceptron.

    Args:
      evidence: of one member.
      classifier: that of `domain_classifier(evidence)`; None: fitted here.
    """
    labelled = evidence.source_emotion >= 0
    weight = importance_weights(evidence, classifier)
    weighted = weight * losses(evidence.source_logits, evidence.source_emotion)
    mean, mean_weighted = jnp.mean(weight, where=labelled), jnp.mean(weighted, where=labelled)
    relative = weight / mean - 1
    variance = jnp.mean(jnp.square(relative), where=labelled)
    covariance = jnp.mean(
        (weighted - mean_weighted) * relative, where=labelled
    )  # both in units of the mean weight
    varies = variance > 1e-10
    slope = jnp.where(
        varies, covariance / jnp.where(varies, variance, 1), 0
    )  # -eta times the mean weight
    return mean_weighted - slope * (1 - 1 / mean)


def a_distance(evidence: Evidence, classifier: DomainClassifier | None = None) -> jax.Array:
    """Proxy A-distance of training source and target, 2 (1 - 2 err). Lower is better, 0 to 2.

    err is the balanced error, at most 1/2, of the `domain_classifier` on rows left out. `jdann.evaluation.metrics.a_distance` is
    the same by scikit-learn with one split into halves. A representation that is the same for all looks perfect.

    Source: Ben-David et al. 2006, "Analysis of Representations for Domain Adaptation", NeurIPS, section 4.

    Args:
      evidence: of one member.
      classifier: that of `domain_classifier(evidence)`; None: fitted here.
    """
    classifier = domain_classifier(evidence) if classifier is None else classifier
    error = 0.25 * (2 + jnp.sign(classifier.train).mean() - jnp.sign(classifier.target).mean())
    return jnp.maximum(2 * (1 - 2 * error), 0.0)
