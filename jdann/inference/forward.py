"""From samples to logits as one pure function: features, normalisation, encoder, classifier; every member of an ensemble."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from jdann.data.normalise import normalised_features
from jdann.features.recipe import make_recipe_unchecked
from jdann.models import make_encoder
from jdann.speakers.similar_voices import grid_weights


class Outputs(NamedTuple):
    """What the members say of a batch of clips."""

    logits: jax.Array  # [members, batch, classes]
    representation: jax.Array  # [members, batch, d]


class Inference(NamedTuple):
    """The functions of one model, pure and not jitted."""

    features: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    # (samples [batch, samples], length [batch]) -> (features [batch, frames, bins], frames [batch])
    outputs: Callable[..., Outputs]
    # (variables, `jdann.inference.model.Normaliser` as a tuple, samples [batch, samples], length [batch])


def make_inference(config: Any, encoder_name: str) -> Inference:
    """Makes the functions that a config and the name of its encoder stand for.

    Args:
      config: a whole jdann config; read are audio, features and encoder.
      encoder_name: one of those in `config.encoder.name`.

    Returns:
      The functions. With normalisation "utterance" what `outputs` is given to normalise by does not matter.
    """
    recipe = make_recipe_unchecked(
        config.features.recipe, config.features, config.audio.sample_rate_hz
    )  # training checked its sizes
    encoder_config = ConfigDict(config.encoder)
    encoder_config.name = encoder_name
    encoder = make_encoder(encoder_config)
    by = config.features.normalise

    def outputs(
        variables: Any, normaliser: tuple[jax.Array, ...], samples: jax.Array, length: jax.Array
    ) -> Outputs:
        features, frames = recipe.extract(samples, length)
        mean, std, voice = normaliser
        weight = grid_weights(features, frames, voice, recipe.bins)  # [batch, places]
        mean, std = weight @ mean, weight @ std
        normalised = normalised_features(features, frames, mean, std, by)

        def member(of: Any) -> Outputs:
            encoded = encoder.apply(of["encoder"], normalised, frames, False)
            assert isinstance(encoded, dict)
            representation = encoded["representation"]  # [batch, d]
            return Outputs(
                representation @ of["classifier"]["kernel"] + of["classifier"]["bias"],
                representation,
            )

        # On a CPU a batch of small products is slower than the products one after the other.
        if jax.default_backend() == "cpu":
            return jax.lax.map(member, variables)
        return jax.vmap(member)(variables)

    return Inference(recipe.extract, outputs)
