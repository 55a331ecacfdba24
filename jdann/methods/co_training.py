"""Co-training: two discriminants, on two views of each utterance, label the target.

The first view uses what works across languages. The second view uses what holds within the target.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp

from jdann.features.prosody import PROSODIC
from jdann.methods import discriminant
from jdann.methods.contract import (
    Context,
    InitialLabels,
    LossValue,
    Method,
    Params,
    Source,
    Target,
    term,
)
from jdann.methods.discriminant import Discriminant
from jdann.methods.losses import cross_entropy
from jdann.methods.one_speaker import fit_views, label_speakers
from jdann.methods.pseudo_labels import balanced, check_prior, class_shares, most_confident
from jdann.parameters import (
    Count,
    CountOrZero,
    Fraction,
    NonNegative,
    Positive,
    Range,
    checked,
)

LEAST_SHARE_UNKNOWN = 0.75  # `least_share` where the target is not normalised by speaker
# What is known of the labels, before step 4 of `co_training`: for which part of the utterances they
# name the same class as view one, and as the source alone; and 1 if they were mixed with both.
AS_PROSODY, AS_SOURCE, MIXED = "labels_as_prosody", "labels_as_source", "labels_mixed"


@checked
def co_training(
    *,
    prior: str = "none",
    shrinkage: Fraction = 0.7,
    rounds_first: CountOrZero = 10,
    rounds: CountOrZero = 6,
    folds: Annotated[int, Range(2)] = 5,
    kept_fraction: Fraction = 0.7,
    source_weight: NonNegative = 0.1,
    label_relevance: Positive = 20.0,
    label_doubt: NonNegative = 5.0,
    least_share: Fraction = 0.5,
    caution: Fraction = 0.7,
    rounds_per_speaker: CountOrZero = 3,
    iterations: Count = 50,
    weight: NonNegative = 10.0,
) -> Method:
    """The network learns soft labels of the target that two discriminants on two views have made.

    loss = lambda * weight / B * sum_i CE(q_i, g_i). The labels q are made once, in closed form,
    from the statistics of the whole target. It needs features.recipe "statistics".

    1. View one is the prosodic statistics, which work across languages. A discriminant is fitted to
       the source. Then expectation-maximisation runs `rounds_first` times on source labels and
       target posteriors, which have the same total weight. Its posteriors are the first q.
    2. View two is all statistics, which describe one language better. The target is divided into
       folds. For each fold, a discriminant is fitted to the q of the other folds, of each class the
       most confident `kept_fraction`, and to the source with `source_weight` of the target's total
       weight. Its posteriors for the fold are the new q. This happens `rounds` times.
    3. Co-training can strengthen its own errors. Then it often gives one class to few utterances,
       because two classes have become one. If the rarest class of q has less than `least_share` of
       an even share, the final q is (1 - `caution`) q, plus `caution` times the mean of two labels
       that make other errors: those of view one, and those of a discriminant on all statistics of
       the source alone.
    4. For each speaker of the target with enough clips, both views are adapted to this speaker, and
       label the speaker's clips anew: `jdann.methods.one_speaker`. They begin with source and
       target, which have the same total weight.

    Labels of some target utterances, which the user gives, replace their q in each round. In both
    views, k of them count as k' = k^3 / (k^2 + `label_doubt`^2), because one or two utterances may
    be unlike the others of their class. They weigh k' / (k' + `label_relevance`) of their class,
    and all else the rest.

    With a prior, Sinkhorn iterations balance all posteriors to it; those of step 4 are balanced at
    its end. Without one, the discriminants decide how often each class occurs; to them all classes
    are equally likely.

    Source: Blum and Mitchell 1998, "Combining labeled and unlabeled data with co-training"; Nigam
    and Ghani 2000, "Analyzing the effectiveness and applicability of co-training", section 2.3,
    co-EM; the balance: Asano et al. 2020, "Self-labelling via simultaneous clustering and
    representation learning", section 3.1.

    Args:
      prior: the classes' shares in the target, as in `self_training`.
      shrinkage: of the covariance of both discriminants, 0 to 1.
      rounds_first: rounds of expectation-maximisation on the prosodic statistics.
      rounds: rounds of labelling on all statistics; 0 keeps the labels of view one.
      folds: parts of the target; each is labelled by what was learnt from the others.
      kept_fraction: the most confident part of each class, from which the next round learns.
      source_weight: total weight of the source relative to the target, on all statistics.
      label_relevance: MAP relevance factor of the labels that the user gives, as utterances.
      label_doubt: the number of such labels of a class at which each counts half; 0: each counts
        in full.
      least_share: the share of the rarest class, relative to `prior` or else to an even share,
        below which the labels are mixed with others; 0: never. The experiments raise it to
        LEAST_SHARE_UNKNOWN where the target is not normalised by speaker.
      caution: weight of the other labels in the mixture.
      rounds_per_speaker: rounds of labelling on all statistics of one speaker (step 4); 0: no
        labels are made anew for each speaker.
      iterations: of Sinkhorn's algorithm.
      weight: factor of the loss, beside lambda.

    Raises:
      InputError: `prior` is none that can be used.

    Diagnostics: `pseudo_loss`, before the weight. Evidence: AS_PROSODY, AS_SOURCE and MIXED.
    """
    check_prior(prior, "co_training: prior")

    def initial_labels(
        key: jax.Array,
        source: jax.Array,
        source_labels: jax.Array,
        target: jax.Array,
        target_labels: jax.Array | None = None,
        clips_of_speaker: jax.Array | None = None,
    ) -> InitialLabels:
        shares = class_shares(prior, source_labels.shape[-1], "co_training: prior")
        both = jnp.concatenate([source, target])  # [n + m, values]
        both = jnp.clip(both, -discriminant.LARGEST_SCORE, discriminant.LARGEST_SCORE)
        prosodic = both[:, : len(PROSODIC)]
        n = len(source)
        ratio = source_labels.sum() / len(target)  # labelled source utterances per target utterance
        present = source_labels.sum(0) > 0  # [classes]
        if target_labels is not None:
            present |= target_labels.sum(0) > 0

        def fit(features: jax.Array, source_q: jax.Array, target_q: jax.Array) -> Discriminant:
            """A discriminant of both domains, in which labels of the user have their weight."""
            if target_labels is not None:
                target_q = jnp.where(target_labels.sum(1, keepdims=True) > 0, 0.0, target_q)
                others = source_q.sum(0) + target_q.sum(0)  # [classes]
                squared = jnp.square(target_labels.sum(0))  # [classes]
                trust = squared / jnp.maximum(squared + label_doubt**2, 1.0)
                weight_of_label = jnp.where(others > 0, others, 1.0) * trust / label_relevance
                target_q += target_labels * weight_of_label[None]
            return discriminant.fit(features, jnp.concatenate([source_q, target_q]), shrinkage)

        def log_posteriors(model: Discriminant, features: jax.Array) -> jax.Array:
            return discriminant.log_posteriors(model, features, present)

        def normalised(log_posteriors: jax.Array) -> jax.Array:
            labels = jnp.exp(balanced(log_posteriors, shares, iterations))
            if target_labels is None:
                return labels
            return jnp.where(target_labels.sum(1, keepdims=True) > 0, target_labels, labels)

        def maximise_expectation(_: jax.Array, labels: jax.Array) -> jax.Array:
            model = fit(prosodic, source_labels, labels * ratio)
            return normalised(log_posteriors(model, prosodic[n:]))

        def relabel(round_: jax.Array, labels: jax.Array) -> jax.Array:
            order = jax.random.permutation(jax.random.fold_in(key, round_), len(target))
            fold = order % folds  # [m]
            kept = most_confident(jnp.log(labels), kept_fraction)
            weighted_source = source_labels * (source_weight / ratio)

            def without(held_out: jax.Array) -> jax.Array:
                """Log posteriors [m, classes] of a model that never saw the fold `held_out`."""
                used = jnp.where(((fold != held_out) & kept)[:, None], labels, 0.0)
                model = fit(both, weighted_source, used)
                return log_posteriors(model, both[n:])

            every_fold = jax.lax.map(without, jnp.arange(folds))  # [folds, m, classes]
            return normalised(jnp.take_along_axis(every_fold, fold[None, :, None], 0)[0])

        def from_source(features: jax.Array) -> jax.Array:
            """Labels by a discriminant of the source and of the user's labels."""
            if target_labels is None:
                model = discriminant.fit(features[:n], source_labels, shrinkage)
            else:
                model = fit(features, source_labels, jnp.zeros_like(target_labels))
            return normalised(log_posteriors(model, features[n:]))

        first = jax.lax.fori_loop(0, rounds_first, maximise_expectation, from_source(prosodic))
        labels = jax.lax.fori_loop(0, rounds, relabel, first)
        source_alone = from_source(both)
        is_mixed = _rarest_share(labels, present, shares) < least_share
        evidence = {
            AS_PROSODY: _agreement(labels, first),
            AS_SOURCE: _agreement(labels, source_alone),
            MIXED: is_mixed.astype(jnp.float32),
        }
        mixed = (1 - caution) * labels + caution * (first + source_alone) / 2
        labels = jnp.where(is_mixed, mixed, labels)
        if clips_of_speaker is None or not rounds_per_speaker:
            return InitialLabels(labels, evidence)
        reference = discriminant.moments(both, jnp.concatenate([source_labels, labels * ratio]))
        fit_speaker = partial(
            fit_views, reference, present, shrinkage=shrinkage, rounds=rounds_per_speaker
        )
        labels = label_speakers(fit_speaker, both[n:], labels, clips_of_speaker, target_labels)
        return InitialLabels(normalised(jnp.log(jnp.maximum(labels, 1e-30))), evidence)

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        value = cross_entropy(target.pseudo_labels, target.logits)
        return context.strength * weight * value, {"pseudo_loss": value}

    return term(
        loss,
        initial_labels=initial_labels,
        evidence=(AS_PROSODY, AS_SOURCE, MIXED),
        needs=frozenset({"statistics"}),
    )


def _agreement(first: jax.Array, second: jax.Array) -> jax.Array:
    """The part of the utterances, 0 to 1, to which both labels [m, classes] give one class."""
    return (first.argmax(1) == second.argmax(1)).mean()


def _rarest_share(
    labels: jax.Array, present: jax.Array, shares: Sequence[float] | None
) -> jax.Array:
    """The smallest ratio of a class's predicted share to its expected share.

    Args:
      labels: [m, classes], distributions.
      present: [classes] bool; only these classes are expected.
      shares: expected, [classes]; None: the same for each class.
    """
    predicted = jax.nn.one_hot(labels.argmax(1), labels.shape[1]).mean(0)
    even = present.astype(jnp.float32) / present.astype(jnp.float32).sum()
    expected = even if shares is None else jnp.asarray(shares)
    return jnp.where(expected > 0, predicted / jnp.maximum(expected, 1e-12), jnp.inf).min()
