"""Published weights become params exactly, or one sentence says what is wrong with them."""

import json
import pickle

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jdann.errors import InputError
from jdann.pretrained.weights import read_tensors, to_params
from tests.support.tiny_encoder import (
    HOP,
    SETTINGS,
    architecture,
    random_tensors,
    write_encoder,
    write_shards,
)

TINY = architecture(SETTINGS)


def refusal(call, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


@pytest.mark.parametrize("prefix", ["", "tiny."])
def test_the_network_computes_what_the_published_matrices_say(prefix):
    tensors = random_tensors(prefix=prefix)
    params = to_params(tensors, TINY)
    samples = np.random.default_rng(1).standard_normal((2, 3 * HOP)).astype(np.float32)
    states = TINY.module.apply({"params": params}, samples, jnp.full((2,), 3 * HOP)).states
    expected = samples.reshape(2, 3, HOP) @ tensors[f"{prefix}projection.weight"].T
    np.testing.assert_allclose(states[0], expected, rtol=1e-4, atol=1e-4)
    for i in range(2):
        expected = np.tanh(np.asarray(states[i]) @ tensors[f"{prefix}layers.{i}.weight"].T)
        np.testing.assert_allclose(states[i + 1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16], ids=str)
def test_each_floating_point_type_is_read_as_float32(tmp_path, dtype):
    tensors = {name: tensor.astype(dtype) for name, tensor in random_tensors().items()}
    params = to_params(read_tensors(write_encoder(tmp_path, tensors)), TINY)
    kernel = params["layer_1"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, tensors["layers.1.weight"].astype(np.float32).T)


def test_shards_equal_one_file(tmp_path):
    tensors = random_tensors()
    one = read_tensors(write_encoder(tmp_path / "one", tensors))
    shards = read_tensors(write_shards(tmp_path / "shards", tensors))
    assert sorted(one) == sorted(shards) == sorted(tensors)
    for name in tensors:
        np.testing.assert_array_equal(one[name], shards[name])


def test_what_the_architecture_ignores_is_not_even_read(tmp_path):
    unreadable = {"decoder.steps": np.ones(3, np.int64)}
    tensors = read_tensors(write_encoder(tmp_path, random_tensors() | unreadable))
    assert "int64" not in str(to_params(tensors, TINY))
    assert "decoder.steps has the type I64" in refusal(tensors.__getitem__, "decoder.steps")


def without(name):
    return {key: tensor for key, tensor in random_tensors().items() if key != name}


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        (without("layers.1.weight"), ["missing: layers.1.weight"]),
        (without("projection.weight"), ["missing: projection.weight"]),
        (random_tensors() | {"head.weight": np.ones(3)}, ["not known: head.weight"]),
        (random_tensors() | {"layers.2.weight": np.ones((6, 6))}, ["not known: layers.2.weight"]),
        (
            random_tensors() | {"tiny.layers.1.weight": np.ones((6, 6))},
            ["not known: tiny.layers.1.weight"],
        ),
        (
            without("layers.0.weight") | {"head.weight": np.ones(3)},
            ["missing: layers.0.weight", "not known: head.weight"],
        ),
        (random_tensors() | {"layers.1.weight": np.ones((6, 5))}, ["[6, 6]", "[6, 5]"]),
        (random_tensors() | {"layers.1.weight": np.ones((6, 6, 1))}, ["[6, 6]", "[6, 6, 1]"]),
        (random_tensors() | {"projection.weight": np.ones((HOP, 6))}, ["[6, 320]", "[320, 6]"]),
        (random_tensors() | {"layers.1.weight": np.float32(1)}, ["[6, 6]", "found []"]),
        (random_tensors() | {"layers.1.weight": np.full((6, 6), np.inf)}, ["not finite"]),
        (random_tensors() | {"layers.1.weight": np.full((6, 6), np.nan)}, ["not finite"]),
        (
            random_tensors() | {f"head.{i}": np.ones(1) for i in range(9)},
            ["head.0, head.1, head.2 and 6 more"],
        ),
        ({"head.0": np.ones(1), "head.1": np.ones(1)}, ["missing: layers.0.weight, layers.1"]),
        ({}, ["2 blocks", "0 tensors"]),
    ],
)
def test_tensors_that_do_not_fit_are_named(tensors, says):
    message = refusal(to_params, tensors, TINY)
    for text in says:
        assert text in message


def test_an_absurd_number_of_blocks_is_refused_before_the_network_is_made():
    many = architecture(SETTINGS | {"num_hidden_layers": 10**9})
    assert "1000000000 blocks" in refusal(to_params, random_tensors(), many)


def damage(folder, name, data):
    (folder / name).unlink(missing_ok=True)
    if data is not None:
        (folder / name).write_bytes(data)


WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n"


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("config.json", None, "config.json is missing"),
        ("config.json", b'{"model_type": ', "config.json is damaged"),
        ("config.json", b"\xff\xfe", "config.json is damaged"),
        ("config.json", b"", "config.json is damaged"),
        ("config.json", b"[" * 100_000, "config.json is damaged"),
        ("config.json", b"[1, 2]", "expected a JSON object, found [1, 2]"),
        (WHOLE, None, "has no model.safetensors"),
        (WHOLE, b"", "model.safetensors is damaged"),
        (WHOLE, b"\x00" * 100, "model.safetensors is damaged"),
        (WHOLE, b"PK\x03\x04" * 100, "model.safetensors is damaged"),
        (WHOLE, POINTER, "git lfs pull"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, data, says):
    folder = write_encoder(tmp_path / "encoder")
    damage(folder, name, data)
    message = refusal(read_tensors, folder)
    assert says in message and str(folder) in message


@pytest.mark.parametrize("kept", [0.01, 0.3, 0.9, 0.9999])
def test_a_truncated_file_is_refused(tmp_path, kept):
    folder = write_encoder(tmp_path)
    data = (folder / WHOLE).read_bytes()
    damage(folder, WHOLE, data[: int(kept * len(data))])
    assert "model.safetensors is damaged or not complete" in refusal(read_tensors, folder)


SHARD = "model-00002-of-00003.safetensors"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda index: index.pop("weight_map"), "expected weight_map"),
        (lambda index: index.update(weight_map={}), "expected weight_map"),
        (lambda index: index.update(weight_map=["a"]), "expected weight_map"),
        (lambda index: index["weight_map"].update(other=SHARD), "lack other"),
        *(
            (
                lambda index, place=place: index["weight_map"].update(other=place),
                "expected the name of a .safetensors file in the same folder",
            )
            for place in (
                f"../{SHARD}",
                f"/tmp/{SHARD}",
                f"a/{SHARD}",
                "..",
                "C:\\a.safetensors",
                "model.bin",
                "a\0.safetensors",
                "",
                7,
                None,
            )
        ),
        (lambda index: index["weight_map"].update(other="none.safetensors"), "none.safetensors is"),
    ],
)
def test_an_index_that_lists_other_files_is_refused(tmp_path, change, says):
    folder = write_shards(tmp_path / "encoder", random_tensors())
    for outside in (tmp_path / SHARD, folder / "a" / SHARD):
        outside.parent.mkdir(exist_ok=True)
        save_file({"other": np.ones(1)}, outside)
    index = json.loads((folder / INDEX).read_text())
    change(index)
    (folder / INDEX).write_text(json.dumps(index))
    assert says in refusal(read_tensors, folder)


@pytest.mark.parametrize("data", [None, b"", POINTER])
def test_a_missing_or_damaged_shard_is_named(tmp_path, data):
    folder = write_shards(tmp_path, random_tensors())
    damage(folder, SHARD, data)
    assert SHARD in refusal(read_tensors, folder)


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    folder = write_shards(tmp_path, random_tensors())
    save_file(random_tensors(), folder / SHARD)
    assert "projection.weight" in refusal(read_tensors, folder)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", WHOLE]
)
def test_a_pickle_is_never_read(tmp_path, name):
    folder = write_encoder(tmp_path / "encoder")
    (folder / WHOLE).unlink()
    (folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    message = refusal(read_tensors, folder)
    assert name in message
    if name != WHOLE:
        assert "save_pretrained" in message
    assert not (tmp_path / "sprung").exists()
    pickle.loads((folder / name).read_bytes()).close()
    assert (tmp_path / "sprung").exists()  # the trap works
