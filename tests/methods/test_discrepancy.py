"""Discrepancies of representations: against loops and another transport solver."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ott.geometry import geometry
from ott.problems.linear import linear_problem
from ott.solvers.linear import sinkhorn

from jdann.methods import make_method
from jdann.methods.discrepancy import coral, deep_jdot, unbalanced_plan
from jdann.methods.losses import squared_distances, unbiased_mmd
from jdann.parameters import defaults
from tests.support.toy_training import gradients_of, loss_of, make_batch, softmax

JDOT = {**defaults(deep_jdot), "epsilon": 0.05}


def mmd_by_loops(kernel, n, m):
    """Gretton et al. 2012, equation 3; `kernel` takes indices of points, the first set first."""
    total = 0.0
    for i, j in itertools.permutations(range(n), 2):
        total += kernel(i, j) / (n * (n - 1))
    for i, j in itertools.permutations(range(n, n + m), 2):
        total += kernel(i, j) / (m * (m - 1))
    for i, j in itertools.product(range(n), range(n, n + m)):
        total -= 2 * kernel(i, j) / (n * m)
    return total


def mixture_by_loops(points):
    """The mean of five Gaussian kernels at powers of two times the mean squared distance."""
    pairs = list(itertools.combinations(range(len(points)), 2))
    mean = np.mean([np.sum((points[i] - points[j]) ** 2) for i, j in pairs])
    return lambda i, j: np.mean(
        [np.exp(-np.sum((points[i] - points[j]) ** 2) / (2.0**k * mean)) for k in range(-2, 3)]
    )


def test_coral_is_the_distance_of_numpys_covariances():
    batch = make_batch(n=5, m=7, width=6)
    expected = np.sum((np.cov(batch.source.T) - np.cov(batch.target.T)) ** 2) / (4 * 6**2)
    value, diagnostics = loss_of(make_method("deep_coral"), batch, strength=0.5)
    np.testing.assert_allclose(diagnostics["coral_loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(value, 0.5 * 100 * expected, rtol=1e-5)
    assert coral(batch.source[:1], batch.source[:1]) == 0  # a single row has no covariance


def test_dan_is_the_unbiased_estimate():
    batch = make_batch(n=4, m=6)
    points = np.concatenate([batch.source, batch.target]).astype(np.float64)
    expected = mmd_by_loops(mixture_by_loops(points), 4, 6)
    np.testing.assert_allclose(loss_of(make_method("dan"), batch)[0], expected, rtol=1e-4)


def test_jan_multiplies_the_kernels():
    batch = make_batch(n=4, m=6)
    points = np.concatenate([batch.source, batch.target]).astype(np.float64)
    posteriors = softmax(
        np.concatenate([batch.source_logits, batch.target_logits]).astype(np.float64)
    )
    of_points = mixture_by_loops(points)
    expected = mmd_by_loops(
        lambda i, j: of_points(i, j) * np.exp(-np.sum((posteriors[i] - posteriors[j]) ** 2) / 1.68),
        4,
        6,
    )
    np.testing.assert_allclose(loss_of(make_method("jan"), batch)[0], expected, rtol=1e-4)


def test_the_unbiased_estimate_may_be_negative_and_is_zero_on_average():
    random = np.random.default_rng(0)
    draws = jnp.asarray(
        random.normal(size=(400, 12, 3)), jnp.float32
    )  # both halves from one distribution
    values = jax.vmap(lambda x: unbiased_mmd(jnp.exp(-squared_distances(x)), 6))(draws)
    assert values.min() < 0 < values.max()
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))


def test_the_bandwidth_carries_no_gradient():
    # With a bandwidth that follows the data, MMD does not change when all is scaled: the gradient
    # along x would be zero.
    batch = make_batch()
    _, gradient, _ = gradients_of(make_method("dan"), batch)
    assert (
        abs((gradient.source * batch.source).sum() + (gradient.target * batch.target).sum()) > 1e-3
    )


def test_distances_keep_their_digits_far_from_the_origin():
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    far = squared_distances(jnp.asarray(x + 1000))
    np.testing.assert_allclose(far, squared_distances(jnp.asarray(x)), atol=2e-3)


def plan_by_scaling(cost, epsilon, tau, iterations=3000):
    """The scaling algorithm of Chizat et al. 2018 for uniform marginals, in float64."""
    n, m = cost.shape
    kernel, power = np.exp(-cost / epsilon), tau / (tau + epsilon)
    u, v = np.ones(n), np.ones(m)
    for _ in range(iterations):
        u = (1 / n / (kernel @ v)) ** power
        v = (1 / m / (kernel.T @ u)) ** power
    return u[:, None] * kernel * v


def jdot_cost(batch):
    distance = (
        ((np.asarray(batch.source)[:, None] - np.asarray(batch.target)[None]) ** 2)
        .sum(-1)
        .astype(np.float64)
    )
    label = -np.log(softmax(np.asarray(batch.target_logits, np.float64)))[
        :, np.asarray(batch.emotion)
    ].T
    return JDOT["alpha"] * distance + JDOT["beta"] * label


def test_deep_jdot_moves_along_the_unbalanced_plan():
    batch = make_batch(n=4, m=6)
    cost = jdot_cost(batch)
    plan = plan_by_scaling(cost, JDOT["epsilon"], JDOT["tau"])
    value, diagnostics = loss_of(deep_jdot(**JDOT), batch)
    np.testing.assert_allclose(value, np.sum(plan * cost), rtol=1e-3)
    np.testing.assert_allclose(diagnostics["transported_mass"], plan.sum(), rtol=1e-3)
    # The plan is held fixed: the gradient is that of a weighted sum.
    _, gradient, _ = gradients_of(deep_jdot(**JDOT), batch)
    difference = np.asarray(batch.source)[:, None] - np.asarray(batch.target)[None]
    expected = 2 * JDOT["alpha"] * (plan[:, :, None] * difference).sum(1)
    np.testing.assert_allclose(gradient.source, expected, rtol=1e-2, atol=1e-5)


def test_a_balanced_plan_meets_the_marginals():
    # A heavy penalty on the marginals brings back balanced transport: each utterance hands over its
    # whole share.
    method = deep_jdot(**{**JDOT, "tau": 1e3, "iterations": 300, "beta": 0.0})
    batch = make_batch(n=4, m=6)
    _, gradient, _ = gradients_of(method, batch)
    # sum_j plan_ij 2 alpha (f_i - f_j), summed over i and compared with the uniform means
    expected = 2 * JDOT["alpha"] * (batch.source.mean(0) - batch.target.mean(0))
    np.testing.assert_allclose(gradient.source.sum(0), expected, atol=1e-4)
    np.testing.assert_allclose(loss_of(method, batch)[1]["transported_mass"], 1, atol=1e-3)


@pytest.mark.parametrize(("epsilon", "tau"), [(0.01, 0.5), (0.05, 0.5), (0.01, 1000.0)])
@pytest.mark.parametrize("shape", [(4, 6), (32, 32)])
def test_the_plan_is_that_of_ott(shape, epsilon, tau):
    """Also where a fixed number of iterations does not reach the optimum."""
    cost = jnp.asarray(np.random.default_rng(0).random(shape), jnp.float32)
    solver = sinkhorn.Sinkhorn(min_iterations=100, max_iterations=100, recenter_potentials=True)
    problem = linear_problem.LinearProblem(
        geometry.Geometry(cost_matrix=cost, epsilon=epsilon),
        tau_a=tau / (tau + epsilon),
        tau_b=tau / (tau + epsilon),
    )
    actual = unbalanced_plan(cost, epsilon, tau, iterations=100)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):  # inside ott
        expected = solver(problem).matrix
    np.testing.assert_allclose(actual, expected, atol=1e-5 / max(shape))
