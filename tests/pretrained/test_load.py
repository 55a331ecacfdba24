"""A folder becomes an encoder; the same weights have the same digest wherever they lie."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jdann.errors import InputError
from jdann.pretrained import hub, load
from jdann.pretrained.load import load_encoder
from tests.support.tiny_encoder import SETTINGS, random_tensors, write_encoder, write_shards

REFERENCES = Path(__file__).parent / "references"


@pytest.fixture(autouse=True)
def tiny_family(monkeypatch):
    monkeypatch.setitem(load.FAMILIES, "tiny", "tests.support.tiny_encoder")


def digest(folder) -> str:
    return load_encoder(str(folder)).digest


def refusal(folder) -> str:
    with pytest.raises(InputError) as caught:
        load_encoder(str(folder))
    return str(caught.value)


def test_a_folder_becomes_an_encoder(tmp_path):
    tensors = random_tensors()
    encoder = load_encoder(str(write_encoder(tmp_path, tensors)))
    assert encoder.name == str(tmp_path)
    assert (encoder.architecture.family, encoder.architecture.layers) == ("tiny", 3)
    kernel = encoder.params["layer_0"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors["layers.0.weight"].T)


@pytest.mark.parametrize("name", ["hubert_base", "data2vec_base", "wavlm_large"])
def test_kernels_that_are_rounded_once_give_the_same_states(name):
    encoder = load_encoder(str(REFERENCES / name))
    rounded = load.in_bfloat16(encoder)
    kernel = rounded.params["transformer"]["block_0"]["attention"]["query"]["kernel"]
    assert kernel.dtype == jnp.bfloat16
    samples = jax.random.normal(jax.random.key(0), (2, 1600))
    length = jnp.array([1600, 900])
    module = rounded.architecture.module
    expected, found = (
        jax.jit(module.apply)({"params": params}, samples, length)
        for params in (encoder.params, rounded.params)
    )
    for a, b in zip(found.states, expected.states, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_encoder_is_read_once_until_its_files_change(tmp_path):
    first = load_encoder(str(write_encoder(tmp_path)))
    assert load_encoder(str(tmp_path)) is first
    write_encoder(tmp_path, random_tensors(seed=1))
    assert load_encoder(str(tmp_path)).digest != first.digest


def test_encoders_in_the_data_directory_have_the_name_of_the_hub(tmp_path, monkeypatch):
    write_encoder(tmp_path / "jdann" / "encoders" / "some-lab--tiny")
    assert load_encoder("some-lab/tiny", tmp_path).name == "some-lab/tiny"
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert load_encoder("some-lab/tiny").params


@pytest.fixture
def original(tmp_path):
    return digest(write_encoder(tmp_path / "original"))


def test_the_same_weights_elsewhere_have_the_same_digest(tmp_path, original):
    tensors = random_tensors()
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    write_shards(tmp_path / "shards", tensors)
    write_encoder(tmp_path / "prefix", random_tensors(prefix="tiny."))
    write_encoder(tmp_path / "order", dict(reversed(tensors.items())))
    write_encoder(tmp_path / "decoder", tensors | {"decoder.weight": np.ones(3, np.float32)})
    origin = {"_name_or_path": "elsewhere", "transformers_version": "9.0", "dtype": "float32"}
    write_encoder(tmp_path / "origin", settings=dict(reversed(SETTINGS.items())) | origin)
    for name in ("copy", "shards", "prefix", "order", "decoder", "origin"):
        assert digest(tmp_path / name) == original, name


def test_other_weights_or_settings_have_another_digest(tmp_path, original):
    one_bit = random_tensors()
    one_bit["layers.1.weight"].view(np.int32)[0, 0] ^= 1
    swapped = random_tensors()
    swapped["layers.0.weight"], swapped["layers.1.weight"] = (
        swapped["layers.1.weight"],
        swapped["layers.0.weight"],
    )
    rounded = {name: tensor.astype(ml_dtypes.bfloat16) for name, tensor in random_tensors().items()}
    others = [
        digest(write_encoder(tmp_path / f"tensors{i}", tensors))
        for i, tensors in enumerate((one_bit, swapped, rounded))
    ]
    others += [digest(write_encoder(tmp_path / "key", settings=SETTINGS | {"layer_norm_eps": 1}))]
    folder = write_encoder(tmp_path / "normalised")
    for value in ("true", "false"):
        (folder / hub.PREPROCESSOR).write_text(f'{{"do_normalize": {value}}}')
        others.append(digest(folder))
    assert len({original, *others}) == 7


def test_the_preprocessing_reaches_the_architecture(tmp_path):
    folder = write_encoder(tmp_path, settings=SETTINGS | {"do_normalize": True})
    assert load.read_settings(folder)["do_normalize"] is True
    (folder / hub.PREPROCESSOR).write_text('{"do_normalize": false, "hidden_size": 9}')
    assert load.read_settings(folder) == SETTINGS | {"do_normalize": False}
    (folder / hub.PREPROCESSOR).write_text("{}")
    assert load.read_settings(folder)["do_normalize"] is True
    (folder / hub.PREPROCESSOR).write_text("[")
    assert f"{hub.PREPROCESSOR} is damaged" in refusal(folder)


@pytest.mark.parametrize("family", ["bert", "wav2vec2-bert", "", "Hubert", 7, None, ["hubert"]])
def test_other_families_are_refused(tmp_path, family):
    message = refusal(write_encoder(tmp_path, settings=SETTINGS | {"model_type": family}))
    assert repr(family) in message and "wav2vec2, hubert, data2vec-audio, wavlm, whisper" in message


def test_settings_without_a_family_are_refused(tmp_path):
    message = refusal(write_encoder(tmp_path, settings={"hidden_size": 6}))
    assert "model_type is missing" in message and "config.json" in message


@pytest.mark.parametrize(
    "settings",
    [
        {"model_type": "tiny"},
        *({"hidden_size": value} for value in ("6", -6, 0, 7, None, [6], 1.5, 10**30)),
        *({"num_hidden_layers": value} for value in ("2", 1, 3, None, [2], 10**9)),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused_by_the_name_of_their_folder(tmp_path, settings):
    base = {} if "model_type" in settings else SETTINGS
    message = refusal(write_encoder(tmp_path, settings=base | settings))
    assert str(tmp_path) in message and "config.json" in message


def test_tensors_that_do_not_fit_are_refused_by_the_name_of_their_folder(tmp_path):
    folder = write_encoder(tmp_path)
    save_file({"other": np.ones(1)}, folder / "model.safetensors")
    assert str(folder) in refusal(folder)
    write_encoder(tmp_path, random_tensors() | {"head": np.ones(1)})
    message = refusal(folder)
    assert message.startswith(f"{folder}: the weights do not fit the tiny network")


def test_a_folder_that_holds_only_a_pickle_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS))
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert "jdann reads no pickle" in refusal(tmp_path)
