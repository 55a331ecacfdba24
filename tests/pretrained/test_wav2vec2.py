"""wav2vec 2.0, HuBERT and data2vec-audio have the numbers of transformers."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdann.errors import InputError
from jdann.pretrained.wav2vec2 import architecture
from jdann.pretrained.weights import to_params
from tests.support.encoders import (
    check_gradients,
    check_states,
    gradients,
    hidden_states,
    load_clips,
    load_reference,
    relative_difference,
)
from tests.support.full_encoders import LARGE, compare_with_transformers

NAMES = ("wav2vec2_base", "wav2vec2_large", "hubert_base", "hubert_large", "data2vec_base")


@pytest.mark.parametrize("name", NAMES)
def test_states_of_a_padded_batch_are_those_of_transformers(name):
    check_states(load_reference(name))


@pytest.mark.parametrize(
    "name",
    ["wav2vec2_base", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])],
)
def test_gradients_of_a_padded_clip_are_those_of_pytorch(name):
    check_gradients(load_reference(name))


def test_a_clip_shorter_than_the_receptive_field_has_one_frame():
    reference = load_reference("wav2vec2_large")
    short = load_clips()[0][:150]
    result = hidden_states(reference, [short, short[:0]])
    assert result.length.tolist() == [1, 1]
    assert all(np.isfinite(state).all() for state in result.states)
    # Without normalisation, the clip is the same as one that zeros continue.
    config = reference.architecture.module.config._replace(normalise_samples=False)
    continued = np.pad(short, (0, 250))
    for state in hidden_states(reference, [short, continued], config=config).states:
        np.testing.assert_allclose(state[0, 0], state[1, 0], rtol=1e-5, atol=1e-6)


def test_bfloat16_is_close_and_its_states_are_float32():
    reference = load_reference("hubert_large")
    exact = hidden_states(reference, load_clips()).states
    rounded = hidden_states(reference, load_clips(), dtype=jnp.bfloat16).states
    for state, expected in zip(rounded, exact, strict=True):
        assert state.dtype == jnp.float32
        assert 1e-5 < relative_difference(state, expected) < 0.03


@pytest.mark.slow
def test_remat_changes_no_gradient():
    reference = load_reference("hubert_base")
    kept, again = gradients(reference), gradients(reference, remat=True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), kept, again)


def test_files_with_heads_and_with_older_names_are_read():
    reference = load_reference("hubert_base")
    older = {"original0": "weight_g", "original1": "weight_v"}
    tensors = {
        "hubert."
        + re.sub(r"parametrizations\.weight\.(\w+)", lambda match: older[match[1]], name): tensor
        for name, tensor in reference.tensors.items()
    }
    heads = ("lm_head.weight", "lm_head.bias", "classifier.weight", "projector.bias")
    tensors |= dict.fromkeys((*heads, "layer_weights", "quantizer.codevectors"), np.zeros(3))
    params = to_params(tensors, reference.architecture)
    jax.tree.map(np.testing.assert_array_equal, params, reference.params)


def test_missing_settings_are_those_of_the_base_network():
    network = architecture({"model_type": "hubert"})
    assert (network.layers, network.width, network.samples_per_frame) == (13, 768, 320)
    assert not network.module.config.normalise_samples
    assert architecture({"model_type": "data2vec-audio"}).module.config.normalise_samples


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "wav2vec2-conformer"),
        ("hidden_act", "relu"),
        ("feat_extract_activation", "gelu_new"),
        ("feat_extract_norm", "batch"),
        ("add_adapter", True),
        ("adapter_attn_dim", 16),
        ("conv_pos_batch_norm", True),
        ("conv_bias", "yes"),
        ("do_normalize", 1),
        ("hidden_size", 0),
        ("hidden_size", 768.0),
        ("num_attention_heads", 7),
        ("num_conv_pos_embedding_groups", 5),
        ("layer_norm_eps", "1e-5"),
        ("conv_dim", 512),
        ("conv_stride", [5, 2, -2, 2, 2, 2, 2]),
    ],
)
def test_a_setting_that_the_network_does_not_know_is_named(key, value):
    with pytest.raises(InputError, match=rf"config\.json: {key} is .*{re.escape(str(value))}"):
        architecture({"model_type": "hubert", key: value})


def test_lists_of_different_lengths_are_named():
    with pytest.raises(InputError, match="conv_dim 2, conv_kernel 7, conv_stride 7"):
        architecture({"model_type": "hubert", "conv_dim": [8, 8]})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("Hubert", {}),
        ("Wav2Vec2", {}),
        ("Data2VecAudio", {}),
        ("Hubert", LARGE),
        ("Wav2Vec2", LARGE),
    ],
)
def test_full_networks_have_the_states_of_transformers(family, settings):
    compare_with_transformers(family, settings)
