"""Criteria that look at where representations lie: distance of the domains, clusters of the target."""

import jax
import jax.numpy as jnp
import numpy as np

from jdann.selection.contract import Evidence, evenly

MMD_ROWS = 1024  # at most, of each domain: the matrix of distances is quadratic
MMD_BANDWIDTHS = 5  # 1/4, 1/2, 1, 2 and 4 times the median squared distance
CLUSTER_ROWS = 2048  # at most
CLUSTER_STARTS = 3


def mmd(evidence: Evidence) -> jax.Array:
    """Squared maximum mean discrepancy of held-out source and target. Lower is better, 0 to 2.

    mean k(s, s') + mean k(t, t') - 2 mean k(s, t), with k(x, y) = mean_b exp(-|x - y|^2 / b) and b from 1/4 to 4 times the
    median of |x - y|^2 over all pairs of rows, whose gradient is stopped. The biased estimate: never negative, and defined
    for single rows; it is about 1/n + 1/m too large. A representation that is the same for all looks perfect.

    Source: Gretton et al. 2012, "A Kernel Two-Sample Test", JMLR 13, equation 5; Long et al. 2015, "Learning Transferable
    Features with Deep Adaptation Networks", ICML, for the kernels.
    """
    source, target = (
        evenly(evidence.source_representation, MMD_ROWS),
        evenly(evidence.target_representation, MMD_ROWS),
    )
    x, n = jnp.concatenate([source, target]), len(source)
    x = x / jnp.maximum(jnp.abs(x).max(), 1e-30)  # so that no square overflows
    x = x - x.mean(0)  # so that little cancels below
    squares = jnp.square(x).sum(1)
    distance = squares[:, None] + squares - 2 * jnp.matmul(x, x.T, precision="highest")
    distance = jnp.where(jnp.eye(len(x), dtype=bool), 0, jnp.maximum(distance, 0))
    # Where all rows are the same, distances are rounding: the other terms keep that small beside the bandwidth.
    bandwidth = jax.lax.stop_gradient(_median(distance) + 1e-5 * squares.mean()) + 1e-10
    power = jnp.exp(-distance / (2.0 ** (MMD_BANDWIDTHS // 2) * bandwidth))  # the widest
    kernel = power
    for _ in range(MMD_BANDWIDTHS - 1):  # half the bandwidth is the square
        power = jnp.square(power)
        kernel = kernel + power
    within = kernel[:n, :n].mean() + kernel[n:, n:].mean()
    return jnp.maximum(within - 2 * kernel[:n, n:].mean(), 0.0) / MMD_BANDWIDTHS


def _median(distance: jax.Array) -> jax.Array:
    """Median of a symmetric matrix's entries off the diagonal, which is 0. Bisection: sorting a million takes a second."""
    n = len(distance)
    half = n + n * (n - 1) // 2  # entries up to the median, the diagonal's among them

    def halve(_: int, interval: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = interval
        middle = 0.5 * (low + high)
        above = jnp.sum(distance <= middle) >= half
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    low, high = jax.lax.fori_loop(0, 20, halve, (jnp.zeros(()), distance.max()))
    return 0.5 * (low + high)


def class_ami(evidence: Evidence) -> float:
    """Adjusted mutual information of predictions and k-means clusters of the target's representation. Higher is better.

    As many clusters as classes, of at most CLUSTER_ROWS rows; k-means starts CLUSTER_STARTS times from the rows in sorted
    order, so that their order in the target does not matter. 1: predictions are the clusters; about 0: no relation; a little
    less than 0 is possible. 0 where all predictions or all rows are the same: that agrees with itself, and means nothing.

    Source: Musgrave et al. 2022, "Three New Validators and a Large-Scale Benchmark Ranking for Unsupervised Domain
    Adaptation", arXiv 2208.07360, section 3; there the representation is first reduced by PCA.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_mutual_info_score

    logits = evenly(np.asarray(evidence.target_logits), CLUSTER_ROWS)
    rows = np.ascontiguousarray(
        evenly(np.asarray(evidence.target_representation), CLUSTER_ROWS), np.float32
    )
    if not rows.any():
        return 0.0
    rows = rows / np.abs(rows).max() + 0.0  # no -0: it would sort apart from 0
    order = np.argsort(rows.view(np.dtype((np.void, rows[0].nbytes)))[:, 0], kind="stable")
    rows, predicted = rows[order], logits.argmax(1)[order]
    distinct = 1 + int((rows[1:] != rows[:-1]).any(1).sum())
    if distinct == 1 or (predicted == predicted[0]).all():
        return 0.0
    clusters = min(logits.shape[1], distinct)
    found = KMeans(clusters, n_init=CLUSTER_STARTS, random_state=0).fit_predict(rows)  # pyright: ignore[reportArgumentType]
    return float(adjusted_mutual_info_score(predicted, found))
