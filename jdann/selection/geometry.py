"""Criteria that use representations: the distance of the domains, the clusters of the target."""

import jax
import jax.numpy as jnp
import numpy as np

from jdann.selection.contract import Evidence, evenly

MMD_ROWS = 1024  # at most, of each domain, because the matrix of distances is quadratic
MMD_BANDWIDTHS = 5  # 1/4, 1/2, 1, 2 and 4 times the median squared distance
MEDIAN_STEPS = 20  # of bisection; each halves the error
CLUSTER_ROWS = 2048  # at most
CLUSTER_STARTS = 3


def mmd(evidence: Evidence) -> jax.Array:
    """Squared maximum mean discrepancy of held-out source and target. Lower is better.

    mean k(s, s') + mean k(t, t') - 2 mean k(s, t), with k(x, y) = mean_b exp(-|x - y|^2 / b). The
    bandwidths b are 1/4 to 4 times the median of |x - y|^2 over all pairs of rows, and carry no
    gradient. A representation that is the same for all utterances looks perfect.

    The losses of `jdann.methods.discrepancy` use the mean distance for the bandwidth and the
    unbiased estimate, which may be negative. This criterion uses the median, which outliers do not
    move, and the biased estimate. It is never negative, is defined for single rows, and is about
    1/n + 1/m too large.

    Source: Gretton et al. 2012, "A Kernel Two-Sample Test", JMLR 13, equation 5; for the kernels
    Long et al. 2015, "Learning Transferable Features with Deep Adaptation Networks", ICML.

    Returns:
      A scalar, 0 to 2.
    """
    # It imports Flax, which takes long, and predicting needs no criterion.
    from jdann.methods.discrepancy import squared_distances

    source = evenly(evidence.source_representation, MMD_ROWS)
    target = evenly(evidence.target_representation, MMD_ROWS)
    x, n = jnp.concatenate([source, target]), len(source)
    x = x / jnp.maximum(jnp.abs(x).max(), 1e-30)  # so that no square overflows
    distance = squared_distances(x)  # [rows, rows]
    distance = jnp.where(jnp.eye(len(x), dtype=bool), 0, distance)  # rounding aside, it is 0
    # If all rows are the same, the distances are only rounding errors. The two constants keep them
    # small in comparison with the bandwidth.
    spread = jnp.square(x - x.mean(0)[None]).sum(1).mean()
    bandwidth = jax.lax.stop_gradient(_median(distance) + 1e-5 * spread) + 1e-10
    power = jnp.exp(-distance / (2.0 ** (MMD_BANDWIDTHS // 2) * bandwidth))  # the widest kernel
    kernel = power
    for _ in range(MMD_BANDWIDTHS - 1):  # a kernel of half the bandwidth is the square
        power = jnp.square(power)
        kernel = kernel + power
    within = kernel[:n, :n].mean() + kernel[n:, n:].mean()
    return jnp.maximum(within - 2 * kernel[:n, n:].mean(), 0.0) / MMD_BANDWIDTHS


def _median(distance: jax.Array) -> jax.Array:
    """Returns the median of the entries off the diagonal of a symmetric matrix [n, n].

    The diagonal is 0 and no entry is negative. By bisection, because sorting a million entries
    takes a second.
    """
    n = len(distance)
    half = n + n * (n - 1) // 2  # the entries up to the median, including those of the diagonal

    def halve(_: int, interval: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = interval
        middle = 0.5 * (low + high)
        is_above_median = jnp.sum(distance <= middle) >= half
        return jnp.where(is_above_median, low, middle), jnp.where(is_above_median, middle, high)

    low, high = jax.lax.fori_loop(0, MEDIAN_STEPS, halve, (jnp.zeros(()), distance.max()))
    return 0.5 * (low + high)


def class_ami(evidence: Evidence) -> float:
    """Adjusted mutual information of predictions and clusters of the target. Higher is better.

    k-means finds as many clusters as there are classes, among at most CLUSTER_ROWS representations.
    It starts CLUSTER_STARTS times. The rows are sorted first, so that their order in the target
    does not matter.

    Source: Musgrave et al. 2022, "Three New Validators and a Large-Scale Benchmark Ranking for
    Unsupervised Domain Adaptation", arXiv 2208.07360, section 3. The paper reduces the
    representation by PCA first.

    Returns:
      1 if predictions and clusters agree, about 0 if they are unrelated; slightly negative values
      are possible. 0 if all predictions or all rows are the same, since this agreement would mean
      nothing.
    """
    # scikit-learn takes a second to import, and most commands that import this package, such as
    # the report, do not evaluate criteria.
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_mutual_info_score

    logits = evenly(np.asarray(evidence.target_logits), CLUSTER_ROWS)
    rows = evenly(np.asarray(evidence.target_representation), CLUSTER_ROWS)
    rows = np.ascontiguousarray(rows, np.float32)
    if not rows.any():
        return 0.0
    # + 0.0 turns -0 into 0: they are equal, but their bytes would be sorted apart.
    rows = rows / np.abs(rows).max() + 0.0
    order = np.argsort(rows.view(np.dtype((np.void, rows[0].nbytes)))[:, 0], kind="stable")
    rows, predicted = rows[order], logits.argmax(1)[order]
    distinct = 1 + int((rows[1:] != rows[:-1]).any(1).sum())
    if distinct == 1 or (predicted == predicted[0]).all():
        return 0.0
    clusters = min(logits.shape[1], distinct)
    means = KMeans(clusters, n_init=CLUSTER_STARTS, random_state=0)  # pyright: ignore[reportArgumentType]
    return float(adjusted_mutual_info_score(predicted, means.fit_predict(rows)))
