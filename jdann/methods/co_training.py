"""Co-training: what goes over from one language to the other labels the target; what does not is then learnt within the target."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jdann.features.prosody import PROSODIC
from jdann.methods import discriminant
from jdann.methods.contract import Context, Method, Source, Target, term
from jdann.methods.self_training import balanced, cross_entropy, most_confident, prior_of

_LARGEST = 5.0  # of a z-score: no outlier decides
_NEVER = -1e4  # logit of a class that is not to be had
_PLAIN = 2.0  # temperature of the discriminants' posteriors, which are too sure of themselves


def co_training(config: Any) -> Method:
    """The network learns soft labels of the target that two discriminants, on two views of an utterance, agreed upon.

    loss = lambda weight 1/B sum_i CE(q_i, g_i). q is made once, of the statistics of the whole target, in closed form:
    1. View one, the prosodic statistics, goes over between languages. A discriminant is fitted on the source; then by
       expectation-maximisation, `rounds_first` times, on source labels and target posteriors of equal total weight.
    2. View two, all statistics, describes more of one language. A discriminant is fitted on the target's labels q, of each
       class the most confident `kept_fraction`, and, with `source_weight` of the target's total weight, on the source; its
       posteriors for the fifth of the target that it was not fitted on become the new q. This is done for every fifth,
       `rounds` times.
    Where a prior is given all posteriors are balanced to it by Sinkhorn iterations; without one the discriminants, for which all
    classes are equally likely, decide how often each occurs.

    Source: Blum and Mitchell 1998, "Combining labeled and unlabeled data with co-training"; Nigam and Ghani 2000, "Analyzing
    the effectiveness and applicability of co-training", section 2.3, co-EM; the balance: Asano et al. 2020,
    "Self-labelling via simultaneous clustering and representation learning", section 3.1.

    Args:
      config: `config.co_training.prior`, as in `self_training`; `.shrinkage` of both discriminants; `.rounds_first`;
        `.rounds`; `.folds`; `.kept_fraction`; `.source_weight`; `.iterations` of Sinkhorn; `.weight`.

    Diagnostics: `pseudo_loss`, before the weight.
    """
    own = config.co_training
    prior = prior_of("co_training", own.prior, len(config.emotions))
    fit = partial(discriminant.fit, shrinkage=own.shrinkage)

    def labels_of(log_posteriors: jax.Array) -> jax.Array:
        if prior is not None:
            log_posteriors = balanced(log_posteriors, prior, own.iterations)
        return jnp.exp(log_posteriors)

    def label(
        key: jax.Array, source: jax.Array, emotion: jax.Array, target: jax.Array
    ) -> jax.Array:
        known = jax.nn.one_hot(emotion, len(config.emotions))  # a row of zeros where unlabelled
        both = jnp.clip(jnp.concatenate([source, target]), -_LARGEST, _LARGEST)
        first = both[:, : len(PROSODIC)]
        n, ratio = len(source), known.sum() / len(target)  # of labelled source to target
        present = known.sum(0) > 0

        def posteriors(model: discriminant.Discriminant, features: jax.Array) -> jax.Array:
            logits = discriminant.logits(model, features) / _PLAIN
            return jax.nn.log_softmax(
                jnp.where(present, logits, _NEVER)
            )  # what the source lacks cannot be recognised

        def maximise(_: int, pseudo: jax.Array) -> jax.Array:
            model = fit(first, jnp.concatenate([known, pseudo * ratio]))
            return labels_of(posteriors(model, first[n:]))

        pseudo = labels_of(posteriors(fit(first[:n], known), first[n:]))
        pseudo = jax.lax.fori_loop(0, own.rounds_first, maximise, pseudo)

        def teach(round_: int, pseudo: jax.Array) -> jax.Array:
            fold = jax.random.permutation(jax.random.fold_in(key, round_), len(target)) % own.folds
            kept = most_confident(jnp.log(pseudo), own.kept_fraction)

            def held_out(k: jax.Array) -> jax.Array:
                seen = jnp.where(((fold != k) & kept)[:, None], pseudo, 0.0)
                model = fit(both, jnp.concatenate([known * (own.source_weight / ratio), seen]))
                return posteriors(model, both[n:])

            each = jax.lax.map(held_out, jnp.arange(own.folds))  # [folds, m, classes]
            return labels_of(jnp.take_along_axis(each, fold[None, :, None], 0)[0])

        return jax.lax.fori_loop(0, own.rounds, teach, pseudo)

    def loss(
        params: Any, source: Source, target: Target, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        value = cross_entropy(target.pseudo_labels, target.logits)
        return context.strength * own.weight * value, {"pseudo_loss": value}

    return term(loss, label=label, needs=frozenset({"statistics"}))
