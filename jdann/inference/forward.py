"""From samples to logits as one pure function: features, normalisation, encoder, classifier; every member of an ensemble."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jdann.data.normalise import LARGEST_VALUE, LARGEST_Z
from jdann.features.recipe import RECIPES
from jdann.models import make_encoder
from jdann.speakers.similar_voices import among


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
    recipe = RECIPES[config.features.recipe](
        config.features, config.audio.sample_rate_hz
    )  # its sizes did for training
    encoder = make_encoder(encoder_name, config.encoder)
    by = config.features.normalise

    def outputs(
        variables: Any, normaliser: tuple[jax.Array, ...], samples: jax.Array, length: jax.Array
    ) -> Outputs:
        features, frames = recipe.extract(samples, length)
        mean, std, voice = normaliser
        weight = among(features, frames, voice, recipe.bins)  # [batch, places]
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


def normalised_features(
    features: jax.Array, frames: jax.Array, mean: jax.Array, std: jax.Array, by: str
) -> jax.Array:
    """`jdann.data.normalise.apply` for a batch, in float32.

    Args:
      features: [batch, frames, bins], or [batch, values, 1] where an utterance is one vector.
      frames: [batch] int32, valid frames.
      mean: [batch, values].
      std: [batch, values], positive.
      by: one of `jdann.data.normalise.NORMALISATIONS`; "utterance" takes the clip's own statistics.

    Returns:
      The same shape as `features`. What stands beyond the frames does not matter to an encoder.
    """
    if features.shape[-1] == 1:  # one vector an utterance
        if by == "utterance":  # of one value the mean is the value
            return jnp.zeros_like(features)
        mean, std = mean[:, :, None], std[:, :, None]  # [batch, values, 1]
    elif by == "utterance":
        mean, std = _own(features, frames)
    else:
        mean, std = mean[:, None], std[:, None]  # [batch, 1, bins]
    largest = LARGEST_VALUE if by == "none" else LARGEST_Z
    return jnp.clip((features - mean) / std, -largest, largest)


def _own(features: jax.Array, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and deviation [batch, 1, bins] of each clip's valid frames; a bin that never changes has a deviation of 1."""
    valid = (jnp.arange(features.shape[1]) < frames[:, None])[..., None]  # [batch, frames, 1]
    count = frames[:, None, None]
    mean = jnp.where(valid, features, 0.0).sum(1, keepdims=True) / count
    variance = jnp.where(valid, jnp.square(features - mean), 0.0).sum(1, keepdims=True) / count
    constant = variance <= 1e-10 * (jnp.square(mean) + variance)
    return mean, jnp.where(constant, 1.0, jnp.sqrt(jnp.where(constant, 1.0, variance)))
