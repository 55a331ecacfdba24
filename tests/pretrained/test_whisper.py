"""Whisper's encoder: PyTorch's states and gradients, padding, precision and memory."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdann.errors import InputError
from jdann.pretrained import whisper
from jdann.pretrained.weights import to_params

REFERENCES = Path(__file__).parent / "references"
SETTINGS = {
    "model_type": "whisper",
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "max_source_positions": 50,
}
STATES = 3
CLIPS = np.load(REFERENCES / "clips.npz")
SAMPLES = jnp.asarray(CLIPS["samples"].astype(np.float32) / 2**15)  # [2, 16000]
LENGTH = jnp.asarray(CLIPS["length"], jnp.int32)  # 5000 and 16000 samples
FRAMES = 16  # of the first clip
ARCHITECTURE = whisper.architecture(SETTINGS)
WEIGHTS = dict(np.load(REFERENCES / "whisper_weights.npz"))
PARAMS = to_params(WEIGHTS, ARCHITECTURE)


def encode(samples=SAMPLES, length=LENGTH, params=PARAMS, **fields):
    module = ARCHITECTURE.module.clone(**fields)
    return jax.jit(module.apply)({"params": params}, samples, length)


def assert_close(actual, expected, relative):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, atol=relative * scale, rtol=0)


def test_published_states_are_those_of_pytorch():
    published = np.load(REFERENCES / "whisper_states.npz")
    encoded = encode(pad_to_window=True)
    assert encoded.length.tolist() == [FRAMES, 50]
    assert len(encoded.states) == ARCHITECTURE.layers == STATES
    for i, state in enumerate(encoded.states):
        expected = published[f"state_{i}"]
        assert_close(state[0, :FRAMES], expected[0, :FRAMES], 1e-5)
        assert_close(state[1], expected[1], 1e-5)


def test_without_padding_a_clip_hears_itself_alone():
    published = np.load(REFERENCES / "whisper_states.npz")
    for i, state in enumerate(encode().states):
        assert_close(state[0, :FRAMES], published[f"alone_{i}"][0], 1e-5)
        assert_close(state[1], published[f"state_{i}"][1], 1e-5)  # it fills the window


@pytest.mark.parametrize("remat", [False, True])
def test_gradients_are_those_of_pytorch(remat):
    weights = jnp.asarray(np.cos(np.arange(50 * 16)).reshape(50, 16), jnp.float32)

    def loss(params):  # that of benchmarks/whisper_references.py
        states = encode(params=params, remat=remat).states
        return sum(((state[1] * weights).sum() for state in states), jnp.zeros(()))

    expected = to_params(dict(np.load(REFERENCES / "whisper_gradients.npz")), ARCHITECTURE)
    actual = jax.grad(loss)(PARAMS)
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-4), actual, expected)


@pytest.mark.parametrize(
    "length, pad_to_window", [(1, False), (320, False), (5000, False), (15990, False), (321, True)]
)
def test_padding_changes_nothing(length, pad_to_window):
    alone = encode(SAMPLES[1:, :length], jnp.asarray([length]), pad_to_window=pad_to_window)
    padded = SAMPLES.at[:, length:].set(jnp.nan)
    together = encode(padded, jnp.asarray([length // 2, length]), pad_to_window=pad_to_window)
    frames = int(alone.length[0])
    assert frames == together.length[1] == -(-length // 320)
    for a, b in zip(alone.states, together.states, strict=True):
        assert a.shape == (1, frames, 16)
        assert_close(b[1, :frames], a[0], 1e-5)
        assert not b[1, frames:].any()


def test_a_clip_without_samples_is_finite():
    encoded = encode(SAMPLES, jnp.asarray([0, 16000]))
    assert encoded.length.tolist() == [0, 50]
    assert all(np.isfinite(state).all() for state in encoded.states)
    gradient = jax.grad(lambda p: sum(s.sum() for s in encode(length=LENGTH * 0, params=p).states))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient(PARAMS)))


def test_bfloat16_is_close_and_sums_are_float32():
    for exact, rounded in zip(encode().states, encode(dtype=jnp.bfloat16).states, strict=True):
        assert rounded.dtype == jnp.float32
        assert_close(rounded, exact, 0.03)
        assert not np.array_equal(rounded, exact)


def test_a_clip_longer_than_the_window_is_refused():
    with pytest.raises(InputError, match=r"at most 1 s at once.*1\.1 s; cut them into windows"):
        encode(jnp.zeros((1, 17600)), jnp.asarray([100]))


def test_files_with_other_prefixes_and_heads_are_read():
    """`WhisperForConditionalGeneration` has a prefix and a head, which the encoder leaves out."""
    renamed = {f"model.{name}": x for name, x in WEIGHTS.items()}
    renamed["proj_out.weight"] = np.zeros((4, 16), np.float32)
    params = to_params(renamed, ARCHITECTURE)
    jax.tree.map(np.testing.assert_array_equal, params, PARAMS)
    with pytest.raises(InputError, match="conv2.bias"):
        to_params({k: x for k, x in renamed.items() if "conv2.bias" not in k}, ARCHITECTURE)


def test_defaults_are_those_of_transformers():
    tiny = whisper.architecture({"model_type": "whisper"})
    assert (tiny.layers, tiny.width, tiny.samples_per_frame) == (5, 384, 320)
    assert tiny.module.config == whisper.WhisperConfig(80, 384, 4, 6, 1536, 1500)


@pytest.mark.parametrize(
    "key, value",
    [
        ("d_model", 0),
        ("encoder_layers", "4"),
        ("encoder_attention_heads", 5),
        ("max_source_positions", None),
        ("num_mel_bins", True),
        ("activation_function", "relu"),
        ("activation_function", ["gelu"]),
    ],
)
def test_impossible_settings_are_named(key, value):
    with pytest.raises(InputError, match=key):
        whisper.architecture({**SETTINGS, key: value})


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of torch
def test_whisper_base_has_the_states_of_pytorch():
    """Random weights of full size, on clips of .1 to 30 s."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    size = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8}
    config = transformers.WhisperConfig(
        **size, encoder_ffn_dim=2048, decoder_layers=1, decoder_attention_heads=8
    )
    network = transformers.WhisperModel(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    architecture = whisper.architecture(config.to_dict())
    tensors = {name: x.numpy() for name, x in network.state_dict().items()}
    params = to_params(tensors, architecture)
    extract = transformers.WhisperFeatureExtractor()
    apply = jax.jit(architecture.module.clone(pad_to_window=True).apply)
    random = np.random.default_rng(0)
    for seconds in (0.1, 1.0, 3.3, 20.0, 30.0):
        clip = random.normal(0, 0.1, int(16000 * seconds)).astype(np.float32)
        mel = extract(clip, sampling_rate=16000, return_tensors="pt").input_features
        with torch.no_grad():
            expected = network.encoder(mel, output_hidden_states=True).hidden_states
        actual = apply({"params": params}, clip[None], jnp.asarray([len(clip)]))
        for ours, theirs in zip(actual.states, expected, strict=True):
            assert_close(ours, theirs[:, : ours.shape[1]].numpy(), 1e-4)
