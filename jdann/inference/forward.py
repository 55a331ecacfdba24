"""From samples to logits as one pure function, for every member of an ensemble.

The steps are features, normalisation, encoder and classifier.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jdann.data.normalise import LARGEST_VALUE, LARGEST_Z
from jdann.features.recipe import RECIPES
from jdann.models import make_encoder
from jdann.speakers.similar_voices import among


class Outputs(NamedTuple):
    """The outputs of every member for a batch of clips."""

    logits: jax.Array  # [members, batch, classes]
    representation: jax.Array  # [members, batch, d]


class Inference(NamedTuple):
    """The functions of one model, pure and not jitted."""

    # (samples [batch, samples], length [batch])
    # -> (features [batch, frames, bins], frames [batch])
    features: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    # (variables, `jdann.inference.model.Normaliser` as a tuple,
    #  samples [batch, samples], length [batch]) -> Outputs
    outputs: Callable[..., Outputs]


def make_inference(*, sample_rate_hz: int, features: Any, encoder: Any) -> Inference:
    """Makes the functions of a model.

    Args:
      sample_rate_hz: of the samples.
      features: `config.features`.
      encoder: `config.encoder`, with the name of a single encoder.

    Returns:
      The functions. With `features.normalise="utterance"`, each clip is normalised by its own
      statistics and the normaliser that `outputs` takes is not used.
    """
    # `make_recipe` also checks the sizes, which takes a trace; training has checked them already.
    recipe = RECIPES[features.recipe](features, sample_rate_hz)
    module = make_encoder(encoder)
    normalise_by = features.normalise

    def outputs(
        variables: Any, normaliser: tuple[jax.Array, ...], samples: jax.Array, length: jax.Array
    ) -> Outputs:
        values, frames = recipe.extract(samples, length)
        mean, std, voice = normaliser
        weight = among(values, frames, voice, recipe.bins)  # [batch, places]
        mean, std = weight @ mean, weight @ std
        normalised = normalised_features(values, frames, mean, std, normalise_by)

        def one_member(parameters: Any) -> Outputs:
            encoded = module.apply(parameters["encoder"], normalised, frames, False)
            assert isinstance(encoded, dict)
            representation = encoded["representation"]  # [batch, d]
            classifier = parameters["classifier"]
            logits = representation @ classifier["kernel"] + classifier["bias"]
            return Outputs(logits, representation)

        # On a CPU one batch of small products is slower than the same products in a loop.
        if jax.default_backend() == "cpu":
            return jax.lax.map(one_member, variables)
        return jax.vmap(one_member)(variables)

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
      by: one of `jdann.data.normalise.NORMALISATIONS`; "utterance" uses the clip's own statistics.

    Returns:
      The same shape as `features`. Values beyond the valid frames do not matter to an encoder.
    """
    if features.shape[-1] == 1:  # an utterance is one vector
        if by == "utterance":  # the mean of a single value is that value
            return jnp.zeros_like(features)
        mean, std = mean[:, :, None], std[:, :, None]  # [batch, values, 1]
    elif by == "utterance":
        mean, std = _clip_statistics(features, frames)
    else:
        mean, std = mean[:, None], std[:, None]  # [batch, 1, bins]
    largest = LARGEST_VALUE if by == "none" else LARGEST_Z
    return jnp.clip((features - mean) / std, -largest, largest)


def _clip_statistics(features: jax.Array, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation [batch, 1, bins] over each clip's valid frames.

    A bin that never changes has a standard deviation of 1.
    """
    valid = (jnp.arange(features.shape[1]) < frames[:, None])[..., None]  # [batch, frames, 1]
    count = frames[:, None, None]
    mean = jnp.where(valid, features, 0.0).sum(1, keepdims=True) / count
    variance = jnp.where(valid, jnp.square(features - mean), 0.0).sum(1, keepdims=True) / count
    constant = variance <= 1e-10 * (jnp.square(mean) + variance)
    return mean, jnp.where(constant, 1.0, jnp.sqrt(jnp.where(constant, 1.0, variance)))
