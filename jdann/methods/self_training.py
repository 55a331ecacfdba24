"""Pseudo-labels: the model's own predictions for the whole target, chosen with care, as labels of the next epoch."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jdann.errors import InputError
from jdann.methods.confusion import diversity_of, entropies
from jdann.methods.contract import (
    Context,
    Method,
    Phase,
    Source,
    Target,
    Update,
    no_parameters,
    term,
)
from jdann.methods.source_only import nothing

LABELS = ("hard", "soft")
PRIORS = ("uniform", "none")
_SMALLEST_SHARE = 1e-12


def self_training(config: Any) -> Method:
    """Class-balanced self-training on the averaged model's most confident predictions.

    loss = lambda weight 1/B sum_i CE(q_i, g_i), g of the augmented target. Once an epoch q comes of the averaged model's
    posteriors over the whole target: Sinkhorn iterations scale them until the classes' shares are those of the prior, then
    of each class the most confident part is kept, a part that grows from `first_fraction` to `last_fraction`; the others
    have q = 0.

    Source: Zou et al. 2018, "Unsupervised Domain Adaptation for Semantic Segmentation via Class-Balanced Self-Training",
    section 4; balance by Sinkhorn: Asano et al. 2020, "Self-labelling via simultaneous clustering and representation
    learning", section 3.1; the averaged teacher: Tarvainen and Valpola 2017, "Mean teachers are better role models",
    equation 2.

    Args:
      config: `config.self_training.prior`, "uniform", "none" (no balance) or the classes' shares with commas between them, in
        the order of `config.emotions`; `.labels`, "hard" or "soft"; `.start`, the part of the training before the first
        pseudo-labels; `.first_fraction`, `.last_fraction`; `.iterations` of Sinkhorn; `.weight`.

    Raises:
      InputError: `labels` or `prior` is none of these.

    Diagnostics: `pseudo_loss`, before the weight, and `pseudo_fraction`, the part of the batch that has a pseudo-label.
    """
    own = config.self_training
    if own.labels not in LABELS:
        raise InputError(
            f"config.self_training.labels is {own.labels!r}; choose one of {', '.join(LABELS)}"
        )
    prior = prior_of("self_training", own.prior, len(config.emotions))
    start, first, last, hard = (
        own.start,
        own.first_fraction,
        own.last_fraction,
        own.labels == "hard",
    )

    def pseudo_labels(
        representation: jax.Array, logits: jax.Array, progress: jax.Array
    ) -> jax.Array:
        del representation
        log_posteriors = jax.nn.log_softmax(logits)
        if prior is not None:
            log_posteriors = balanced(log_posteriors, prior, own.iterations)
        done = jnp.clip((progress - start) / (1 - start), 0.0, 1.0)
        kept = most_confident(log_posteriors, first + (last - first) * done) & (progress >= start)
        labels = (
            jax.nn.one_hot(log_posteriors.argmax(-1), logits.shape[-1])
            if hard
            else jnp.exp(log_posteriors)
        )
        return jnp.where(kept[:, None], labels, 0.0)

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        value = cross_entropy(target.pseudo_labels, target.logits)
        return context.strength * own.weight * value, {
            "pseudo_loss": value,
            "pseudo_fraction": _labelled(target.pseudo_labels),
        }

    return term(loss, pseudo_labels=pseudo_labels)


def prior_of(method: str, prior: str, classes: int) -> tuple[float, ...] | None:
    """The classes' shares that a method's `prior` in the config asks for, or None for no balance.

    Raises:
      InputError: it is none of PRIORS and no list of shares.
    """
    if prior in PRIORS:
        return (1 / classes,) * classes if prior == "uniform" else None
    try:
        shares = tuple(float(share) for share in prior.split(","))
    except ValueError:
        shares = ()
    if len(shares) != classes or min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-3):
        raise InputError(
            f"config.{method}.prior is {prior!r}; choose one of {', '.join(PRIORS)}, or give {classes} shares of 0 or more that "
            "add up to 1, with commas between them"
        )
    return shares


def prior_among(method: str, prior: str, present: Sequence[bool]) -> str:
    """A method's `prior` over the classes that the source has: without a label in the source a class cannot be recognised.

    Args:
      method: whose it is, for the message.
      prior: as its config has it.
      present: [classes], which of them the source has.

    Returns:
      `prior` where all are present or nothing is balanced, else the shares of those that are, as a list with commas.
    """
    if prior == "none" or all(present):
        return prior
    shares = prior_of(method, prior, len(present)) or ()
    kept = [share if here else 0.0 for share, here in zip(shares, present, strict=True)]
    total = sum(kept)
    return ",".join(f"{share / total:.6g}" for share in kept) if total else "none"


def balanced(log_posteriors: jax.Array, prior: Any, iterations: int) -> jax.Array:
    """Scales posteriors so that over all utterances each class has its share.

    Of all that have these class shares it is the one nearest to the posteriors in Kullback-Leibler divergence.

    Args:
      log_posteriors: [n, classes].
      prior: share of each class, [classes], 0 or more, sum 1.
      iterations: of Sinkhorn's algorithm, a static number.

    Returns:
      Log of the scaled posteriors [n, classes]; each row's sum to 1.
    """
    # What each class should sum to; a share of zero stays a finite logarithm.
    column = jnp.log(jnp.maximum(jnp.asarray(prior), _SMALLEST_SHARE)) + jnp.log(
        len(log_posteriors)
    )

    def iterate(_: Any, scaled: jax.Array) -> jax.Array:
        scaled = scaled + column - jax.nn.logsumexp(scaled, axis=0)
        return jax.nn.log_softmax(scaled)

    return jax.lax.fori_loop(0, iterations, iterate, log_posteriors)


def most_confident(log_posteriors: jax.Array, fraction: jax.Array) -> jax.Array:
    """Marks of each predicted class the most confident utterances.

    Args:
      log_posteriors: [n, classes].
      fraction: scalar in [0, 1]; of k utterances of a class, ceil(fraction k) are marked, whether or not some tie.

    Returns:
      bool [n].
    """
    n, classes = log_posteriors.shape
    label = log_posteriors.argmax(-1)
    mine = jax.nn.one_hot(label, classes, dtype=bool)  # [n, classes]
    order = jnp.argsort(
        jnp.where(mine, -log_posteriors, jnp.inf), axis=0
    )  # of each class, its own first
    rank = jnp.zeros_like(order).at[order, jnp.arange(classes)].set(jnp.arange(n)[:, None])
    rank = jnp.take_along_axis(rank, label[:, None], 1)[:, 0]
    return rank < jnp.ceil(fraction * mine.sum(0) - 1e-4)[label]


def cross_entropy(labels: jax.Array, logits: jax.Array) -> jax.Array:
    """Cross-entropy over the batch of labels [batch, classes] whose rows are distributions times a weight."""
    return -(jax.lax.stop_gradient(labels) * jax.nn.log_softmax(logits)).sum(-1).mean()


def _labelled(pseudo: jax.Array) -> jax.Array:
    """The part of a batch that has a pseudo-label."""
    return (pseudo.sum(-1) > 0).mean()


def shot(config: Any) -> Method:
    """Source hypothesis transfer: the source's classifier stays, the encoder learns to meet it on the target alone.

    First phase: loss = source risk, on the source alone. Second phase, on the target alone, classifier frozen:
    loss = lambda weight (1/B sum_i H(p_i) - H(1/B sum_i p_i) + beta CE(y_i, g_i)), y the class of the nearest centroid,
    once an epoch. It assumes that the target holds all classes in like numbers.

    Source: Liang et al. 2020, "Do We Really Need to Access the Source Data? Source Hypothesis Transfer for Unsupervised
    Domain Adaptation", equations 3 to 7. The paper's weight-normalised classifier and bottleneck belong to the encoder
    and are left out.

    Args:
      config: `config.shot.source_fraction`, the first phase's part of the epochs; `.pseudo_weight`, beta; `.rate`, the
        second phase's learning rate relative to the first's; `.weight`.

    Diagnostics: `target_entropy`, `target_diversity` (nats) and `pseudo_loss`.
    """
    own = config.shot

    def pseudo_labels(
        representation: jax.Array, logits: jax.Array, progress: jax.Array
    ) -> jax.Array:
        del progress
        return centroid_labels(representation, logits)

    def loss(
        params: Any, source: None, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        certainty, diversity = entropies(target.logits).mean(), diversity_of(target.logits)
        pseudo = cross_entropy(target.pseudo_labels, target.logits)
        seen = {"target_entropy": certainty, "target_diversity": diversity, "pseudo_loss": pseudo}
        return context.strength * own.weight * (
            certainty - diversity + own.pseudo_weight * pseudo
        ), seen

    first = Phase("source", (Update(nothing),), own.source_fraction, ("source",))
    update = Update(loss, trains=("encoder",), source_risk=False)
    second = Phase(
        "target",
        (update,),
        1 - own.source_fraction,
        ("target",),
        rate=own.rate,
        pseudo_labels=pseudo_labels,
    )
    return Method(no_parameters, (first, second))


def centroid_labels(representation: jax.Array, logits: jax.Array) -> jax.Array:
    """The class whose centroid is nearest by cosine, the centroids refined once.

    The first centroids are means weighted by the posteriors, the second ones plain means of those labelled by the first.

    Args:
      representation: [n, d].
      logits: [n, classes].

    Returns:
      One-hot [n, classes].
    """
    # A constant entry, as in the authors' code: it keeps an all-zero representation off the origin.
    points = _unit(jnp.concatenate([representation, jnp.ones((len(representation), 1))], axis=1))
    weights = jax.nn.softmax(
        jax.nn.log_softmax(logits), axis=0
    )  # each class's sum to 1, however unlikely the class
    centroids = weights.T @ points  # [classes, d + 1]
    labels = _nearest(points, centroids)
    members = labels.sum(0)[:, None]
    refined = labels.T @ points / jnp.maximum(members, 1)
    return _nearest(points, jnp.where(members > 0, refined, centroids))


def _nearest(points: jax.Array, centroids: jax.Array) -> jax.Array:
    """One-hot [n, classes] of each point's nearest centroid by cosine; the points are of unit length."""
    return jax.nn.one_hot((points @ _unit(centroids).T).argmax(-1), len(centroids))


def _unit(x: jax.Array) -> jax.Array:
    """Rows of x [n, d], scaled to length 1; zero stays zero."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12)
