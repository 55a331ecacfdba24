"""Co-training on the clips of one speaker, or of a few, in closed form and without their labels.

It begins with a reference: what other utterances, with known or predicted emotions, tell about each
emotion. Two discriminants, of the prosodic statistics and of all statistics, learn from the clips.
The more clips there are, the more they count.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdann.features.prosody import PROSODIC
from jdann.methods import discriminant
from jdann.methods.discriminant import LARGEST_SCORE, Discriminant, Moments

# A speaker with fewer clips is left out: they change little, and each speaker takes time.
LEAST_CLIPS = 20
RELEVANCE = 20.0  # clips of a class
SHRINKAGE = 0.7  # of the covariances, as in `jdann.methods.co_training`
_ROUNDS_FIRST = 5  # of expectation-maximisation on the prosodic statistics
ROUNDS = 3  # of labelling on all statistics
_FOLDS = 3  # parts of the clips; each is labelled by what was learnt from the others


class Views(NamedTuple):
    """The linear classifiers of both views: prosodic statistics, all statistics."""

    weight: jax.Array  # [2, values, classes]; 0 for values that a view does not use
    bias: jax.Array  # [2, classes]


def fit_views(
    reference: Moments,
    present: jax.Array,
    features: jax.Array,
    is_clip: jax.Array,
    given: jax.Array | None = None,
    shrinkage: float = SHRINKAGE,
    rounds: int = ROUNDS,
) -> Views:
    """Fits both views to unlabelled clips.

    The reference makes the first labels. View one, the prosodic statistics, labels the clips by
    expectation-maximisation. Then view two, all statistics, labels each fold of them by what it
    has learnt from the other folds. In both, k clips of a class weigh k / (k + RELEVANCE) of the
    class, and the reference has the rest of the weight (`adapted_moments`). So a few clips change
    little.

    Args:
      reference: class means and a covariance, of all statistics.
      present: bool [classes]; the reference knows these classes.
      features: [rows, values], z-scores within +-LARGEST_SCORE.
      is_clip: [rows], 1 for a clip and 0 for padding.
      given: [rows, classes], one-hot labels by the user; 0 for the other clips. None: no labels.
      shrinkage: of the covariances, 0 to 1.
      rounds: of labelling on all statistics.
    """
    count = len(PROSODIC)
    prosodic = features[:, :count]
    of_all = reference
    of_prosody = Moments(reference.mean[:, :count], reference.covariance[:count, :count])
    fold = jax.random.permutation(jax.random.key(0), len(features)) % _FOLDS

    def fit(moments: Moments, features: jax.Array, labels: jax.Array) -> Discriminant:
        moments = adapted_moments(moments, present, features, labels)
        return discriminant.from_moments(moments, shrinkage)

    def label(log_posteriors: jax.Array) -> jax.Array:
        labels = jax.nn.softmax(log_posteriors)
        if given is None:
            return labels
        return jnp.where(given.sum(1, keepdims=True) > 0, given, labels)

    def maximise_expectation(_: jax.Array, labels: jax.Array) -> jax.Array:
        model = fit(of_prosody, prosodic, labels * is_clip[:, None])
        return label(discriminant.log_posteriors(model, prosodic, present))

    def relabel(_: jax.Array, labels: jax.Array) -> jax.Array:
        def without(held_out: jax.Array) -> jax.Array:
            used = jnp.where(fold != held_out, is_clip, 0.0)
            model = fit(of_all, features, labels * used[:, None])
            return discriminant.log_posteriors(model, features, present)

        every_fold = jax.lax.map(without, jnp.arange(_FOLDS))  # [folds, rows, classes]
        return label(jnp.take_along_axis(every_fold, fold[None, :, None], 0)[0])

    unadapted = _join(
        discriminant.from_moments(of_prosody, shrinkage),
        discriminant.from_moments(of_all, shrinkage),
        present,
    )
    begin = label(2 * mean_log_posteriors(unadapted, features))  # the product of both views
    first = jax.lax.fori_loop(0, _ROUNDS_FIRST, maximise_expectation, begin)
    second = jax.lax.fori_loop(0, rounds, relabel, first)
    return _join(
        fit(of_prosody, prosodic, first * is_clip[:, None]),
        fit(of_all, features, second * is_clip[:, None]),
        present,
    )


def _join(prosody: Discriminant, everything: Discriminant, present: jax.Array) -> Views:
    first, second = (discriminant.softened(model, present) for model in (prosody, everything))
    missing = len(second.weight) - len(first.weight)
    return Views(
        jnp.stack([jnp.pad(first.weight, ((0, missing), (0, 0))), second.weight]),
        jnp.stack([first.bias, second.bias]),
    )


def mean_log_posteriors(views: Views, features: jax.Array) -> jax.Array:
    """The mean of both views' log posteriors [clips, classes] of features [clips, values]."""
    clipped = jnp.clip(features, -LARGEST_SCORE, LARGEST_SCORE)
    logits = jnp.einsum("bd,vdc->vbc", clipped, views.weight, precision="highest")
    return jax.nn.log_softmax(logits + views.bias[:, None]).mean(0)


def share_of_views(clips: int) -> float:
    """The weight of views that are fitted to this many clips, beside a network: 0 to 1.

    Few clips tell little about a speaker. Then the network is more accurate.
    """
    return clips / (clips + RELEVANCE)


def mix(logits: jax.Array, of_views: jax.Array, share: float | jax.Array) -> jax.Array:
    """Log posteriors of a network and of views, averaged; not normalised again.

    Args:
      logits: of the network, [clips, classes].
      of_views: from `mean_log_posteriors`, [clips, classes].
      share: weight of the views, 0 to 1.
    """
    return (1 - share) * jax.nn.log_softmax(logits) + share * of_views


def adapted_moments(
    reference: Moments, present: jax.Array, features: jax.Array, labels: jax.Array
) -> Moments:
    """The maximum a posteriori estimate of class means and of the covariance within classes.

    Source: Gauvain and Lee 1994, "Maximum a posteriori estimation for multivariate Gaussian mixture
    observations of Markov chains", for one Gaussian per class and one covariance.

    Args:
      reference: what is expected without clips. Its covariance holds within each class.
      present: bool [classes]; the reference knows these classes.
      features: [clips, values].
      labels: [clips, classes]; each row is a distribution over the present classes, or 0 for a
        clip that is not used.

    Returns:
      The moments of a mixture, in which k clips of a class weigh k / (k + RELEVANCE).
    """
    classes = present.sum().astype(features.dtype)
    count = labels.sum(0)
    weight = count / (count + RELEVANCE)  # [classes]
    own_mean = jnp.matmul(labels.T, features, precision="highest")
    own_mean /= jnp.maximum(count, 1e-9)[:, None]
    mean = (1 - weight)[:, None] * reference.mean + weight[:, None] * own_mean
    of_clip = labels / (count + RELEVANCE)[None]  # [clips, classes]; a column's sum is its weight
    within = 1 - weight.sum() / classes
    between = (
        discriminant.second_moment(reference.mean, 1 - weight)
        + discriminant.second_moment(features, of_clip.sum(1))
        - discriminant.second_moment(mean, jnp.ones(len(present)))
    ) / classes
    return Moments(mean, within * reference.covariance + between)


def rows_of_speakers(speaker: np.ndarray) -> np.ndarray | None:
    """The clips of each speaker who has LEAST_CLIPS or more.

    Args:
      speaker: int [n], -1 if the speaker is not known.

    Returns:
      int32 [speakers, most], rows padded with -1 to a power of two, so that few shapes are
      compiled. None: there is no such speaker.
    """
    numbers, count = np.unique(speaker[speaker >= 0], return_counts=True)
    numbers = numbers[count >= LEAST_CLIPS]
    if not len(numbers):
        return None
    most = 1 << (int(count.max()) - 1).bit_length()
    clips = np.full((len(numbers), most), -1, np.int32)
    for row, number in zip(clips, numbers, strict=True):
        own = np.flatnonzero(speaker == number)
        row[: len(own)] = own
    return clips


def label_speakers(
    fit: Callable[..., Views],
    features: jax.Array,
    labels: jax.Array,
    clips: jax.Array,
    given: jax.Array | None,
) -> jax.Array:
    """Labels the clips of each speaker by views that are fitted to this speaker.

    Args:
      fit: `fit_views` with its reference: (features, is_clip, given) -> Views.
      features: [n, values], normalised for each speaker.
      labels: [n, classes], which are returned for speakers that `clips` does not list.
      clips: int [speakers, most], the rows of each speaker; -1 is padding.
      given: [n, classes], labels by the user as for `fit_views`; or None.

    Returns:
      Labels [n, classes].
    """

    def label_speaker(rows: jax.Array) -> jax.Array:
        own = features[rows]
        is_clip = (rows >= 0).astype(features.dtype)
        views = fit(own, is_clip, None if given is None else given[rows])
        return jax.nn.softmax(mean_log_posteriors(views, own))

    per_speaker = jax.lax.map(label_speaker, clips)  # [speakers, most, classes]
    rows = jnp.where(clips >= 0, clips, len(labels))  # padding is written nowhere
    return labels.at[rows.reshape(-1)].set(per_speaker.reshape(-1, labels.shape[1]), mode="drop")
