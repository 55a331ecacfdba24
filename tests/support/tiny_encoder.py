"""An encoder of a few kilobytes, with the files that a published one has."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from safetensors.numpy import save_file

from jdann.pretrained.contract import Architecture, HiddenStates, Rule

HOP = 320  # samples per frame
SETTINGS = {"model_type": "tiny", "hidden_size": 6, "num_hidden_layers": 2}


class TinyNetwork(nn.Module):
    """Frames of samples, projected, then one dense layer per block."""

    width: int
    blocks: int

    @nn.compact
    def __call__(self, samples: jax.Array, length: jax.Array) -> HiddenStates:
        frames = samples.shape[1] // HOP
        x = samples[:, : frames * HOP].reshape(samples.shape[0], frames, HOP)
        x = nn.Dense(self.width, use_bias=False, name="projection")(x)
        states = [x]
        for i in range(self.blocks):
            x = jnp.tanh(nn.Dense(self.width, use_bias=False, name=f"layer_{i}")(x))
            states.append(x)
        return HiddenStates(tuple(states), length // HOP)


def architecture(settings) -> Architecture:
    """The tiny network, as each module of a family gives its own."""
    width, blocks = settings["hidden_size"], settings["num_hidden_layers"]
    return Architecture(
        family=settings["model_type"],
        module=TinyNetwork(width, blocks),
        rules=(
            Rule(r"(?:tiny\.)?projection\.weight", "projection/kernel", (1, 0)),
            Rule(r"(?:tiny\.)?layers\.(\d+)\.weight", r"layer_\1/kernel", (1, 0)),
        ),
        ignored=(r"decoder\..*",),
        layers=1 + blocks,
        width=width,
        samples_per_frame=HOP,
    )


def random_tensors(seed: int = 0, prefix: str = "") -> dict[str, np.ndarray]:
    """What a published file holds for SETTINGS, with the axes that PyTorch gives a linear layer."""
    rng = np.random.default_rng(seed)
    width, blocks = SETTINGS["hidden_size"], SETTINGS["num_hidden_layers"]
    shapes = {"projection.weight": (width, HOP)}
    shapes |= {f"layers.{i}.weight": (width, width) for i in range(blocks)}
    return {
        prefix + name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def write_encoder(folder: Path, tensors=None, settings=SETTINGS) -> Path:
    """A folder with config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings))
    save_file(random_tensors() if tensors is None else tensors, folder / "model.safetensors")
    return folder


def write_shards(folder: Path, tensors, settings=SETTINGS) -> Path:
    """A folder with config.json, one file for each tensor, and their index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings))
    shard_of = {}
    for i, (name, tensor) in enumerate(tensors.items(), 1):
        shard_of[name] = f"model-{i:05}-of-{len(tensors):05}.safetensors"
        save_file({name: tensor}, folder / shard_of[name])
    index = {"metadata": {}, "weight_map": shard_of}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
