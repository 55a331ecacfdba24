"""Which layer of a pretrained encoder the features of a direction are taken from."""

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdann.cluster.processes import first_ahead
from jdann.corpora.index import Corpus
from jdann.data.batches import Frames, take_vectors
from jdann.data.pairs import Domain, FeatureSettings, load_domain, make_direction
from jdann.experiments.settings import features_folder
from jdann.features.pretrained_recipes import (
    AUTO,
    encoder_digest,
    find_files,
    layer_count,
    layer_numbers,
)
from jdann.features.prosody import PROSODIC
from jdann.methods import METHODS
from jdann.methods.contract import InitialLabels
from jdann.pretrained import PRETRAINED, PRETRAINED_RECIPES
from jdann.selection.layers import layer_agreement

log = logging.getLogger("jdann")


def with_chosen_layer(
    settings: FeatureSettings, source: Corpus, target: Corpus, data_dir: Path
) -> FeatureSettings:
    """The settings with the number of a layer in place of "auto".

    The layer is the one whose discriminant, fitted to the source, agrees most with prosody about
    the target. No label of the target is used. For frames, too, the layers are compared by their
    means and deviations over time.

    Args:
      settings: how features are computed.
      source: the labelled corpus.
      target: the corpus to adapt to.
      data_dir: where encoders and cached features are kept.

    Returns:
      The settings, also with the place of the encoder's files and the digest of its weights.

    Raises:
      InputError: the encoder or a corpus cannot be used.
    """
    if settings.recipe_name not in PRETRAINED_RECIPES:
        return settings
    name = settings.recipe_settings["encoder"]
    settings = with_encoder(settings, data_dir)
    values = dict(settings.recipe_settings)
    if values["layers"] == AUTO:
        count = layer_count(values["encoder"])
        scores = _scores(settings, source, target, features_folder(data_dir), count)
        values["layers"] = str(int(np.argmax(scores)))
        log.info(
            "%s -> %s: layer %s of %s is used. What it learns from the source agrees most with "
            "prosody about the target, whose labels are not used (agreement from layer 0 on: %s)",
            source.name,
            target.name,
            values["layers"],
            name,
            " ".join(f"{score:.2f}" for score in scores),
        )
    return settings._replace(recipe_settings=values)


def with_encoder(settings: FeatureSettings, data_dir: Path) -> FeatureSettings:
    """The settings with the place of a pretrained encoder's files and the digest of its weights.

    Raises:
      InputError: the encoder cannot be used.
    """
    if settings.recipe_name not in PRETRAINED_RECIPES:
        return settings
    values: dict[str, Any] = dict(settings.recipe_settings)
    with first_ahead():  # the other processes find what the first one has fetched
        values["encoder"] = find_files(values["encoder"], data_dir)
    values["encoder_digest"] = encoder_digest(
        values["encoder"], values["encoder_digest"], settings.audio.sample_rate_hz
    )
    if values["layers"] != AUTO:
        layer_numbers(values["layers"], layer_count(values["encoder"]), values["encoder"])
    return settings._replace(recipe_settings=values)


def _scores(
    settings: FeatureSettings, source: Corpus, target: Corpus, folder: Path, count: int
) -> list[float]:
    """The agreement of each layer with prosody."""
    scores, by_prosody, prosody = [], None, len(PROSODIC)
    for layer in range(count):
        values = dict(settings.recipe_settings) | {"layers": str(layer), "beside": "prosody"}
        of_layer = settings._replace(recipe_name=PRETRAINED, recipe_settings=values)
        direction = make_direction(
            load_domain(source, of_layer, folder), load_domain(target, of_layer, folder), of_layer
        )
        labels = _one_hot(direction.source, len(settings.emotions))
        of_source, of_target = _vectors(direction.source_frames), _vectors(direction.target_frames)
        if by_prosody is None:
            by_prosody = _label_by_prosody()(
                jax.random.key(0), of_source[:, :prosody], labels, of_target[:, :prosody]
            ).labels
        agreement = layer_agreement(
            of_source[:, prosody:], labels, of_target[:, prosody:], by_prosody
        )
        scores.append(float(agreement))
    return scores


@cache
def _label_by_prosody() -> Callable[..., InitialLabels]:
    """The labels of co-training's first view; compiled once for each size of the domains."""
    initial_labels = METHODS["co_training"](rounds=0, least_share=0.0).initial_labels
    assert initial_labels is not None
    return jax.jit(initial_labels)


def _vectors(frames: Any) -> jax.Array:
    """The normalised features of all utterances of a vector recipe, [n, values] float32."""
    assert isinstance(frames, Frames)
    return take_vectors(frames, jnp.arange(len(frames.length)))


def _one_hot(domain: Domain, classes: int) -> jax.Array:
    """The labels of a domain as [n, classes]; zeros if an utterance is unlabelled."""
    return jax.nn.one_hot(jnp.asarray(domain.emotion), classes)
