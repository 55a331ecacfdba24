"""Which layer of a pretrained encoder the features of a direction are taken from."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from jdann.cluster.processes import first_ahead
from jdann.corpora.index import Corpus
from jdann.data.pairs import FeatureSettings, load_domain
from jdann.features.pretrained_recipes import (
    ALL,
    AUTO,
    PRETRAINED,
    PRETRAINED_RECIPES,
    encoder_digest,
    layer_count,
)

log = logging.getLogger("jdann")


def with_chosen_layer(
    settings: FeatureSettings, source: Corpus, target: Corpus, cache: Path
) -> FeatureSettings:
    """The settings with the number of a layer in place of "auto", and the digest of the encoder.

    No label of the target is used. The layer for frames is that for vectors.

    Args:
      settings: how features are computed.
      source: the labelled corpus.
      target: the corpus to adapt to.
      cache: the folder in which features are kept.

    Raises:
      InputError: the encoder cannot be used.
    """
    if settings.recipe_name not in PRETRAINED_RECIPES:
        return settings
    values: dict[str, Any] = dict(settings.recipe_settings)
    encoder = values["encoder"]
    values["encoder_digest"] = encoder_digest(encoder, values["encoder_digest"])
    if values["layers"] == AUTO:
        vectors = settings._replace(
            recipe_name=PRETRAINED, recipe_settings=values | {"layers": ALL}, speakers="none"
        )
        with first_ahead():
            domains = [load_domain(corpus, vectors, cache) for corpus in (source, target)]
        scores = [_score(*domains, settings=vectors, layer=i) for i in range(layer_count(encoder))]
        values["layers"] = str(int(np.argmax(scores)))
        listed = " ".join(f"{score:.2f}" for score in scores)
        log.info(
            "%s -> %s: layer %s of %s is used, chosen without labels of the target (of each layer "
            "from 0 on: %s)",
            source.name,
            target.name,
            values["layers"],
            encoder,
            listed,
        )
    return settings._replace(recipe_settings=values)
