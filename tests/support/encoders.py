"""Tiny random speech encoders with what transformers computed by them.

`benchmarks/encoder_references.py` wrote the files.
"""

import importlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from jdann.pretrained.contract import Architecture, HiddenStates
from jdann.pretrained.weights import to_params

FOLDER = Path(__file__).parents[1] / "pretrained" / "references"
CLIPS = 3
MODULES = {"wavlm": "wavlm"}  # of the families that have a module of their own


class Reference(NamedTuple):
    """A network, its weights, and the numbers of transformers."""

    architecture: Architecture
    params: dict[str, Any]
    outputs: dict[str, np.ndarray]
    settings: dict[str, Any]
    tensors: dict[str, np.ndarray]  # the weights by their published names


def make_architecture(settings: dict[str, Any]) -> Architecture:
    """Calls `architecture` of the module for the family."""
    module = MODULES.get(settings["model_type"], "wav2vec2")
    return importlib.import_module(f"jdann.pretrained.{module}").architecture(settings)


def load_reference(name: str) -> Reference:
    """Reads one folder of the references."""
    folder = FOLDER / name
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architecture = make_architecture(settings)
    tensors = load_file(folder / "model.safetensors")
    with np.load(folder / "outputs.npz") as outputs:
        return Reference(
            architecture, to_params(tensors, architecture), dict(outputs), settings, tensors
        )


def load_clips(kind: str = "clip") -> list[np.ndarray]:
    """The clips [samples] float32 of the references, or with kind "normalised" those."""
    with np.load(FOLDER / "noise.npz") as noise:
        return [noise[f"{kind}_{i}"].astype(np.float32) for i in range(CLIPS)]


def padded(clips: list[np.ndarray], samples: int = 0) -> tuple[jax.Array, jax.Array]:
    """The clips as one batch whose padding is NaN, of at least `samples`; and their lengths."""
    length = [len(clip) for clip in clips]
    batch = np.full((len(clips), max(*length, samples)), np.nan, np.float32)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    return jnp.asarray(batch), jnp.asarray(length, jnp.int32)


def hidden_states(reference: Reference, clips: list[np.ndarray], **fields: Any) -> HiddenStates:
    """What the network says about a padded batch; `fields` change those of its module."""
    module = reference.architecture.module.clone(**fields)
    return jax.jit(module.apply)({"params": reference.params}, *padded(clips))


def relative_difference(a: Any, b: Any) -> float:
    """The norm of a - b, divided by the norm of b."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def check_states(reference: Reference) -> None:
    """Compares a padded batch with transformers' states of each clip alone."""
    result = hidden_states(reference, load_clips())
    assert len(result.states) == reference.architecture.layers
    for layer, state in enumerate(result.states):
        for clip, frames in enumerate(np.asarray(result.length)):
            expected = reference.outputs[f"state_{layer}_of_{clip}"]
            assert expected.shape == (frames, reference.architecture.width)
            assert relative_difference(state[clip, :frames], expected) < 1e-5
            assert not np.any(state[clip, frames:])


def gradients(reference: Reference, remat: bool = False) -> tuple[Any, jax.Array]:
    """Gradients of the mean of all squared states of clip 1, of the params and of the samples.

    The clip is padded. It has been normalised where the network normalises clips, and this network
    then takes it as it is.
    """
    module = reference.architecture.module
    normalises = module.config.normalise_samples
    clip = load_clips("normalised" if normalises else "clip")[1]
    module = module.clone(config=module.config._replace(normalise_samples=False), remat=remat)
    samples, length = padded([clip], len(clip) + 1000)

    def loss(params, samples):
        result = module.apply({"params": params}, samples, length)
        valid = result.length[0].astype(jnp.float32) * reference.architecture.width
        return sum(jnp.square(state).sum() for state in result.states) / valid

    params, samples = jax.jit(jax.grad(loss, (0, 1)))(reference.params, samples)
    assert not np.any(samples[0, len(clip) :])
    return params, samples[0, : len(clip)]


def check_gradients(reference: Reference) -> None:
    """Compares gradients of a padded clip with those of PyTorch."""
    of_params, of_samples = gradients(reference)
    expected = reference.outputs
    kernel = of_params["frames"]["features"]["layer_0"]["kernel"].transpose(2, 1, 0)
    key = of_params["transformer"]["block_0"]["attention"]["key"]["kernel"].T
    convolution_name = "gradient_of_feature_extractor.conv_layers.0.conv.weight"
    key_name = "gradient_of_encoder.layers.0.attention.k_proj.weight"
    assert relative_difference(of_samples, expected["gradient_of_heard"]) < 1e-4
    assert relative_difference(kernel, expected[convolution_name]) < 1e-4
    assert relative_difference(key, expected[key_name]) < 1e-4
