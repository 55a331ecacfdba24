"""Smart-turn: the clip at the end of the window, the names of its weights, and its file."""

import hashlib
import zipfile
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdann.errors import InputError
from jdann.pretrained import smart_turn
from jdann.pretrained.onnx_weights import read_graph
from jdann.pretrained.whisper import WhisperConfig, WhisperEncoder
from tests.support.models import speech
from tests.support.onnx_files import model, node, tensor

CONFIG = WhisperConfig(mels=80, width=16, blocks=2, heads=2, hidden=24, positions=50)
WINDOW = 16000  # samples
SIGNAL = np.asarray(speech(1.0), np.float32)


@pytest.fixture(scope="module")
def params():
    module = smart_turn.SmartTurnEncoder(CONFIG)
    init = jax.jit(module.init)
    return init(jax.random.key(0), jnp.zeros((1, 320)), jnp.asarray([320]))["params"]


def encode(params, samples, length, **fields):
    module = smart_turn.SmartTurnEncoder(CONFIG, **fields)
    return jax.jit(module.apply)({"params": params}, jnp.asarray(samples), jnp.asarray(length))


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("length", [3300, 16000])
def test_a_clip_is_heard_at_the_end_of_the_window(params, length):
    """The silence is put before the clip by hand, and Whisper's encoder hears the whole window."""
    window = np.pad(SIGNAL[:length], (WINDOW - length, 0)).astype(np.float64)
    window = (window - window.mean()) / np.sqrt(window.var() + 1e-7)
    whisper = WhisperEncoder(CONFIG, pad_to_window=True)
    inputs = jnp.asarray(window[None], jnp.float32), jnp.asarray([WINDOW])
    expected = jax.jit(whisper.apply)({"params": params}, *inputs)
    samples = np.full((1, 9000 if length < 9000 else WINDOW), np.nan, np.float32)
    samples[0, :length] = SIGNAL[:length]
    published = encode(params, samples, [length], pad_to_window=True)
    masked = encode(params, samples, [length])
    frames = -(-length // 320)
    assert published.length.tolist() == masked.length.tolist() == [frames]
    for actual, states in zip(published.states, expected.states, strict=True):
        assert_close(actual[0, :frames], states[0, -frames:])
    # Without the silence only the later states of a short clip are different.
    assert_close(masked.states[0], published.states[0])
    same = np.allclose(masked.states[1], published.states[1], atol=1e-4)
    assert same == (length == WINDOW)


@pytest.mark.parametrize("length", [1, 3300, 6400])
def test_padding_changes_nothing(params, length):
    alone = encode(params, SIGNAL[None, :length], [length])
    padded = np.full((2, WINDOW), np.nan, np.float32)
    padded[:, :length] = SIGNAL[:length]
    together = encode(params, padded, [0, length])
    frames = int(alone.length[0])
    assert together.length.tolist() == [0, frames]
    for a, b in zip(alone.states, together.states, strict=True):
        assert_close(b[1, :frames], a[0])
        assert not b[1, frames:].any() and not b[0].any()


def test_a_clip_longer_than_the_window_is_refused(params):
    with pytest.raises(InputError, match="at most 1 s at once"):
        encode(params, np.zeros((1, 16001), np.float32), [100])


def dense(random, name, source, bias=None):
    """A dense layer as it stands in the file: rounded weight, product, rounding, bias."""
    weight = random.integers(-100, 100, (3, 3)).astype(np.int8)
    parts = [
        tensor(f"{name}_quantized", weight),
        tensor(f"{name}_scale", np.float32([0.1, 0.2, 0.3])),
        tensor(f"{name}_zero", np.int8([0, 0, 0])),
        node(
            "DequantizeLinear",
            (f"{name}_quantized", f"{name}_scale", f"{name}_zero"),
            f"{name}_float",
            axis=1,
        ),
        node("MatMul", (source, f"{name}_float"), f"{name}_product"),
        node("QuantizeLinear", (f"{name}_product", "scale", "zero"), f"{name}_rounded"),
        node("DequantizeLinear", (f"{name}_rounded", "scale", "zero"), f"{name}_back"),
    ]
    if bias:
        parts.append(tensor(bias, np.zeros(3, np.float32)))
        parts.append(node("Add", (f"{name}_back", bias), f"{name}_sum"))
    return parts, weight * np.float32([0.1, 0.2, 0.3])


def test_weights_without_names_are_found_by_their_biases():
    random = np.random.default_rng(0)
    prefix = "encoder.layers.7."
    layers = {  # in the file: (its input, its published name)
        "val_3": ("normed", "self_attn.k_proj"),
        "val_1": ("normed", "self_attn.q_proj"),
        "val_2": ("normed", "self_attn.v_proj"),
        "val_5": ("mixed", "fc1"),
        "val_9": ("end", ""),  # of the head
    }
    parts, expected = [tensor("scale", np.float32(1)), tensor("zero", np.uint8(0))], {}
    for name, (source, published) in layers.items():
        has_bias = published and "k_proj" not in published
        bias = f"inner.{prefix}{published}.bias" if has_bias else None
        made, weight = dense(random, name, source, bias)
        parts += made
        if published:
            expected[f"{prefix}{published}.weight"] = weight.T
        if has_bias:
            expected[f"{prefix}{published}.bias"] = np.zeros(3)
    tensors = smart_turn.read_tensors(read_graph(model(*parts)))
    assert tensors.keys() == expected.keys()
    for name, weight in expected.items():
        np.testing.assert_array_equal(tensors[name], weight)
    weights = [weight for name, weight in expected.items() if name.endswith("weight")]
    assert all(not np.array_equal(a, b) for a, b in pairwise(weights))


def test_the_file_is_checked(tmp_path):
    file = tmp_path / smart_turn.WHEEL.file
    with pytest.raises(InputError, match="cannot be read"):
        smart_turn.read_encoder(file)
    file.write_bytes(b"another file")
    with pytest.raises(InputError, match="pip download --no-deps pipecat-ai==1.14.0"):
        smart_turn.read_encoder(file)
    for member in ("other", smart_turn.MEMBER):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(member, b"another file")
        with pytest.raises(InputError, match="this is not pipecat_ai"):
            smart_turn.read_encoder(file)


def test_an_installed_package_is_used_if_its_file_is_the_same(tmp_path, monkeypatch):
    information = tmp_path / "pipecat_ai-9.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: pipecat-ai\nVersion: 9\n")
    installed = tmp_path / smart_turn.MEMBER
    installed.parent.mkdir(parents=True)
    installed.write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    data_dir = tmp_path / "data"
    with pytest.raises(InputError, match="cannot be fetched; put pipecat_ai-1.14.0"):
        smart_turn.find_or_fetch(data_dir)
    wheel = data_dir / "jdann" / "encoders" / smart_turn.WHEEL.file
    wheel.touch()
    assert smart_turn.find_or_fetch(data_dir) == wheel
    digest = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr(smart_turn, "MEMBER_SHA256", digest)
    assert smart_turn.find_or_fetch(data_dir) == installed
