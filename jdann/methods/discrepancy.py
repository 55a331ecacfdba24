"""Alignment without an adversary: a distance between the domains' representations is made small."""

import jax
import jax.numpy as jnp

from jdann.methods.contract import Context, LossValue, Method, Params, Source, Target, term
from jdann.methods.losses import PRECISE, gaussian_kernels, squared_distances, unbiased_mmd
from jdann.parameters import Count, NonNegative, Positive, checked


@checked
def deep_coral(*, weight: NonNegative = 100.0) -> Method:
    """Correlation alignment: the covariances of the two domains become alike.

    loss = lambda * weight * ||C_s - C_t||_F^2 / (4 d^2), where C are the unbiased covariances of
    representations with d entries.

    Source: Sun and Saenko 2016, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation",
    equations 1 to 3.

    Args:
      weight: factor of the loss, beside lambda. The loss is about a thousandth of the source risk,
        so try powers of ten.

    Diagnostics: `coral_loss`, before the weight.
    """

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        value = coral(source.representation, target.representation)
        return context.strength * weight * value, {"coral_loss": value}

    return term(loss)


def coral(x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared Frobenius distance of the covariances of x [n, d] and y [m, d], over 4 d^2."""
    return jnp.square(covariance(x) - covariance(y)).sum() / (4 * x.shape[1] ** 2)


def covariance(x: jax.Array) -> jax.Array:
    """Unbiased covariance [d, d] of x [n, d]; zero for a single row."""
    centred = x - x.mean(0)[None]
    return jnp.matmul(centred.T, centred, precision=PRECISE) / max(len(x) - 1, 1)


@checked
def dan(*, kernels: Count = 5, weight: NonNegative = 1.0) -> Method:
    """Deep adaptation network: multi-kernel maximum mean discrepancy of the representations.

    loss = lambda * weight * MMD^2, with the kernel 1/K * sum_k exp(-||x - y||^2 / (2^k m)), where m
    = sg(mean squared distance of the batch) and k = -K//2 ... K//2. sg: stop gradient. MMD^2 is the
    unbiased quadratic-time estimate, which may be negative. The paper takes the linear-time
    estimate, which uses fewer pairs of the same batch, and learns the weights of the kernels; here
    all weights are equal.

    Source: Long et al. 2015, "Learning Transferable Features with Deep Adaptation Networks",
    equations 1 to 4; Gretton et al. 2012, "A Kernel Two-Sample Test", JMLR 13, equation 3.

    Args:
      kernels: K, the number of Gaussian kernels; their bandwidths differ by factors of two.
      weight: factor of the loss, beside lambda.

    Diagnostics: `mmd`, the estimate before the weight.
    """

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        both = jnp.concatenate([source.representation, target.representation])
        kernel = gaussian_kernels(squared_distances(both), kernels)
        value = unbiased_mmd(kernel, len(source.representation))
        return context.strength * weight * value, {"mmd": value}

    return term(loss)


@checked
def jan(
    *, kernels: Count = 5, softmax_bandwidth: Positive = 1.68, weight: NonNegative = 1.0
) -> Method:
    """Joint adaptation network: maximum mean discrepancy of representation and prediction together.

    loss = lambda * weight * MMD^2 with the kernel k(f, f') * exp(-||p - p'||^2 / bandwidth), where
    k is that of `dan` and p is the softmax. The estimate is the unbiased quadratic-time one; it may
    be negative.

    Source: Long et al. 2017, "Deep Transfer Learning with Joint Adaptation Networks", equations 8
    and 9, without the adversarial variant. The bandwidth of the softmax is that of the authors'
    code.

    Args:
      kernels: K, the number of kernels of the representation, as in `dan`.
      softmax_bandwidth: the squared distance of two softmaxes at which their kernel is 1/e.
      weight: factor of the loss, beside lambda.

    Diagnostics: `joint_mmd`, the estimate before the weight.
    """

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        both = jnp.concatenate([source.representation, target.representation])
        probabilities = jax.nn.softmax(jnp.concatenate([source.logits, target.logits]))
        representation_kernel = gaussian_kernels(squared_distances(both), kernels)
        softmax_kernel = jnp.exp(-squared_distances(probabilities) / softmax_bandwidth)
        value = unbiased_mmd(representation_kernel * softmax_kernel, len(source.representation))
        return context.strength * weight * value, {"joint_mmd": value}

    return term(loss)


@checked
def deep_jdot(
    *,
    alpha: NonNegative = 0.01,
    beta: NonNegative = 0.5,
    epsilon: Positive = 0.01,
    tau: Positive = 0.5,
    iterations: Count = 100,
    weight: NonNegative = 1.0,
) -> Method:
    """Joint distribution optimal transport: labels move from source to nearby target utterances.

    loss = lambda * weight * sum_ij sg(gamma_ij) c_ij, where c_ij = alpha ||f_i - f_j||^2 +
    beta CE(y_i, g_j) for i of the source and j of the target. sg: stop gradient. The plan gamma
    minimises
    <gamma, c> - epsilon H(gamma) + tau (KL(gamma 1 | 1/n) + KL(gamma^T 1 | 1/n)).
    Its marginals are only pulled towards the uniform ones, because two small batches hold the
    classes in different numbers.

    Source: Damodaran et al. 2018, "DeepJDOT: Deep Joint Distribution Optimal Transport for
    Unsupervised Domain Adaptation", equations 6 and 7; the unbalanced plan: Fatras et al. 2021,
    "Unbalanced minibatch Optimal Transport; applications to Domain Adaptation", section 5, whose
    parameters for Office-Home are the defaults.

    Args:
      alpha: cost of a unit of squared distance between representations.
      beta: cost of a nat of cross-entropy.
      epsilon: weight of the plan's entropy, in units of the cost.
      tau: weight of the marginals' divergence: a pair whose cost is higher is rather not
        transported.
      iterations: of the Sinkhorn algorithm; the number is always the same.
      weight: factor of the loss, beside lambda.

    Diagnostics: `transport_cost`, and `transported_mass`, the plan's sum, which is 1 where no pair
    costs too much.
    """

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        log_probabilities = jax.nn.log_softmax(target.logits)  # [target batch, classes]
        cost = (
            alpha * squared_distances(source.representation, target.representation)
            - beta * log_probabilities.T[source.emotion]
        )  # [source batch, target batch]
        plan = jax.lax.stop_gradient(unbalanced_plan(cost, epsilon, tau, iterations))
        value = (plan * cost).sum()
        diagnostics = {"transport_cost": value, "transported_mass": plan.sum()}
        return context.strength * weight * value, diagnostics

    return term(loss)


def unbalanced_plan(cost: jax.Array, epsilon: float, tau: float, iterations: int) -> jax.Array:
    """The plan of unbalanced optimal transport between two uniform distributions.

    It minimises <plan, cost> - epsilon H(plan) + tau (KL(plan 1 | 1/n) + KL(plan^T 1 | 1/m)) by
    Sinkhorn's algorithm on logarithms: each marginal moves the power tau / (tau + epsilon) of the
    way to the uniform one.

    Source: Chizat et al. 2018, "Scaling algorithms for unbalanced optimal transport problems",
    section 4; the start from potentials whose total mass is right: Sejourne et al. 2022, "Faster
    Unbalanced Optimal Transport: Translation invariant Sinkhorn and 1-D Frank-Wolfe", section 3.

    Args:
      cost: [n, m].
      epsilon: weight of the plan's entropy, > 0.
      tau: weight of the marginals' divergence, > 0.
      iterations: how many; the number does not depend on the data, so `vmap` costs no more.

    Returns:
      [n, m].
    """
    n, m = cost.shape
    # At the cost c everywhere the mass is exp(-c / (2 tau + epsilon)). A higher cost than this one
    # moves nothing either, but its potentials would exceed the precision of float32.
    prohibitive = 100 * (2 * tau + epsilon)
    kernel = -jnp.minimum(cost, prohibitive) / epsilon  # [n, m], logarithms, as all that follows
    power = tau / (tau + epsilon)
    log_n, log_m = jnp.log(n), jnp.log(m)

    def iterate(
        _: jax.Array, potentials: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        u, v = potentials
        v = power * (-log_m - jax.nn.logsumexp(kernel + u[:, None], axis=0))
        u = power * (-log_n - jax.nn.logsumexp(kernel + v[None], axis=1))
        # Adding t to u and subtracting it from v keeps the plan; the best t for the divergences:
        a = jax.nn.logsumexp(-epsilon / tau * u - log_n)
        b = jax.nn.logsumexp(-epsilon / tau * v - log_m)
        shift = 0.5 * tau / epsilon * (a - b)
        return u + shift, v - shift

    start = (jnp.zeros(n), jnp.zeros(m))
    u, v = jax.lax.fori_loop(0, iterations, iterate, start)
    return jnp.exp(kernel + u[:, None] + v[None])
