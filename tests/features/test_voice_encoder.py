"""The speaker encoder: PyTorch's LSTM, padding, and the file of its weights."""

import io
import pickle
from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdann.errors import InputError
from jdann.features import make_recipe, voice_encoder
from tests.support.models import speech


def draw_weights() -> dict[str, np.ndarray]:
    """Random weights with the names and shapes of the file."""
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(3):
        shapes[f"lstm.weight_ih_l{i}"] = (1024, 40 if i == 0 else 256)
        shapes[f"lstm.weight_hh_l{i}"] = (1024, 256)
        shapes[f"lstm.bias_ih_l{i}"] = shapes[f"lstm.bias_hh_l{i}"] = (1024,)
    shapes["linear.weight"], shapes["linear.bias"] = (256, 256), (256,)
    return {name: rng.normal(0, 0.06, shape).astype(np.float32) for name, shape in shapes.items()}


WEIGHTS = draw_weights()
VARIABLES = voice_encoder._as_variables(WEIGHTS)


def vector(signal: np.ndarray, n: int) -> np.ndarray:
    encode = jax.jit(lambda *inputs: voice_encoder.voice_vector(VARIABLES, *inputs))
    return np.asarray(encode(jnp.asarray(signal, jnp.float32), jnp.int32(n)))


def test_the_network_is_that_of_pytorch():
    """PyTorch's documentation of LSTM, in NumPy and double precision."""
    mel = np.random.default_rng(1).uniform(size=(2, 30, 40))
    x = mel
    for i in range(3):
        state, cell, outputs = np.zeros((2, 256)), np.zeros((2, 256)), []
        for step in range(x.shape[1]):
            gates = (
                x[:, step] @ WEIGHTS[f"lstm.weight_ih_l{i}"].T
                + WEIGHTS[f"lstm.bias_ih_l{i}"]
                + state @ WEIGHTS[f"lstm.weight_hh_l{i}"].T
                + WEIGHTS[f"lstm.bias_hh_l{i}"]
            )
            into, forget, new, out = np.split(gates, 4, axis=1)
            sigmoid = [1 / (1 + np.exp(-gate)) for gate in (into, forget, out)]
            cell = sigmoid[1] * cell + sigmoid[0] * np.tanh(new)
            state = sigmoid[2] * np.tanh(cell)
            outputs.append(state)
        x = np.stack(outputs, 1)
    projected = np.maximum(x[:, -1] @ WEIGHTS["linear.weight"].T + WEIGHTS["linear.bias"], 0)
    expected = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    actual = voice_encoder.VoiceEncoder().apply(VARIABLES, jnp.asarray(mel, jnp.float32))
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("seconds", [0.5, 1.6, 3.0])
def test_padding_changes_nothing_and_the_length_is_one(seconds):
    signal = speech(seconds)
    padded = np.pad(signal, (0, 80000 - len(signal)))
    alone, with_noise = vector(padded[: len(signal) + 160], len(signal)), padded.copy()
    with_noise[len(signal) :] = 1.0  # what lies after the end does not count
    np.testing.assert_allclose(vector(padded, len(signal)), alone, atol=1e-5)
    np.testing.assert_allclose(vector(with_noise, len(signal)), alone, atol=1e-5)
    assert np.linalg.norm(alone) == pytest.approx(1, abs=1e-5)


def test_silence_is_finite():
    assert np.isfinite(vector(np.zeros(16000), 16000)).all()


def test_a_file_with_anything_but_tensors_is_refused():
    file = io.BytesIO()
    for value in (1, 2, {}, OrderedDict(model_state=print)):
        pickle.dump(value, file)
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        voice_encoder._read_tensors(file.getvalue())


def test_the_wheel_is_checked(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        voice_encoder.read_variables(tmp_path / voice_encoder.WHEEL)
    (tmp_path / voice_encoder.WHEEL).write_bytes(b"another file")
    with pytest.raises(InputError, match="pip download --no-deps Resemblyzer==0.1.4"):
        voice_encoder.read_variables(tmp_path / voice_encoder.WHEEL)


def test_the_recipe_names_what_it_needs():
    with pytest.raises(InputError, match="expects 16000"):
        make_recipe("voice_vectors", {"weights": "x.whl"}, 22050)
    with pytest.raises(InputError, match="cannot be read"):
        make_recipe("voice_vectors", {"weights": "x.whl"}, 16000)
