"""From samples to logits as one pure function, for every member of an ensemble.

The steps are features, normalisation, encoder and classifier.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from jdann.data.normalise import normalised_features
from jdann.errors import InputError
from jdann.features.recipe import make_recipe_unchecked
from jdann.features.recipe_contract import Recipe
from jdann.inference.model import WEIGHTS
from jdann.methods.one_speaker import Views, mean_log_posteriors, mix
from jdann.models import make_encoder
from jdann.models.network import with_weights
from jdann.speakers.similar_voices import grid_weights, has_pitch

_REMEDY = "the arrays of the config in model.json, so copy both files of the model again"
_FRAMES = 64  # of the features by which an encoder tells the shapes of its parameters


class Outputs(NamedTuple):
    """The outputs of every member for a batch of clips."""

    logits: jax.Array  # [members, batch, classes]
    representation: jax.Array  # [members, batch, d]


class Inference(NamedTuple):
    """The functions of one model, pure and not jitted."""

    # (weights of the recipe, samples [batch, samples], length [batch])
    # -> (features [batch, frames, bins], or [batch, values]; frames [batch])
    features: Callable[..., tuple[jax.Array, jax.Array]]
    # (`jdann.inference.model.Adaptation` as a tuple, features, frames) -> features, normalised
    normalise: Callable[..., jax.Array]
    # (variables, adaptation, weights, features, frames) -> Outputs
    classify: Callable[..., Outputs]
    # Both in one: (variables, adaptation, weights, samples, length) -> Outputs
    outputs: Callable[..., Outputs]
    weights: Any  # of the recipe: those of its pretrained encoder, or ()


def check_variables(variables: Any, *, sample_rate_hz: int, features: Any, encoder: Any) -> None:
    """Refuses parameters of other names or shapes than the encoder of a config has.

    The digest of a model tells the same, but models of earlier versions have none.

    Args:
      variables: {"encoder", "classifier"}, each array [members, ...].
      sample_rate_hz: as for `make_inference`.
      features: as for `make_inference`.
      encoder: as for `make_inference`.

    Raises:
      InputError: names the first array that does not fit.
    """
    recipe = make_recipe_unchecked(features.recipe, features, sample_rate_hz)
    module = make_encoder(encoder.name, encoder, features=features)
    shape = (1, len(recipe.bins)) if recipe.is_vector else (1, _FRAMES, len(recipe.bins))
    batch = jax.ShapeDtypeStruct(shape, np.float32), jax.ShapeDtypeStruct((1,), np.int32)
    outputs, initial = jax.eval_shape(
        lambda *batch: module.init_with_output(jax.random.key(0), *batch, False), *batch
    )
    classes = variables["classifier"]["bias"].shape[-1]
    kernel = jax.ShapeDtypeStruct((outputs["representation"].shape[-1], classes), np.float32)
    bias = jax.ShapeDtypeStruct((classes,), np.float32)
    expected = _shapes({"encoder": initial, "classifier": {"kernel": kernel, "bias": bias}})
    known = {name: shape[1:] for name, shape in _shapes(variables).items()}  # of each member
    for name in sorted(expected.keys() | known.keys()):
        if known.get(name) != expected.get(name):
            raise InputError(
                f"{WEIGHTS}: {name} has shape {known.get(name, 'none')} for each member, and the "
                f"encoder needs {expected.get(name, 'none')}; expected {_REMEDY}"
            )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a tree, by its path."""
    arrays: dict[str, Any] = flatten_dict(tree, sep="/")
    return {name: array.shape for name, array in arrays.items()}


def _check_adaptation(mean: jax.Array, voice: jax.Array, recipe: Recipe) -> None:
    """Refuses the normalisation of another recipe of features."""
    if mean.shape[1] != len(recipe.bins):
        problem = f"normalises {mean.shape[1]} values, not {len(recipe.bins)}"
    elif voice.shape[1] and not has_pitch(recipe.bins):
        problem = "has positions of voices, and the features do not tell the pitch"
    else:
        return
    raise InputError(f"{WEIGHTS}: {problem}; expected {_REMEDY}")


def make_inference(*, sample_rate_hz: int, features: Any, encoder: Any) -> Inference:
    """Makes the functions of a model.

    Args:
      sample_rate_hz: of the samples.
      features: `config.features`.
      encoder: `config.encoder`, with the name of a single encoder.

    Returns:
      The functions. With `features.normalise="utterance"`, each clip is normalised by its own
      statistics and the adaptation is not used. If the adaptation has views, the logits of each
      member are mixed with the mean of their log posteriors.
    """
    # Training has checked the sizes, which takes a trace.
    recipe = make_recipe_unchecked(features.recipe, features, sample_rate_hz)
    module = make_encoder(encoder.name, encoder, features=features)
    normalise_by = features.normalise

    def normalise(
        adaptation: tuple[jax.Array, ...], values: jax.Array, frames: jax.Array
    ) -> jax.Array:
        mean, std, voice = adaptation[:3]
        _check_adaptation(mean, voice, recipe)
        weight = grid_weights(values, frames, voice, recipe.bins)  # [batch, places]
        mean, std = weight @ mean, weight @ std
        return normalised_features(values, frames, mean, std, normalise_by)

    def classify(
        variables: Any,
        adaptation: tuple[jax.Array, ...],
        weights: Any,
        values: jax.Array,
        frames: jax.Array,
    ) -> Outputs:
        network = with_weights(module, weights)
        normalised = normalise(adaptation, values, frames)
        *views, share = adaptation[3:]
        of_views = None
        if len(views[0]):
            of_views = mean_log_posteriors(Views(*views), normalised)

        def one_member(parameters: Any) -> Outputs:
            encoded = network.apply(parameters["encoder"], normalised, frames, False)
            assert isinstance(encoded, dict)
            representation = encoded["representation"]  # [batch, d]
            classifier = parameters["classifier"]
            logits = representation @ classifier["kernel"] + classifier["bias"][None]
            if of_views is not None:
                logits = mix(logits, of_views, share[0])
            return Outputs(logits, representation)

        # On a CPU one batch of small products is slower than the same products in a loop.
        if jax.default_backend() == "cpu":
            return jax.lax.map(one_member, variables)
        return jax.vmap(one_member)(variables)

    def outputs(
        variables: Any,
        adaptation: tuple[jax.Array, ...],
        weights: Any,
        samples: jax.Array,
        length: jax.Array,
    ) -> Outputs:
        values, frames = recipe.compute(weights, samples, length)
        return classify(variables, adaptation, weights, values, frames)

    return Inference(recipe.compute, normalise, classify, outputs, recipe.weights)
