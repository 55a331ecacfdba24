"""Recipes by their names: which features are computed from a batch of signals."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jdann.errors import InputError
from jdann.features.pretrained_recipes import (
    LAYER_STATISTICS,
    layer_statistics,
    pretrained,
    pretrained_frames,
)
from jdann.features.recipe_contract import Recipe, SampleRate, numbered
from jdann.features.signal_recipes import frames, poster, prosody, statistics
from jdann.parameters import Count, checked, parameters, shown
from jdann.pretrained import PRETRAINED, PRETRAINED_FRAMES

VOICE_VECTORS = "voice_vectors"


def make_recipe(name: str, settings: Mapping[str, Any], sample_rate_hz: int) -> Recipe:
    """Makes a recipe by its name and checks that it can be computed.

    Args:
      name: one of RECIPES.
      settings: values for the recipe's parameters, such as the section `features` of a config.
        Other keys are ignored, and a parameter without a value keeps its default.
      sample_rate_hz: sampling rate of the signals that `extract` will be given, Hz.

    Returns:
      The Recipe.

    Raises:
      InputError: the name is unknown, or the recipe cannot be computed at this sampling rate or
        with these sizes.
    """
    recipe = make_recipe_unchecked(name, settings, sample_rate_hz)
    # Tracing costs little and finds sizes that do not fit together before a run begins.
    try:
        jax.eval_shape(recipe.extract, jnp.zeros((1, sample_rate_hz)), jnp.ones(1, jnp.int32))
    except InputError as error:
        raise InputError(
            f"features.recipe={name!r} cannot be computed at audio.sample_rate_hz={sample_rate_hz},"
            " to which all audio is resampled (16000 suits all recipes but poster): "
            f"{error}"
        ) from None
    return recipe


def make_recipe_unchecked(name: str, settings: Mapping[str, Any], sample_rate_hz: int) -> Recipe:
    """`make_recipe` without the check by tracing, for settings that have been used before.

    Raises:
      InputError: the name is unknown, or one value is out of its range.
    """
    sizes = {size: settings[size] for size in recipe_sizes(name) if size in settings}
    return _ALL_RECIPES[name](sample_rate_hz=sample_rate_hz, **sizes)


def recipe_sizes(name: str) -> dict[str, Any]:
    """The parameters of a recipe with their defaults, without the sampling rate.

    Raises:
      InputError: the name is unknown.
    """
    if name not in _ALL_RECIPES:
        raise InputError(
            f"unknown features.recipe {shown(name)}: expected one of {', '.join(RECIPES)}"
        )
    known = parameters(_ALL_RECIPES[name])
    return {size: p.default for size, p in known.items() if size != "sample_rate_hz"}


@checked
def vectors(*, sample_rate_hz: SampleRate = 1000, vector_size: Count = 1) -> Recipe:
    """The identity, for a user's own vectors: what stands in place of samples is the features.

    Args:
      sample_rate_hz: without meaning.
      vector_size: values of each vector.
    """

    def extract(signal: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        return signal[:, :vector_size], jnp.ones_like(length)

    return Recipe("vectors", sample_rate_hz, numbered("value", vector_size), 0.0, True, extract)


@checked
def voice_vectors(*, sample_rate_hz: SampleRate = 16000, weights: str = "") -> Recipe:
    """One vector per utterance that tells whose voice it is, by a speaker encoder.

    Args:
      sample_rate_hz: sampling rate of the signals; 16000 Hz is the only one.
      weights: path of the wheel that `jdann.features.voice_encoder.read_variables` reads.

    Raises:
      InputError: the sampling rate is another one, or the weights cannot be read.
    """
    # Flax takes long to import, and the other recipes do without it.
    from jdann.features import voice_encoder

    if sample_rate_hz != voice_encoder.SAMPLE_RATE_HZ:
        raise InputError(
            f"audio.sample_rate_hz={sample_rate_hz}: the speaker encoder expects "
            f"{voice_encoder.SAMPLE_RATE_HZ}"
        )
    variables = voice_encoder.read_variables(Path(weights))

    def extract(signal: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        vectors = jax.vmap(partial(voice_encoder.voice_vector, variables))(signal, length)
        return vectors, jnp.ones_like(length)

    bins = numbered("voice", voice_encoder.VALUES)
    return Recipe(VOICE_VECTORS, sample_rate_hz, bins, 0.0, True, extract)


RECIPES: dict[str, Callable[..., Recipe]] = {
    "frames": frames,
    "poster": poster,
    PRETRAINED: pretrained,
    PRETRAINED_FRAMES: pretrained_frames,
    "prosody": prosody,
    "statistics": statistics,
    "vectors": vectors,
}
# Not to be chosen in a config. Voice vectors serve to find the speakers. The statistics of all
# layers are on disk, and `pretrained` takes some of them.
_ALL_RECIPES = RECIPES | {VOICE_VECTORS: voice_vectors, LAYER_STATISTICS: layer_statistics}
