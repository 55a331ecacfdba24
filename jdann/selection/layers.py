"""Which layer of a pretrained encoder to use: a score without target labels."""

import jax
import jax.numpy as jnp

from jdann.methods import discriminant

_SHRINKAGE = 0.7  # as in co-training


@jax.jit
def layer_agreement(
    source: jax.Array, source_labels: jax.Array, target: jax.Array, target_labels: jax.Array
) -> jax.Array:
    """How well a layer that learnt from the source agrees with labels from another view.

    A discriminant of the layer is fitted to the source. The score is the share of the target, 0 to
    1, to which it gives the class that the other view gives. The two views make different errors,
    so they agree most where both are right.

    Source: Blum and Mitchell 1998, "Combining labeled and unlabeled data with co-training".

    Args:
      source: float32 [n, values] of the layer, normalised.
      source_labels: float32 [n, classes]; each row is a distribution or zero.
      target: float32 [m, values].
      target_labels: float32 [m, classes], by the other view.
    """
    source, target = (
        jnp.clip(x, -discriminant.LARGEST_SCORE, discriminant.LARGEST_SCORE)
        for x in (source, target)
    )
    present = source_labels.sum(0) > 0
    model = discriminant.fit(source, source_labels, _SHRINKAGE)
    posteriors = discriminant.log_posteriors(model, target, present)
    return (posteriors.argmax(1) == target_labels.argmax(1)).mean()
