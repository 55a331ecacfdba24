"""A config's values as the settings that the stages take by name."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jdann.audio import AudioSettings
from jdann.configuration import method_settings
from jdann.corpora.naming import AUTO, Naming, make_naming
from jdann.data.pairs import FeatureSettings
from jdann.errors import InputError
from jdann.features.pretrained_recipes import ENCODER_KEYS
from jdann.features.prosody import begins_with_prosody
from jdann.features.recipe import RECIPES, make_recipe, recipe_sizes
from jdann.methods import make_method
from jdann.parameters import pick, shown
from jdann.pretrained import PRETRAINED, PRETRAINED_RECIPES
from jdann.training.members import SEEDS_IN, Members
from jdann.training.optimisation import OPTIMISERS, OptimiserSettings
from jdann.training.schedules import LEARNING_RATES, STRENGTHS
from jdann.training.state import Hyper, MaskSettings, TrainingSettings


def seeds_of(config: Any) -> tuple[int, ...]:
    """The seeds of a run."""
    return tuple(range(config.seed, config.seed + config.seeds))


def naming_of(config: Any, domain: str) -> Naming:
    """How the names in the corpora of a domain, "source" or "target", are understood.

    A config of an earlier version lacks some of the keys.
    """
    key = f"{domain}_layout"
    layout = config.get(key, config.get("layout", AUTO))
    return make_naming(layout, config.get("labels", ""), f"--config.{key}", "--config.labels")


def encoder_names(config: Any) -> list[str]:
    """The encoders that a config names."""
    return [name.strip() for name in config.encoder.name.split(",")]


def make_members(config: Any) -> Members:
    """One member per seed, each with the config's hyper-parameters."""

    def per_seed(value: float) -> Any:
        return jnp.full(config.seeds, value, jnp.float32)

    optimiser = config.optimiser
    hyper = Hyper(
        learning_rate=per_seed(optimiser.learning_rate),
        weight_decay=per_seed(optimiser.weight_decay),
        strength=per_seed(config.strength.maximum),
    )
    return Members(seeds_of(config), hyper)


def make_training_settings(config: Any) -> TrainingSettings:
    """How to train, whatever the method."""
    augment, optimiser = config.augment, config.optimiser
    return TrainingSettings(
        label_smoothing=config.label_smoothing,
        ema=config.ema,
        crop_frames=augment.crop_frames,
        masks=MaskSettings(*(augment[name] for name in MaskSettings._fields)),
        optimiser=OptimiserSettings(optimiser.name, optimiser.momentum, optimiser.clip_norm),
        learning_rate_schedule=optimiser.schedule,
        warmup_fraction=optimiser.warmup_fraction,
        strength_schedule=config.strength.schedule,
        strength_gamma=config.strength.gamma,
    )


def make_feature_settings(config: Any) -> FeatureSettings:
    """How features are computed and normalised.

    Raises:
      InputError: there is no such recipe, or it uses no encoder and a key of the encoder is given.
    """
    pick(RECIPES, config.features.recipe, "config.features.recipe")
    _check_encoder_keys(config.features)
    return FeatureSettings(
        emotions=tuple(config.emotions),
        recipe_name=config.features.recipe,
        recipe_settings=config.features,
        audio=AudioSettings(**config.audio),
        normalise_by=config.features.normalise,
        relevance=config.features.relevance,
        device_gib=config.features_gib,
        speakers=config.speakers,
        speaker_pattern=config.speaker_pattern,
    )


def _check_encoder_keys(features: Any) -> None:
    """Refuses keys of a pretrained encoder, other than at their defaults, that nothing uses."""
    defaults = recipe_sizes(PRETRAINED)
    for key in ENCODER_KEYS:
        recipes = [name for name in PRETRAINED_RECIPES if key in recipe_sizes(name)]
        value = features.get(key, defaults[key])  # an earlier version lacks some
        if value != defaults[key] and features.recipe not in recipes:
            raise InputError(
                f"config.features.{key} is {shown(value)}, which the recipe {features.recipe!r} "
                f"does not use; set --config.features.recipe to {' or '.join(recipes)}, or leave "
                f"features.{key} out"
            )


def check_recipe(config: Any) -> None:
    """Refuses methods and encoders that cannot use the recipe, before features are computed.

    Raises:
      InputError: names the method or the encoder, and what to set.
    """
    features = config.features
    if features.recipe in PRETRAINED_RECIPES:  # to make one of these loads its encoder
        is_vector = features.recipe == PRETRAINED
        has_prosody = is_vector and features.beside != "none"
    else:
        recipe = make_recipe(features.recipe, features, config.audio.sample_rate_hz)
        is_vector, has_prosody = recipe.is_vector, begins_with_prosody(recipe.bins)
    for method in config.methods:
        if method == "supervised" or has_prosody:
            continue
        if "statistics" in make_method(method, method_settings(config)).needs:
            raise InputError(prosody_missing(method, features))
    if "mlp" in encoder_names(config) and not is_vector:
        vector_recipe = PRETRAINED if features.recipe in PRETRAINED_RECIPES else "statistics"
        raise InputError(
            f"config.encoder.name is 'mlp', which needs one vector per utterance, and the recipe "
            f"{features.recipe!r} gives frames; set --config.features.recipe={vector_recipe}, or "
            "--config.encoder.name=conv1d"
        )


def prosody_missing(method: str, features: Any) -> str:
    """A sentence for a method whose first view is prosody, if the features have none."""
    if features.recipe == PRETRAINED:
        return (
            f"{method} needs prosody as its first view, and config.features.beside is "
            f"{features.beside!r}; set --config.features.beside=prosody (or statistics), or "
            "--config.methods=source_only,mcc"
        )
    return (
        f"{method} needs one vector of statistics per utterance, and features.recipe is "
        f"{features.recipe!r}; set --config.features.recipe=statistics and "
        "--config.encoder.name=mlp"
    )


def features_folder(data_dir: Path) -> Path:
    """Where features are kept."""
    return data_dir / "jdann" / "features"


def check_training_names(config: Any) -> None:
    """Refuses names that no optimiser, schedule or way to train seeds has, before any training.

    Raises:
      InputError: names the key and what can be chosen.
    """
    pick(OPTIMISERS, config.optimiser.name, "config.optimiser.name")
    pick(LEARNING_RATES, config.optimiser.schedule, "config.optimiser.schedule")
    pick(STRENGTHS, config.strength.schedule, "config.strength.schedule")
    pick(dict.fromkeys(SEEDS_IN), config.seeds_in, "config.seeds_in")
