"""Contrastive learning: representations of one emotion come together, others move apart."""

import jax
import jax.numpy as jnp

from jdann.methods.contract import Context, LossValue, Method, Params, Source, Target, term
from jdann.parameters import NonNegative, Positive, checked


@checked
def sup_con(*, temperature: Positive = 0.1, weight: NonNegative = 0.1) -> Method:
    """Supervised contrastive learning on the representation.

    loss = lambda * weight * mean_i (-1/|P(i)| * sum_{p in P(i)} log(exp(z_i z_p / T) / sum_{a != i}
    exp(z_i z_a / T))), where z is the representation scaled to length 1 and P(i) are the other
    utterances with the emotion of i. Alone it uses the source. Together with a method that makes
    pseudo-labels ("sup_con+self_training") it also uses the target utterances that have one. There
    is one view of each utterance and no projection head.

    Source: Khosla et al. 2020, "Supervised Contrastive Learning", equation 2.

    Args:
      temperature: T, which divides the cosine similarity.
      weight: factor of the loss, beside lambda.

    Diagnostics: `contrastive_loss`, before the weight.
    """

    def loss(params: Params, source: Source, target: Target | None, context: Context) -> LossValue:
        representation = source.representation
        labels = jax.nn.one_hot(source.emotion, source.logits.shape[-1])
        if target is not None:
            has_label = target.pseudo_labels.sum(-1, keepdims=True) > 0
            hard = jax.nn.one_hot(target.pseudo_labels.argmax(-1), labels.shape[-1])
            hard *= has_label.astype(hard.dtype)
            representation = jnp.concatenate([representation, target.representation])
            labels = jnp.concatenate([labels, hard])
        value = supervised_contrast(representation, jax.lax.stop_gradient(labels), temperature)
        return context.strength * weight * value, {"contrastive_loss": value}

    return term(loss, domains=("source",))


def supervised_contrast(
    representation: jax.Array, labels: jax.Array, temperature: float
) -> jax.Array:
    """The loss of `sup_con`: the mean over the utterances that share their label with another one.

    Args:
      representation: [n, d].
      labels: [n, classes]; each row is one-hot, or zero for an utterance to leave out.
      temperature: > 0.

    Returns:
      A scalar; 0 where no two utterances share a label.
    """
    # The norm of a zero row has no gradient; 1e-6 keeps the gradient of the quotient finite.
    unit = representation * jax.lax.rsqrt(jnp.square(representation).sum(1, keepdims=True) + 1e-6)
    # [n, n]: which utterances each anchor is compared with
    compared = (labels.sum(1) > 0)[None] & ~jnp.eye(len(labels), dtype=bool)
    similarity = unit @ unit.T / temperature
    log_share = similarity - jax.nn.logsumexp(
        jnp.where(compared, similarity, -1e9), axis=1, keepdims=True
    )
    positive = (labels @ labels.T) * compared.astype(labels.dtype)
    count = positive.sum(1)
    anchor_loss = -jnp.where(positive > 0, log_share, 0.0).sum(1) / jnp.maximum(count, 1)
    anchors = (count > 0).astype(count.dtype).sum()
    return anchor_loss.sum() / jnp.maximum(anchors, 1)
