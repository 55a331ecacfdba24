"""How pseudo-labels are made: class shares, balance, choice by confidence, nearest centroids."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jdann.errors import InputError
from jdann.parameters import shown

PRIORS = ("uniform", "none")
_SMALLEST_SHARE = 1e-12  # a share of zero still has a finite logarithm


def check_prior(prior: str, name: str, classes: int | None = None) -> None:
    """Refuses a `prior` that is none of PRIORS and no list of shares.

    Args:
      prior: the text.
      name: what the message calls it.
      classes: how many shares a list must have; None: one or more.

    Raises:
      InputError: says what is expected.
    """
    if prior in PRIORS:
        return
    shares = _parse(prior)
    right_count = bool(shares) if classes is None else len(shares) == classes
    if (
        not right_count
        or not all(share >= 0 for share in shares)
        or not math.isclose(sum(shares), 1, abs_tol=1e-3)
    ):
        count = "" if classes is None else f"{classes} "
        raise InputError(
            f"{name} is {shown(prior)}; choose one of {', '.join(PRIORS)}, or give {count}shares "
            "of 0 or more that add up to 1, one for each emotion, with commas between them"
        )


def class_shares(prior: str, classes: int, name: str) -> tuple[float, ...] | None:
    """The share of each class that a `prior` asks for, or None for no balance.

    Args:
      prior: "uniform", "none", or a list of shares with commas between them.
      classes: the number of classes.
      name: what messages call the prior.

    Raises:
      InputError: the prior is none of these, or has another number of shares.
    """
    check_prior(prior, name, classes)
    if prior == "none":
        return None
    return (1 / classes,) * classes if prior == "uniform" else _parse(prior)


def _parse(prior: str) -> tuple[float, ...]:
    """The numbers of a list with commas; empty where it holds something else."""
    try:
        return tuple(float(share) for share in prior.split(","))
    except ValueError:
        return ()


def prior_among(prior: str, present: Sequence[bool], name: str) -> str:
    """A `prior` over those classes alone that have labels in the source.

    A class without any label in the source cannot be recognised, so it must get no share.

    Args:
      prior: as for `class_shares`.
      present: [classes], which classes have labels in the source.
      name: what messages call the prior.

    Returns:
      `prior` where all classes are present or nothing is balanced; else a list of shares with
      commas, zero for the missing classes.
    """
    if prior == "none" or all(present):
        return prior
    shares = class_shares(prior, len(present), name) or ()
    kept = [share if here else 0.0 for share, here in zip(shares, present, strict=True)]
    total = sum(kept)
    return ",".join(f"{share / total:.6g}" for share in kept) if total else "none"


def balanced(
    log_posteriors: jax.Array, shares: Sequence[float] | None, iterations: int
) -> jax.Array:
    """Scales posteriors so that over all utterances each class has its share.

    Of all distributions with these class shares the result is nearest to the posteriors in
    Kullback-Leibler divergence.

    Source: Asano et al. 2020, "Self-labelling via simultaneous clustering and representation
    learning", section 3.1.

    Args:
      log_posteriors: [n, classes].
      shares: [classes], 0 or more, sum 1; None: no balance, the posteriors are returned as they
        are.
      iterations: of Sinkhorn's algorithm, a static number.

    Returns:
      Logarithm of the scaled posteriors [n, classes]; each row of the posteriors has sum 1.
    """
    if shares is None:
        return log_posteriors
    # The logarithm of what each class should sum to.
    column = jnp.log(jnp.maximum(jnp.asarray(shares), _SMALLEST_SHARE)) + jnp.log(
        len(log_posteriors)
    )

    def iterate(_: jax.Array, scaled: jax.Array) -> jax.Array:
        scaled = scaled + column[None] - jax.nn.logsumexp(scaled, axis=0)[None]
        return jax.nn.log_softmax(scaled)

    return jax.lax.fori_loop(0, iterations, iterate, log_posteriors)


def most_confident(log_posteriors: jax.Array, fraction: jax.typing.ArrayLike) -> jax.Array:
    """Marks the most confident utterances of each predicted class.

    Args:
      log_posteriors: [n, classes].
      fraction: scalar in [0, 1]. Of k utterances of a class, ceil(fraction k) are marked, also
        where some have the same confidence.

    Returns:
      bool [n].
    """
    n, classes = log_posteriors.shape
    label = log_posteriors.argmax(-1)
    is_label = jax.nn.one_hot(label, classes, dtype=bool)  # [n, classes]
    # Each column lists the utterances of its class first, the most confident at the top.
    order = jnp.argsort(jnp.where(is_label, -log_posteriors, jnp.inf), axis=0)
    rank = jnp.zeros_like(order).at[order, jnp.arange(classes)].set(jnp.arange(n)[:, None])
    rank = jnp.take_along_axis(rank, label[:, None], 1)[:, 0]
    kept = jnp.ceil(fraction * is_label.sum(0).astype(jnp.float32) - 1e-4)  # [classes]
    return rank.astype(jnp.float32) < kept[label]


def labelled_fraction(pseudo_labels: jax.Array) -> jax.Array:
    """The part of a batch [batch, classes] that has a pseudo-label, a scalar."""
    return (pseudo_labels.sum(-1) > 0).mean()


def centroid_labels(representation: jax.Array, logits: jax.Array) -> jax.Array:
    """The class whose centroid is nearest by cosine; the centroids are refined once.

    The first centroids are means weighted by the posteriors. The second centroids are plain means
    of the utterances that the first ones label.

    Source: Liang et al. 2020, "Do We Really Need to Access the Source Data? Source Hypothesis
    Transfer for Unsupervised Domain Adaptation", equations 4 to 6.

    Args:
      representation: [n, d].
      logits: [n, classes].

    Returns:
      One-hot [n, classes].
    """
    # A constant entry, as in the authors' code: an all-zero representation then has a direction.
    points = _unit(jnp.concatenate([representation, jnp.ones((len(representation), 1))], axis=1))
    # The weights of each class have sum 1, however unlikely the class is.
    weights = jax.nn.softmax(jax.nn.log_softmax(logits), axis=0)
    centroids = weights.T @ points  # [classes, d + 1]
    labels = _nearest(points, centroids)
    members = labels.sum(0)[:, None]
    refined = labels.T @ points / jnp.maximum(members, 1)
    return _nearest(points, jnp.where(members > 0, refined, centroids))


def _nearest(points: jax.Array, centroids: jax.Array) -> jax.Array:
    """One-hot [n, classes] of each point's nearest centroid by cosine; points have length 1."""
    return jax.nn.one_hot((points @ _unit(centroids).T).argmax(-1), len(centroids))


def _unit(x: jax.Array) -> jax.Array:
    """Rows of x [n, d], scaled to length 1; zero stays zero."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12)
