"""Alignment without an adversary: a distance between the domains' representations, made small."""

from typing import Any

import jax
import jax.numpy as jnp

from jdann.methods.contract import Context, Method, Source, Target, term

# Products of float32 matrices lose ten bits on some accelerators; a difference of their entries would be noise.
PRECISE = jax.lax.Precision.HIGHEST


def deep_coral(config: Any) -> Method:
    """Correlation alignment: the two domains' covariances become alike.

    loss = lambda weight ||C_s - C_t||_F^2 / (4 d^2), C the unbiased covariances of the representations of d entries.

    Source: Sun and Saenko 2016, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation", equations 1 to 3.

    Args:
      config: `config.deep_coral.weight`.

    Diagnostics: `coral_loss`, before the weight.
    """
    weight = config.deep_coral.weight

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        value = coral(source.representation, target.representation)
        return context.strength * weight * value, {"coral_loss": value}

    return term(loss)


def coral(x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared Frobenius distance of the unbiased covariances of x [n, d] and y [m, d], over 4 d^2."""
    return jnp.square(covariance(x) - covariance(y)).sum() / (4 * x.shape[1] ** 2)


def covariance(x: jax.Array) -> jax.Array:
    """Unbiased covariance [d, d] of x [n, d]; zero for a single row."""
    centred = x - x.mean(0)
    return jnp.matmul(centred.T, centred, precision=PRECISE) / max(len(x) - 1, 1)


def dan(config: Any) -> Method:
    """Deep adaptation network: multi-kernel maximum mean discrepancy of the representations.

    loss = lambda weight MMD^2, with k(x, y) = 1/K sum_k exp(-||x - y||^2 / (2^k m)), m = sg(mean squared distance of the
    batch), k = -K//2 ... K//2. MMD^2 is the unbiased quadratic-time estimate; it may be negative. The paper takes the
    linear-time estimate, which uses fewer pairs of the same batch, and learns the kernels' weights, here all equal.

    Source: Long et al. 2015, "Learning Transferable Features with Deep Adaptation Networks", equations 1 to 4;
    Gretton et al. 2012, "A Kernel Two-Sample Test", JMLR 13, equation 3.

    Args:
      config: `config.dan.kernels`, K, and `config.dan.weight`.

    Diagnostics: `mmd`, the estimate before the weight.
    """
    kernels, weight = config.dan.kernels, config.dan.weight

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        distances = squared_distances(
            jnp.concatenate([source.representation, target.representation])
        )
        value = unbiased_mmd(gaussian_kernels(distances, kernels), len(source.representation))
        return context.strength * weight * value, {"mmd": value}

    return term(loss)


def jan(config: Any) -> Method:
    """Joint adaptation network: maximum mean discrepancy of representation and prediction together.

    loss = lambda weight MMD^2 with the kernel k(f, f') exp(-||p - p'||^2 / bandwidth), k as in `dan`, p the softmax. The
    estimate is the unbiased quadratic-time one; it may be negative.

    Source: Long et al. 2017, "Deep Transfer Learning with Joint Adaptation Networks", equations 8 and 9, without the
    adversarial variant. The fixed bandwidth of the softmax is that of the authors' code.

    Args:
      config: `config.jan.kernels`, K for the representation; `config.jan.softmax_bandwidth`; `config.jan.weight`.

    Diagnostics: `joint_mmd`, the estimate before the weight.
    """
    kernels, bandwidth, weight = config.jan.kernels, config.jan.softmax_bandwidth, config.jan.weight

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        of_representation = squared_distances(
            jnp.concatenate([source.representation, target.representation])
        )
        of_softmax = squared_distances(
            jax.nn.softmax(jnp.concatenate([source.logits, target.logits]))
        )
        kernel = gaussian_kernels(of_representation, kernels) * jnp.exp(-of_softmax / bandwidth)
        value = unbiased_mmd(kernel, len(source.representation))
        return context.strength * weight * value, {"joint_mmd": value}

    return term(loss)


def squared_distances(x: jax.Array, y: jax.Array | None = None) -> jax.Array:
    """Squared Euclidean distances [n, m] of the rows of x [n, d] to those of y [m, d], or to each other."""
    centre = jax.lax.stop_gradient(x.mean(0))  # distances do not depend on it, their rounding does
    x = x - centre
    y = x if y is None else y - centre
    lengths = jnp.square(x).sum(1)[:, None] + jnp.square(y).sum(1)
    return jnp.maximum(lengths - 2 * jnp.matmul(x, y.T, precision=PRECISE), 0.0)


def gaussian_kernels(distances: jax.Array, kernels: int) -> jax.Array:
    """Mean of Gaussian kernels whose bandwidths are the mean squared distance times powers of two.

    Args:
      distances: squared, [n, n], of a set to itself.
      kernels: how many; an odd number centres them on the mean.

    Returns:
      [n, n]. The bandwidths carry no gradient: else the discrepancy would shrink by growing them.
    """
    n = len(distances)
    mean = jax.lax.stop_gradient(distances).sum() / (n * (n - 1))
    mean = jnp.maximum(mean, 1e-6)  # all rows equal
    return jnp.stack(
        [
            jnp.exp(-distances / (mean * 2.0**k))
            for k in range(-(kernels // 2), kernels - kernels // 2)
        ]
    ).mean(0)


def unbiased_mmd(kernel: jax.Array, sources: int) -> jax.Array:
    """Unbiased estimate of the squared maximum mean discrepancy between the first `sources` points and the others.

    Args:
      kernel: of all points with each other, [n, n].
      sources: n_s, 1 to n - 1.
    """
    n, m = sources, len(kernel) - sources
    of_source, of_target, across = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
    within = (of_source.sum() - jnp.trace(of_source)) / max(n * (n - 1), 1)
    within += (of_target.sum() - jnp.trace(of_target)) / max(m * (m - 1), 1)
    return within - 2 * across.mean()


def deep_jdot(config: Any) -> Method:
    """Joint distribution optimal transport: source utterances hand their labels to target utterances near them.

    loss = lambda weight sum_ij sg(gamma_ij) c_ij, c_ij = alpha ||f_i - f_j||^2 + beta CE(y_i, g_j), i of the source, j of
    the target. The plan gamma minimises <gamma, c> - epsilon H(gamma) + tau (KL(gamma 1 | 1/n) + KL(gamma^T 1 | 1/n)):
    its marginals are but pulled towards the uniform ones, since two small batches hold the classes in different numbers.

    Source: Damodaran et al. 2018, "DeepJDOT: Deep Joint Distribution Optimal Transport for Unsupervised Domain
    Adaptation", equations 6 and 7; the unbalanced plan: Fatras et al. 2021, "Unbalanced minibatch Optimal Transport;
    applications to Domain Adaptation", section 5, whose parameters for Office-Home are the defaults.

    Args:
      config: `config.deep_jdot.alpha`, of the squared feature distance; `.beta`, of the label cost; `.epsilon`, `.tau`
        and `.iterations` of the Sinkhorn algorithm; `.weight`.

    Diagnostics: `transport_cost`, and `transported_mass`, the plan's sum: 1 where nothing is too dear to move.
    """
    from ott.geometry import geometry  # lazily: its import takes a second
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn

    own = config.deep_jdot
    alpha, beta, epsilon, weight = own.alpha, own.beta, own.epsilon, own.weight
    pull = own.tau / (own.tau + epsilon)  # ott's parameter of the same name
    # As many iterations at least as at most: nothing then depends on the data, and `vmap` costs no more.
    solver = sinkhorn.Sinkhorn(
        min_iterations=own.iterations, max_iterations=own.iterations, recenter_potentials=True
    )

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        log_posteriors = jax.nn.log_softmax(target.logits)  # [target batch, classes]
        cost = (
            alpha * squared_distances(source.representation, target.representation)
            - beta * log_posteriors.T[source.emotion]
        )
        fixed = geometry.Geometry(cost_matrix=jax.lax.stop_gradient(cost), epsilon=epsilon)
        plan = jax.lax.stop_gradient(
            solver(linear_problem.LinearProblem(fixed, tau_a=pull, tau_b=pull)).matrix
        )
        value = (plan * cost).sum()
        return context.strength * weight * value, {
            "transport_cost": value,
            "transported_mass": plan.sum(),
        }

    return term(loss)
