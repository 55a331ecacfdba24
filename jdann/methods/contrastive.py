"""Representations of one emotion together, of others apart."""

from typing import Any

import jax
import jax.numpy as jnp

from jdann.methods.contract import Context, Method, Source, Target, term


def sup_con(config: Any) -> Method:
    """Supervised contrastive learning on the representation.

    loss = lambda weight mean_i -1/|P(i)| sum_{p in P(i)} log(exp(z_i z_p / T) / sum_{a != i} exp(z_i z_a / T)), z the
    representation scaled to length 1, P(i) the others of i's emotion. Alone it sees the source; with a method that makes
    pseudo-labels ("sup_con+self_training") the target utterances that have one join in. There is one view of each
    utterance and no projection head.

    Source: Khosla et al. 2020, "Supervised Contrastive Learning", equation 2.

    Args:
      config: `config.sup_con.temperature`, T, and `config.sup_con.weight`.

    Diagnostics: `contrastive_loss`, before the weight.
    """
    temperature, weight = config.sup_con.temperature, config.sup_con.weight

    def loss(
        params: Any, source: Source, target: Target | None, context: Context
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        representation, labels = (
            source.representation,
            jax.nn.one_hot(source.emotion, source.logits.shape[-1]),
        )
        if target is not None:
            chosen = jax.nn.one_hot(target.pseudo_labels.argmax(-1), labels.shape[-1]) * (
                target.pseudo_labels.sum(-1, keepdims=True) > 0
            )
            representation = jnp.concatenate([representation, target.representation])
            labels = jnp.concatenate([labels, chosen])
        value = supervised_contrast(representation, jax.lax.stop_gradient(labels), temperature)
        return context.strength * weight * value, {"contrastive_loss": value}

    return term(loss, domains=("source",))


def supervised_contrast(
    representation: jax.Array, labels: jax.Array, temperature: float
) -> jax.Array:
    """The loss of `sup_con`, over the utterances that share their label with another one; 0 where there is none.

    Args:
      representation: [n, d].
      labels: [n, classes], one-hot, or zero for utterances to leave out.
      temperature: > 0.
    """
    # The norm of a zero row has no gradient; 1e-6 keeps the quotient's finite there.
    unit = representation * jax.lax.rsqrt(jnp.square(representation).sum(1, keepdims=True) + 1e-6)
    others = (labels.sum(1) > 0) & ~jnp.eye(
        len(labels), dtype=bool
    )  # [n, n]: whom an anchor is compared with
    similarity = unit @ unit.T / temperature
    log_share = similarity - jax.nn.logsumexp(
        jnp.where(others, similarity, -1e9), axis=1, keepdims=True
    )
    positive = (labels @ labels.T) * others
    count = positive.sum(1)
    of_anchor = -jnp.where(positive > 0, log_share, 0.0).sum(1) / jnp.maximum(count, 1)
    return of_anchor.sum() / jnp.maximum((count > 0).sum(), 1)
