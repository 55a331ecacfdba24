"""Groups of voices where no speaker ids are known, from the vectors of a speaker encoder.

The vectors depend on the voice, but also on the emotion. If they were simply clustered, a cluster
would often be one emotion of one person. So what varies with the predicted emotion is removed from
the vectors, and a group is divided only if its vectors are two clusters and not one cloud. When in
doubt, a group is not divided: a group of several persons costs less accuracy than a group of one
emotion, because normalisation would remove the emotion. A group that holds many persons is marked,
so that its utterances can be normalised among similar voices of the group.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import KMeans

from jdann.speakers.voice_shares import Voices, explained

ROUNDS = 3  # of predicting emotions and grouping again
SMALLEST_GROUP = 20  # utterances
# A group is divided if its cluster index, minus that of one cloud, is at most this many standard
# deviations. The values are for all utterances, for each half of them, and for smaller groups. They
# were chosen with CASIA and EmoDB as targets.
_LIMITS = (-3.5, -1.0, -2.5)
_MOST_DIVISIONS = 5  # of a group
_CLOUDS = 15  # drawn for each test
_DIMENSIONS = 50  # principal components that are used
_TESTED = 2000  # utterances at most that are used in a test
# A group and a single cloud are divided into this many clusters. The group holds many persons if
# the variance that remains within its clusters is less than this share of that of the cloud. In
# CASIA, whose groups hold one person each, the share is .96 to 1.01. In EmoDB, whose groups hold
# five or six persons each, it is .87 to .89.
_MANY_CLUSTERS, _MANY_LIMIT = 8, 0.95
# Two groups of many persons are women and men. If there are more, the division follows something
# other than persons, and it is better to have no groups: with RAVDESS as the target, .06 of UAR.
_MOST_MIXED = 2
_SMALLEST_MIXED = 12 * _MANY_CLUSTERS  # utterances; a smaller group counts as one person

Predict = Callable[[np.ndarray], np.ndarray]  # [n] group numbers -> [n, classes] probabilities


class VoiceGroups(NamedTuple):
    """Groups of n utterances."""

    number: np.ndarray  # [n] int, the group of each utterance, from 0 and without gaps
    is_mixed: np.ndarray  # [n] bool, whether this group holds many persons

    @property
    def count(self) -> int:
        """How many groups there are."""
        return int(self.number.max()) + 1

    @property
    def mixed_count(self) -> int:
        """How many groups hold many persons."""
        return len(np.unique(self.number[self.is_mixed]))

    def follow_persons(self, voices: Voices | None) -> bool:
        """Whether the groups are persons, or women and men. Other groups should not be used.

        On a bad line, the vectors depend on the emotion more than on the person. Then the groups
        differ in expression. One group of all is no evidence of one person.

        Args:
          voices: of the same n utterances; None: unknown.
        """
        if self.count == 1 or self.mixed_count > _MOST_MIXED:
            return False
        return voices is None or explained(voices, self.number).are_of_persons


def group_voices(vectors: np.ndarray, predict: Predict, seed: int = 0) -> VoiceGroups:
    """Groups utterances of similar voices: mostly one person, or some persons who sound alike.

    1. All utterances are divided in two parts, which are mostly women and men.
    2. The emotions are predicted, with features that are normalised in each group.
    3. What varies with the predicted emotion is removed from the vectors, and they are grouped
       again.

    Steps 2 and 3 are repeated ROUNDS times.

    Args:
      vectors: [n, d] from `jdann.features.voice_encoder`.
      predict: gives the probability of each emotion if each group is normalised by itself.
      seed: of the tests.

    Returns:
      The groups.
    """
    directions = _directions(vectors)
    group = divide(directions, seed, most_divisions=1)
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
    comparison = _compare_with_clouds(vectors, _MANY_CLUSTERS, np.random.default_rng(seed))
    return comparison.index < _MANY_LIMIT * float(np.mean(comparison.expected))


def without_emotion(
    vectors: np.ndarray, probabilities: np.ndarray, group: np.ndarray
) -> np.ndarray:
    """Removes from the vectors what varies with the emotion within the groups.

    The result is the residual of a linear regression of the vectors on the probabilities. Its
    coefficients are fitted to differences within groups, so that differences between speakers
    remain.

    Args:
      vectors: [n, d].
      probabilities: [n, classes] of each emotion.
      group: [n] group numbers.

    Returns:
      The residual, [n, d].
    """
    within_vectors, within_probabilities = vectors.astype(float), probabilities.astype(float)
    for number in np.unique(group):
        rows = group == number
        within_vectors[rows] -= within_vectors[rows].mean(0)
        within_probabilities[rows] -= within_probabilities[rows].mean(0)
    # Without a ridge the solution would not be unique, because the probabilities add up to 1. The
    # ridge has the weight of one utterance.
    squares = within_probabilities.T @ within_probabilities + np.eye(probabilities.shape[1])
    shifts = np.linalg.solve(squares, within_probabilities.T @ within_vectors)  # [classes, d]
    return vectors - probabilities @ shifts


def divide(vectors: np.ndarray, seed: int = 0, most_divisions: int = _MOST_DIVISIONS) -> np.ndarray:
    """Divides vectors in two, and each part again, as long as the parts are distinct clusters.

    Args:
      vectors: [n, d].
      seed: of the clusterings and of the tests.
      most_divisions: how often a group is divided at most.

    Returns:
      [n] group numbers from 0, without gaps.
    """
    rng = np.random.default_rng(seed)
    group = np.zeros(len(vectors), int)

    def divide_rows(rows: np.ndarray, depth: int) -> None:
        if depth == most_divisions or len(rows) < 2 * SMALLEST_GROUP:
            return
        half = _two_clusters(vectors[rows], _LIMITS[min(depth, len(_LIMITS) - 1)], rng)
        if half is None:
            return
        group[rows[half]] = group.max() + 1
        divide_rows(rows[~half], depth + 1)
        divide_rows(rows[half], depth + 1)

    divide_rows(np.arange(len(vectors)), 0)
    return group


def _two_clusters(vectors: np.ndarray, limit: float, rng: np.random.Generator) -> np.ndarray | None:
    """Which of n vectors belong to the second of two clusters; None if they are one cloud.

    The cluster index is the share of the variance that remains within the two clusters. It is
    compared with that of normally distributed clouds of the same covariance (Liu et al. 2008,
    "Statistical significance of clustering for high-dimension, low-sample size data", JASA 103).
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
    expected: list[float]  # the same share in each cloud
    cluster: np.ndarray  # [n] int, the cluster of each vector


def _compare_with_clouds(
    vectors: np.ndarray, clusters: int, rng: np.random.Generator
) -> _Comparison:
    """Divides vectors [n, d] into clusters, and also normally distributed clouds like them."""
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
    """The directions of the vectors as seen from their mean: [n, d], each of length 1."""
    centred = vectors - vectors.mean(0)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
