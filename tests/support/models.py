"""Recognisers with random parameters, and voiced signals for them."""

from typing import Any

import jax
import numpy as np

from jdann import features
from jdann.configuration import base_config, to_dict
from jdann.data import normalise
from jdann.inference import model
from jdann.models import make_encoder
from jdann.selection.familiarity import Familiarity

LABELS = ("neutral", "happy", "angry", "sad", "surprise")
RECIPES = {"conv1d": "frames", "mlp": "statistics", "resnet50": "frames"}


def make_model(
    encoder: str = "conv1d",
    members: int = 2,
    by: str = "speaker",
    recipe: str | None = None,
    rate_hz: int = 16000,
) -> model.Model:
    """A model with random parameters and plausible normalisation."""
    config = base_config()
    config.encoder.name, config.encoder.channels, config.encoder.strides = encoder, (8, 8), (2, 1)
    config.audio.speech_only = False  # most tests recognise tones
    config.features.recipe, config.features.normalise = recipe or RECIPES[encoder], by
    config.audio.sample_rate_hz = rate_hz
    module = make_encoder(encoder, config.encoder)
    recipe_name = config.features.recipe
    extract = features.recipe.make_recipe(recipe_name, config.features, rate_hz).extract
    signals = np.stack([speech(2.0, 100 + 25 * i, i, rate_hz) for i in range(8)])
    values, frames = jax.jit(extract)(signals, np.full(8, signals.shape[1]))
    rows = np.asarray(values)
    rows = rows.reshape(-1, rows.shape[-1])  # [utterances or utterances * frames, bins]
    fitted = normalise.fit([rows], ["all"])

    def make_member(seed: int):
        key = jax.random.key(seed)
        variables = module.init(key, values, frames, False)
        width = module.apply(variables, values, frames, False)["representation"].shape[-1]
        kernel = np.asarray(jax.random.normal(key, (width, 5)) / np.sqrt(width), np.float32)
        return {
            "encoder": {"batch_stats": {}, **variables},
            "classifier": {"kernel": kernel, "bias": np.zeros(5, np.float32)},
        }

    all_members = [jax.device_get(make_member(seed)) for seed in range(members)]
    variables = jax.tree.map(lambda *arrays: np.stack(arrays), *all_members)
    card = _make_card(encoder, members, fitted.mean.shape[1], config)
    adaptation = model.Adaptation(fitted.mean, fitted.std, np.zeros((1, 0), np.float32))
    return model.Model(variables, adaptation, card)


def make_model_of_vectors(members: int = 2, values: int = 6, seed: int = 0) -> model.Model:
    """A small model with every part, which takes vectors of some values instead of audio."""
    rng = np.random.default_rng(seed)
    classes, width, directions = len(LABELS), 4, 2

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    layer = {"kernel": draw(members, values, width), "bias": draw(members, width)}
    scale = {"scale": draw(members, width), "bias": draw(members, width)}
    moments = {"mean": draw(members, width), "var": np.ones((members, width), np.float32)}
    variables = {
        "encoder": {
            "params": {"Dense_0": layer, "BatchNorm_0": scale},
            "batch_stats": {"BatchNorm_0": moments},
        },
        "classifier": {"kernel": draw(members, width, classes), "bias": draw(members, classes)},
    }
    mean, std, one = draw(1, values), np.exp(draw(1, values)), np.ones(1, np.float32)
    adaptation = model.Adaptation(mean, std, np.zeros((1, 0), np.float32))
    rows = draw(50, values)
    reference = model.Reference(draw(classes, values), np.cov(rows.T), np.ones(classes, bool))
    reference = reference._replace(covariance=reference.covariance.astype(np.float32))
    columns = np.linalg.qr(draw(values, directions)).Q
    variance = np.ones(directions, np.float32)
    familiarity = Familiarity(
        draw(values), np.exp(draw(values)), columns, variance, rest=one, limit=10 * one
    )
    config = base_config()
    config.features.recipe, config.features.vector_size = "vectors", values
    config.encoder.hidden, config.encoder.batch_norm = (width,), True
    card = _make_card("mlp", members, values, config)
    return model.Model(variables, adaptation, card, reference, familiarity)


def _make_card(encoder: str, members: int, values: int, config: Any) -> dict[str, Any]:
    """The card of a model, as a run writes it."""
    return {
        "labels": list(LABELS),
        "method": "dann",
        "encoder": encoder,
        "direction": 0,
        "order": 1,
        "temperature": 1.5,
        "source": {"name": "a", "description": "corpus a"},
        "target": {"name": "b", "description": "corpus b"},
        "members": [{"split": "all", "seed": seed} for seed in range(members)],
        "seeds": list(range(members)),
        "values": values,
        "config": to_dict(config),
        "versions": {"jdann": "0"},
        "date": "2026-01-01",
    }


def speech(
    seconds: float, pitch_hz: float = 180.0, seed: int = 0, rate_hz: int = 16000
) -> np.ndarray:
    """A voiced signal, [samples] float32."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    phase = 2 * np.pi * np.cumsum(pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 3 * t))) / rate_hz
    wave = sum(np.sin(k * phase) / k for k in range(1, 8)) * (1 + 0.6 * np.sin(2 * np.pi * 2 * t))
    return (0.1 * wave + 0.003 * np.random.default_rng(seed).normal(size=len(t))).astype(np.float32)
