"""Models with random parameters, for `startup.py`: only the time of a prediction matters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import soundfile
from synthetic_speech import synthetic_speech

from jdann.configuration import load_config, to_dict
from jdann.features import make_recipe
from jdann.inference import model
from jdann.models import make_encoder

RATE_HZ, CLIP_S, PAUSE_S = 16000, 3, 2
CLIP, PAUSED_CLIP = "clip.wav", "paused.wav"
FRAMES, CLASSES = 251, 5


def write_models(folder: Path, config_names: Sequence[str], tiny: bool = False) -> None:
    """Writes two clips and, for each config, a model with random parameters."""
    write_clips(folder)
    overrides = [("encoder.channels", "8"), ("encoder.strides", "2")] if tiny else []
    for name in config_names:
        config: Any = load_config(name, overrides)
        random_model = make_random_model(config, seeds=1 if tiny else config.seeds)
        model.save_model(folder / name, random_model)


def write_clips(folder: Path) -> None:
    """Writes speech of 3 s, and the same with a pause, in which speech has to be searched for."""
    clip = synthetic_speech(CLIP_S, np.random.default_rng(0), RATE_HZ)
    noise = 5e-4 * np.random.default_rng(1).normal(size=PAUSE_S * RATE_HZ)
    begin, end = np.split(clip, 2)
    soundfile.write(folder / CLIP, clip, RATE_HZ)
    soundfile.write(folder / PAUSED_CLIP, np.concatenate([begin, noise, end]), RATE_HZ)


def make_random_model(config: Any, seeds: int) -> model.Model:
    """A model of a whole config, as training writes it, with random parameters for each seed."""
    recipe = make_recipe(config.features.recipe, config.features, RATE_HZ)
    bins = len(recipe.bins)
    # [batch, bins] or [batch, frames, bins]
    shape = (1, bins) if recipe.is_vector else (1, FRAMES, bins)
    variables = random_variables(config, shape, seeds)
    std = np.ones((1, bins), np.float32)
    adaptation = model.Adaptation(0 * std, std, np.zeros((1, 0), np.float32))
    card = {
        "labels": list(config.emotions),
        "source": {"name": "random", "description": "random"},
        "target": {"name": "random", "description": "random"},
        "method": "dann",
        "encoder": config.encoder.name,
        "direction": 0,
        "order": 0,
        "temperature": 1.0,
        "config": to_dict(config),
        "seeds": list(range(seeds)),
        "versions": {"jdann": "random"},
        "date": "2026-01-01",
    }
    return model.Model(variables, adaptation, card)


def random_variables(config: Any, shape: tuple[int, ...], seeds: int) -> Any:
    """The variables of encoder and classifier; the first axis of each leaf is the seed."""
    encoder = make_encoder(config.encoder.name, config.encoder)
    inputs = jnp.zeros(shape), jnp.full(1, shape[1])

    def init(key: jax.Array) -> dict[str, Any]:
        variables = encoder.init(key, *inputs, False)
        outputs: Any = encoder.apply(variables, *inputs, False)
        width = outputs["representation"].shape[-1]
        classifier = {"kernel": jnp.ones((width, CLASSES)), "bias": jnp.zeros(CLASSES)}
        return {"encoder": variables, "classifier": classifier}

    keys = jax.random.split(jax.random.key(0), seeds)
    return jax.device_get(jax.jit(jax.vmap(init))(keys))
