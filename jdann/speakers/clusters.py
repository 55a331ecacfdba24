"""Groups of voices where no speaker ids are known, from the vectors of a speaker encoder.

The vectors tell the voice, but also the emotion, so that plain clusters are often emotions of one
person. So what varies with the predicted emotion is removed from the vectors, and a group is
divided only where its vectors are two clusters and not one cloud. A group of several persons costs
less than a group of one emotion, because normalisation would then remove the emotion. A group that
holds many persons is marked, so that it can be normalised among similar voices of the group.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import KMeans

ROUNDS = 3  # of predicting emotions and grouping again
SMALLEST_GROUP = 20  # utterances
# A group is divided if its cluster index lies so many standard deviations below that of one cloud:
# all utterances; each half of them; smaller groups. Chosen with CASIA and EmoDB as targets.
_LIMITS = (-3.5, -1.0, -2.5)
_DEEPEST = 5  # divisions of a group
_CLOUDS = 15  # drawn for each test
_DIMENSIONS = 50  # principal components that take part
_TESTED = 2000  # utterances at most that take part in a test
# A group holds many persons if so many clusters leave less than this share of the variance that
# they leave in one cloud. CASIA's groups, each of one person, leave .96 to 1.01; EmoDB's, each of
# five or six persons, leave .87 to .89.
_MANY, _MANY_LIMIT = 8, 0.95
# Two groups of many persons are women and men. More of them are a division by something else, and
# cost more than no groups do: with RAVDESS as the target, .06 UAR.
_MOST_MIXED = 2
_SMALLEST_MIXED = 12 * _MANY  # utterances; a smaller group counts as one person

Predict = Callable[[np.ndarray], np.ndarray]  # [n] group numbers -> [n, classes] probabilities


class VoiceGroups(NamedTuple):
    """Groups of n utterances."""

    number: np.ndarray  # [n] from 0, without a gap
    is_mixed: np.ndarray  # [n] bool, whether the group holds many persons

    @property
    def count(self) -> int:
        """How many groups there are."""
        return int(self.number.max()) + 1

    @property
    def mixed(self) -> int:
        """How many groups hold many persons."""
        return len(np.unique(self.number[self.is_mixed]))

    @property
    def follow_persons(self) -> bool:
        """Whether the groups are of use: women and men at least, and apart from them persons."""
        return self.mixed <= _MOST_MIXED


def group_voices(vectors: np.ndarray, predict: Predict, seed: int = 0) -> VoiceGroups:
    """Groups utterances of similar voices: mostly one person, or some persons who sound alike.

    1. All utterances are divided in two, which are mostly women and men.
    2. The emotions are predicted, with features that are normalised in each group.
    3. What varies with the predicted emotion is removed from the vectors. They are grouped again.
    Steps two and three happen ROUNDS times.

    Args:
      vectors: [n, d] from `jdann.features.voice_encoder`.
      predict: gives the probability of each emotion when each group is normalised by itself.
      seed: of the tests.
    """
    directions = _directions(vectors)
    group = divide(directions, seed, deepest=1)
    for _ in range(ROUNDS):
        directions = _directions(without_emotion(vectors, predict(group), group))
        group = divide(directions, seed)
    is_mixed = np.zeros(len(group), bool)
    for number in np.unique(group):
        rows = group == number
        is_mixed[rows] = holds_many(directions[rows], seed)
    return VoiceGroups(group, is_mixed)


def holds_many(vectors: np.ndarray, seed: int = 0) -> bool:
    """Whether the vectors [n, d] of a group are many clusters, and not one or two."""
    if len(vectors) < _SMALLEST_MIXED:
        return False
    comparison = _compare_with_clouds(vectors, _MANY, np.random.default_rng(seed))
    return comparison.index < _MANY_LIMIT * float(np.mean(comparison.expected))


def without_emotion(
    vectors: np.ndarray, probabilities: np.ndarray, group: np.ndarray
) -> np.ndarray:
    """Removes from the vectors what varies with the emotion within the groups.

    It is the residual of a linear regression on the probabilities, whose coefficients are fitted
    to differences within groups, so that differences between speakers remain.

    Args:
      vectors: [n, d].
      probabilities: [n, classes] of each emotion.
      group: [n] group numbers.

    Returns:
      [n, d].
    """
    within_vectors, within_probabilities = vectors.astype(float), probabilities.astype(float)
    for number in np.unique(group):
        rows = group == number
        within_vectors[rows] -= within_vectors[rows].mean(0)
        within_probabilities[rows] -= within_probabilities[rows].mean(0)
    # The ridge, of one utterance, makes the solution unique: the probabilities add up to 1.
    squares = within_probabilities.T @ within_probabilities + np.eye(probabilities.shape[1])
    shifts = np.linalg.solve(squares, within_probabilities.T @ within_vectors)  # [classes, d]
    return vectors - probabilities @ shifts


def divide(vectors: np.ndarray, seed: int = 0, deepest: int = _DEEPEST) -> np.ndarray:
    """Divides vectors in two, and each part again, as long as the parts are distinct clusters.

    Args:
      vectors: [n, d].
      seed: of the clusterings and of the tests.
      deepest: how often a group is divided at most.

    Returns:
      [n] group numbers from 0, without a gap.
    """
    rng = np.random.default_rng(seed)
    group = np.zeros(len(vectors), int)

    def visit(rows: np.ndarray, depth: int) -> None:
        if depth == deepest or len(rows) < 2 * SMALLEST_GROUP:
            return
        half = _two_clusters(vectors[rows], _LIMITS[min(depth, len(_LIMITS) - 1)], rng)
        if half is None:
            return
        group[rows[half]] = group.max() + 1
        visit(rows[~half], depth + 1)
        visit(rows[half], depth + 1)

    visit(np.arange(len(vectors)), 0)
    return group


def _two_clusters(vectors: np.ndarray, limit: float, rng: np.random.Generator) -> np.ndarray | None:
    """Which of n vectors belong to the second of two clusters; None if they are one cloud.

    The cluster index is the share of the variance that remains within the two. It is compared with
    that of normally distributed clouds of the same covariance: Liu et al. 2008, "Statistical
    significance of clustering for high-dimension, low-sample size data", JASA 103.
    """
    comparison = _compare_with_clouds(vectors, 2, rng)
    half = comparison.cluster == 1
    if min(half.sum(), (~half).sum()) < SMALLEST_GROUP:
        return None
    spread = max(float(np.std(comparison.expected)), 1e-9)
    deviation = (comparison.index - np.mean(comparison.expected)) / spread
    return half if deviation <= limit else None


class _Comparison(NamedTuple):
    index: float  # share of the variance that remains within the clusters
    expected: list[float]  # the same of each cloud
    cluster: np.ndarray  # [n] of each vector


def _compare_with_clouds(
    vectors: np.ndarray, clusters: int, rng: np.random.Generator
) -> _Comparison:
    """Divides vectors [n, d] and normally distributed clouds of their covariance."""
    tested = rng.permutation(len(vectors))[:_TESTED]
    centre = vectors[tested].mean(0)
    _, scale, axes = np.linalg.svd(vectors[tested] - centre, full_matrices=False)
    components = (vectors - centre) @ axes[:_DIMENSIONS].T  # [n, _DIMENSIONS]
    index, model = _cluster_index(components[tested], clusters)
    spread = scale[:_DIMENSIONS] / np.sqrt(len(tested))
    clouds = (rng.normal(size=(len(tested), len(spread))) * spread for _ in range(_CLOUDS))
    expected = [_cluster_index(cloud, clusters)[0] for cloud in clouds]
    return _Comparison(index, expected, model.predict(components))


def _cluster_index(points: np.ndarray, clusters: int) -> tuple[float, Any]:
    """The index, and the fitted model of the clusters."""
    settings: dict[str, Any] = {"n_init": 3, "max_iter": 50, "random_state": 0}
    model: Any = KMeans(clusters, **settings).fit(points)
    total = np.square(points - points.mean(0)).sum()
    return float(model.inertia_ / max(total, 1e-30)), model


def _directions(vectors: np.ndarray) -> np.ndarray:
    """The vectors from their mean, scaled to length 1."""
    centred = vectors - vectors.mean(0)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
