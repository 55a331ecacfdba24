"""A speaker encoder in Flax: one vector per utterance that tells whose voice it is.

The network and its weights are those of Resemblyzer (Apache-2.0), a model of Wan et al. 2018,
"Generalized end-to-end loss for speaker verification". It was trained on English: LibriSpeech,
VoxCeleb 1 and VoxCeleb 2. The weights are read from the package's wheel without PyTorch.
"""

import hashlib
import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jdann.errors import InputError
from jdann.features.spectral import melspectrogram

WHEEL = "Resemblyzer-0.1.4-py3-none-any.whl"
WHEEL_SHA256 = "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f"
SAMPLE_RATE_HZ = 16000
VALUES = 256  # of a voice vector
_LAYERS = 3
_N_FFT, _HOP, _MELS = 400, 160, 40  # samples, samples, bands
_WINDOW = 160  # frames: the encoder hears 1.6 s at once
_STEP = 77  # frames between windows
_LOWEST_RMS = 10 ** (-30 / 20)  # relative to full scale; softer utterances are amplified to it
_MEMBER = "resemblyzer/pretrained.pt"


class VoiceEncoder(nn.Module):
    """Three LSTM layers; the last state of the last layer is projected to the unit sphere."""

    @nn.compact
    def __call__(self, mel: jax.Array) -> jax.Array:
        """From mel power [windows, frames, 40] to vectors [windows, 256] of length 1."""
        x: Any = mel
        for i in range(_LAYERS):
            with jax.numpy_rank_promotion("allow"):  # Flax adds a bias [4 * 256] to [..., 4 * 256]
                x = nn.RNN(nn.OptimizedLSTMCell(VALUES, name=f"layer_{i}"))(x)
        x = nn.relu(nn.Dense(VALUES, name="projection")(x[:, -1]))
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-9)


def voice_vector(variables: Any, signal: jax.Array, n_samples: jax.Array) -> jax.Array:
    """The voice vector of one utterance: the mean over windows, scaled to length 1.

    An utterance shorter than a window is repeated. Padding changes nothing.

    Args:
      variables: from `read_variables`.
      signal: float32 [samples] at SAMPLE_RATE_HZ, padded at the end.
      n_samples: int32 [], length of the utterance.

    Returns:
      float32 [256].
    """
    inside = jnp.where(jnp.arange(signal.shape[0]) < n_samples, signal, 0.0)
    rms = jnp.sqrt(jnp.square(inside).sum() / n_samples.astype(jnp.float32))
    scaled = inside * jnp.maximum(_LOWEST_RMS / jnp.maximum(rms, 1e-9), 1.0)
    mel = melspectrogram(y=scaled, sr=SAMPLE_RATE_HZ, n_fft=_N_FFT, hop_length=_HOP, n_mels=_MELS).T
    frames = 1 + n_samples // _HOP
    count = 1 + max(math.ceil((mel.shape[0] - _WINDOW) / _STEP), 0)
    start = _STEP * jnp.arange(count)
    index = start[:, None] + jnp.arange(_WINDOW)[None]  # [windows, frames of a window]
    vectors = VoiceEncoder().apply(variables, mel[index % frames])
    heard = ((start == 0) | (start + _WINDOW <= frames)).astype(jnp.float32)  # [windows]
    mean = heard @ jnp.asarray(vectors)
    return mean / jnp.maximum(jnp.linalg.norm(mean), 1e-9)


def read_variables(wheel: Path) -> dict[str, Any]:
    """Reads the encoder's weights as the variables of `VoiceEncoder`.

    Args:
      wheel: the file WHEEL, as from `pip download --no-deps Resemblyzer==0.1.4`.

    Raises:
      InputError: the file is missing, or it is another file.
    """
    try:
        data = wheel.read_bytes()
    except OSError as error:
        raise InputError(
            f"{wheel}: the speaker encoder cannot be read ({error.strerror})"
        ) from None
    if hashlib.sha256(data).hexdigest() != WHEEL_SHA256:
        raise InputError(
            f"{wheel}: this is not {WHEEL}; get it by pip download --no-deps Resemblyzer==0.1.4"
        )
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return _as_variables(_read_tensors(archive.read(_MEMBER)))


def _as_variables(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """PyTorch's names and gates as those of Flax."""
    params: dict[str, Any] = {}
    for i in range(_LAYERS):
        cell: dict[str, Any] = {}
        bias = weights[f"lstm.bias_ih_l{i}"] + weights[f"lstm.bias_hh_l{i}"]
        for gate, rows in zip("ifgo", np.arange(4 * VALUES).reshape(4, VALUES), strict=True):
            cell[f"i{gate}"] = {"kernel": weights[f"lstm.weight_ih_l{i}"][rows].T}
            cell[f"h{gate}"] = {
                "kernel": weights[f"lstm.weight_hh_l{i}"][rows].T,
                "bias": bias[rows],
            }
        params[f"layer_{i}"] = cell
    params["projection"] = {"kernel": weights["linear.weight"].T, "bias": weights["linear.bias"]}
    return {"params": params}


class _Tensor(NamedTuple):
    """A tensor of a saved model, before its values are read."""

    storage: str
    offset: int  # values
    shape: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Reads PyTorch's file format of before 2020, and refuses everything but float tensors."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("torch", "FloatStorage"):
            return "float32"
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")

    def persistent_load(self, pid: Any) -> str:
        return pid[2]  # ("storage", type, key, device, size, view)


def _rebuild(storage: str, offset: int, shape: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, shape)


def _read_tensors(data: bytes) -> dict[str, np.ndarray]:
    """The float tensors of the model in a PyTorch file: five pickles, then the values."""
    file = io.BytesIO(data)
    _magic, _version, _system, saved, keys = (_Unpickler(file).load() for _ in range(5))
    values = {}
    for key in keys:
        count = int(np.frombuffer(file.read(8), "<i8")[0])
        values[key] = np.frombuffer(file.read(4 * count), "<f4")
    return {
        name: values[t.storage][t.offset : t.offset + math.prod(t.shape)].reshape(t.shape)
        for name, t in saved["model_state"].items()
        if isinstance(t, _Tensor)
    }
