"""From samples to logits as one pure function, for every member of an ensemble.

The steps are features, normalisation, encoder and classifier.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jdann.data.normalise import normalised_features
from jdann.features.recipe import make_recipe_unchecked
from jdann.models import make_encoder
from jdann.speakers.similar_voices import grid_weights


class Outputs(NamedTuple):
    """The outputs of every member for a batch of clips."""

    logits: jax.Array  # [members, batch, classes]
    representation: jax.Array  # [members, batch, d]


class Inference(NamedTuple):
    """The functions of one model, pure and not jitted."""

    # (samples [batch, samples], length [batch])
    # -> (features [batch, frames, bins], or [batch, values]; frames [batch])
    features: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    # (variables, `jdann.inference.model.Normaliser` as a tuple, features, frames) -> Outputs
    classify: Callable[..., Outputs]
    # Both in one: (variables, normaliser, samples, length) -> Outputs
    outputs: Callable[..., Outputs]


def make_inference(*, sample_rate_hz: int, features: Any, encoder: Any) -> Inference:
    """Makes the functions of a model.

    Args:
      sample_rate_hz: of the samples.
      features: `config.features`.
      encoder: `config.encoder`, with the name of a single encoder.

    Returns:
      The functions. With `features.normalise="utterance"`, each clip is normalised by its own
      statistics and the normaliser is not used.
    """
    # Training has checked the sizes, which takes a trace.
    recipe = make_recipe_unchecked(features.recipe, features, sample_rate_hz)
    module = make_encoder(encoder.name, encoder)
    normalise_by = features.normalise

    def classify(
        variables: Any, normaliser: tuple[jax.Array, ...], values: jax.Array, frames: jax.Array
    ) -> Outputs:
        mean, std, voice = normaliser
        weight = grid_weights(values, frames, voice, recipe.bins)  # [batch, places]
        mean, std = weight @ mean, weight @ std
        normalised = normalised_features(values, frames, mean, std, normalise_by)

        def one_member(parameters: Any) -> Outputs:
            encoded = module.apply(parameters["encoder"], normalised, frames, False)
            assert isinstance(encoded, dict)
            representation = encoded["representation"]  # [batch, d]
            classifier = parameters["classifier"]
            logits = representation @ classifier["kernel"] + classifier["bias"][None]
            return Outputs(logits, representation)

        # On a CPU one batch of small products is slower than the same products in a loop.
        if jax.default_backend() == "cpu":
            return jax.lax.map(one_member, variables)
        return jax.vmap(one_member)(variables)

    def outputs(
        variables: Any, normaliser: tuple[jax.Array, ...], samples: jax.Array, length: jax.Array
    ) -> Outputs:
        return classify(variables, normaliser, *recipe.extract(samples, length))

    return Inference(recipe.extract, classify, outputs)
