"""Self-training: the model's predictions for the target become labels of the next epoch."""

from typing import Literal

import jax
import jax.numpy as jnp

from jdann.methods.contract import (
    Context,
    LossValue,
    Method,
    Params,
    Phase,
    Source,
    Target,
    Update,
    no_parameters,
    term,
)
from jdann.methods.losses import cross_entropy, diversity, entropies
from jdann.methods.pseudo_labels import (
    balanced,
    centroid_labels,
    check_prior,
    class_shares,
    labelled_fraction,
    most_confident,
)
from jdann.methods.source_only import no_loss
from jdann.parameters import (
    Count,
    Fraction,
    FractionBelowOne,
    FractionBetween,
    NonNegative,
    Positive,
    checked,
)


@checked
def self_training(
    *,
    prior: str = "uniform",
    labels: Literal["hard", "soft"] = "hard",
    start: FractionBelowOne = 0.2,
    first_fraction: Fraction = 0.3,
    last_fraction: Fraction = 0.9,
    iterations: Count = 50,
    weight: NonNegative = 1.0,
) -> Method:
    """Class-balanced self-training on the most confident predictions of the averaged model.

    loss = lambda * weight / B * sum_i CE(q_i, g_i), where g are the logits of the augmented target.
    Once an epoch, q is made from the averaged model's posteriors over the whole target. Sinkhorn
    iterations scale the posteriors until the classes have the shares of the prior. Then the most
    confident part of each class is kept, and q = 0 for the others. This part grows from
    `first_fraction` to `last_fraction`.

    Source: Zou et al. 2018, "Unsupervised Domain Adaptation for Semantic Segmentation via
    Class-Balanced Self-Training", section 4; balance by Sinkhorn: Asano et al. 2020,
    "Self-labelling via simultaneous clustering and representation learning", section 3.1; the
    averaged teacher: Tarvainen and Valpola 2017, "Mean teachers are better role models", equation
    2.

    Args:
      prior: the classes' shares in the target: "uniform", "none" (as predicted, without balance),
        or a list with commas in the order of the emotions, such as "0.4,0.2,0.1,0.2,0.1".
      labels: "hard", or "soft" for the balanced posteriors.
      start: the part of the training before the first pseudo-labels.
      first_fraction: the part of each class that gets a pseudo-label at first.
      last_fraction: the same at the end.
      iterations: of Sinkhorn's algorithm.
      weight: factor of the loss, beside lambda.

    Raises:
      InputError: `prior` is none of these.

    Diagnostics: `pseudo_loss`, before the weight, and `pseudo_fraction`, the part of the batch that
    has a pseudo-label.
    """
    check_prior(prior, "self_training: prior")

    def pseudo_labels(
        representation: jax.Array, logits: jax.Array, progress: jax.Array
    ) -> jax.Array:
        classes = logits.shape[-1]
        shares = class_shares(prior, classes, "self_training: prior")
        log_posteriors = balanced(jax.nn.log_softmax(logits), shares, iterations)
        done = jnp.clip((progress - start) / (1 - start), 0.0, 1.0)
        fraction = first_fraction + (last_fraction - first_fraction) * done
        kept = most_confident(log_posteriors, fraction) & (progress >= start)
        if labels == "hard":
            rows = jax.nn.one_hot(log_posteriors.argmax(-1), classes)
        else:
            rows = jnp.exp(log_posteriors)
        return jnp.where(kept[:, None], rows, 0.0)

    def loss(params: Params, source: Source, target: Target, context: Context) -> LossValue:
        value = cross_entropy(target.pseudo_labels, target.logits)
        labelled = labelled_fraction(target.pseudo_labels)
        diagnostics = {"pseudo_loss": value, "pseudo_fraction": labelled}
        return context.strength * weight * value, diagnostics

    return term(loss, pseudo_labels=pseudo_labels)


@checked
def shot(
    *,
    source_fraction: FractionBetween = 0.5,
    rate: Positive = 1.0,
    pseudo_weight: NonNegative = 0.3,
    weight: NonNegative = 1.0,
) -> Method:
    """Source hypothesis transfer: the source's classifier is kept, the encoder adapts to it.

    Phase 1, on the source alone: loss = source risk. Phase 2, on the target alone, with a frozen
    classifier: loss = lambda * weight * (mean_i H(p_i) - H(mean_i p_i) + beta * mean_i CE(y_i,
    g_i)), where y, the class of the nearest centroid, is computed once an epoch. It assumes that
    all classes are about equally frequent in the target.

    Source: Liang et al. 2020, "Do We Really Need to Access the Source Data? Source Hypothesis
    Transfer for Unsupervised Domain Adaptation", equations 3 to 7. The paper's weight-normalised
    classifier and its bottleneck belong to the encoder and are left out.

    Args:
      source_fraction: the part of the epochs that is phase 1.
      rate: learning rate of phase 2 relative to phase 1.
      pseudo_weight: beta, factor of the pseudo-labels' cross-entropy.
      weight: factor of the loss, beside lambda.

    Diagnostics: `target_entropy`, `target_diversity` (nats) and `pseudo_loss`.
    """

    def pseudo_labels(
        representation: jax.Array, logits: jax.Array, progress: jax.Array
    ) -> jax.Array:
        return centroid_labels(representation, logits)

    def loss(params: Params, source: None, target: Target, context: Context) -> LossValue:
        mean_entropy, mean_diversity = entropies(target.logits).mean(), diversity(target.logits)
        pseudo_loss = cross_entropy(target.pseudo_labels, target.logits)
        value = mean_entropy - mean_diversity + pseudo_weight * pseudo_loss
        diagnostics = {
            "target_entropy": mean_entropy,
            "target_diversity": mean_diversity,
            "pseudo_loss": pseudo_loss,
        }
        return context.strength * weight * value, diagnostics

    update = Update(loss, trains=("encoder",), source_risk=False)
    phases = (
        Phase("source", (Update(no_loss),), source_fraction, ("source",)),
        Phase(
            "target",
            (update,),
            1 - source_fraction,
            ("target",),
            rate=rate,
            pseudo_labels=pseudo_labels,
        ),
    )
    return Method(no_parameters, phases)
