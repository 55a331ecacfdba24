"""The top blocks of a pretrained encoder: the published network, padding, LoRA, refusals."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jdann.configuration import base_config
from jdann.errors import InputError
from jdann.models import make_encoder
from jdann.models.network import with_weights
from jdann.models.pretrained_top import pretrained_top, with_statistics
from jdann.parameters import defaults
from jdann.pretrained import smart_turn, whisper
from tests.pretrained.test_whisper import REFERENCES, SETTINGS, WEIGHTS
from tests.support.encoders import CLIPS

NAMES = ("wavlm_base", "whisper")
SLOW = ("data2vec_base", "hubert_base", "wav2vec2_large", "wavlm_large")
RANK, LAST = 2, 2  # all references have two blocks


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """A function from the name of a reference to a folder with its files."""
    folder = tmp_path_factory.mktemp("whisper")
    (folder / "config.json").write_text(json.dumps(SETTINGS))
    save_file(WEIGHTS, folder / "model.safetensors")
    return lambda name: str(folder if name == "whisper" else REFERENCES / name)


def make_top(folder, layer=1, blocks=1, rank=0, **settings):
    features = {"recipe": "pretrained_frames", "encoder": str(folder), "layers": str(layer)}
    settings = {"blocks": blocks, "lora_rank": rank, "dropout": 0.5, **settings}
    return make_encoder("pretrained_top", settings, features=features)


def published_states(name, layer):
    """What PyTorch computed: the states [frames, width] of each clip alone."""
    if name == "whisper":
        states = np.load(REFERENCES / "whisper_states.npz")
        return [states[f"alone_{layer}"][0], states[f"state_{layer}"][1]]
    outputs = np.load(REFERENCES / name / "outputs.npz")
    return [outputs[f"state_{layer}_of_{clip}"] for clip in range(CLIPS)]


def batch_of(clips):
    """The clips as one batch whose padding is NaN, and their lengths."""
    length = [len(clip) for clip in clips]
    batch = np.full((len(clips), max(length), clips[0].shape[1]), np.nan, np.float32)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    return batch, jnp.asarray(length)


def pooled(clips):
    """Mean and deviation over time of each clip."""
    return np.stack([np.concatenate([x.mean(0), np.sqrt(x.var(0) + 1e-5)]) for x in clips])


@partial(jax.jit, static_argnums=0)
def run(make, features, length):
    """The variables and the outputs of a new module."""
    outputs, variables = make().init_with_output(jax.random.key(0), features, length, False)
    return variables, outputs


def apply(module, variables, features, length):
    return jax.jit(lambda *batch: module.apply(*batch, False))(variables, features, length)


def assert_close(actual, expected, relative=1e-5):
    np.testing.assert_allclose(actual, expected, atol=relative * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize(
    "name", [*NAMES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_untrained_it_gives_the_states_of_pytorch(name, folder_of):
    for layer, rank in ((0, RANK), (1, 0)):
        batch = batch_of(published_states(name, layer))
        _, outputs = run(partial(make_top, folder_of(name), layer, LAST - layer, rank), *batch)
        assert_close(outputs["pooled"], pooled(published_states(name, LAST)))
        np.testing.assert_array_equal(outputs["representation"], outputs["pooled"])
        if layer == 0:
            for x, expected in zip(outputs["layer1"], published_states(name, 1), strict=True):
                assert_close(x[: len(expected)], expected)
                assert not x[len(expected) :].any()


def test_smart_turn_is_whisper_with_another_front_end():
    architecture = smart_turn.architecture()
    blocks, expected = architecture.blocks, whisper.describe_blocks(smart_turn.CONFIG)
    assert blocks.scope == expected.scope
    assert blocks.block(parent=None) == expected.block(parent=None)
    assert blocks.norm(parent=None) == expected.norm(parent=None)


@pytest.mark.parametrize(
    ("name", "rank"),
    [("wavlm_large", RANK), pytest.param("whisper", 0, marks=pytest.mark.slow)],
)
def test_padding_changes_nothing(name, rank, folder_of):
    module = make_top(folder_of(name), rank=rank)
    rng = np.random.default_rng(0)
    width = module.mean.shape[0]
    features = rng.standard_normal((3, 9, width)).astype(np.float32)
    length = jnp.asarray([9, 1, 5])
    longer = np.full((3, 15, width), np.nan, np.float32)
    for row, clip, n in zip(longer, features, length, strict=True):
        row[:n] = clip[:n]
    variables, _ = run(lambda: module, features, length)
    params = jax.tree.map(
        lambda x: x + 0.1 * rng.standard_normal(x.shape).astype(np.float32), variables["params"]
    )

    @jax.jit
    def train(params, features):
        def loss(params):
            key = {"dropout": jax.random.key(1)}
            outputs = module.apply({"params": params}, features, length, True, rngs=key)
            return jnp.sin(outputs["representation"]).sum(), outputs

        return jax.grad(loss, has_aux=True)(params)

    (gradients, outputs), (same, padded_outputs) = (train(params, x) for x in (features, longer))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), gradients, same
    )
    assert_close(padded_outputs["representation"], outputs["representation"])
    np.testing.assert_allclose(padded_outputs["layer2"][:, :9], outputs["layer2"], atol=1e-5)
    assert not padded_outputs["layer2"][:, 9:].any()
    assert not gradients["mean"].any() and not gradients["std"].any()  # they are never trained


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("wavlm_base", RANK),
        *(pytest.param("whisper", r, marks=pytest.mark.slow) for r in (0, RANK)),
    ],
)
def test_checkpointing_changes_no_gradient(name, rank, folder_of):
    batch = batch_of(published_states(name, 0))
    plain, saving = (
        make_top(folder_of(name), 0, LAST, rank, gradient_checkpointing=is_on)
        for is_on in (False, True)
    )
    variables, expected = run(lambda: plain, *batch)
    programs = [
        str(jax.make_jaxpr(partial(m.apply, train=False))(variables, *batch))
        for m in (plain, saving)
    ]
    is_checkpointed = ["custom_vjp" in program or "checkpoint" in program for program in programs]
    assert is_checkpointed == [False, True]
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: x + 0.1 * rng.standard_normal(x.shape).astype(np.float32), variables["params"]
    )

    def gradient(module):
        def loss(params):
            outputs = module.apply({"params": params}, *batch, True, rngs={"dropout": key})
            return jnp.sin(outputs["representation"]).sum() + outputs["layer1"].sum()

        key = jax.random.key(1)
        return jax.jit(jax.grad(loss))(params)

    assert_close(run(lambda: saving, *batch)[1]["pooled"], expected["pooled"])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        gradient(saving),
        gradient(plain),
    )


def test_lora_adds_a_product_to_query_and_value(folder_of):
    folder, batch = folder_of("hubert_base"), batch_of(published_states("hubert_base", 1))
    lora, full = make_top(folder, rank=RANK, lora_alpha=6.0), make_top(folder)
    variables, whole = (run(lambda module=module: module, *batch)[0] for module in (lora, full))
    names = {f"block_1_{x}_{side}" for x in ("query", "value") for side in ("down", "up")}
    assert variables["params"].keys() == names | {"mean", "std"}
    rng = np.random.default_rng(0)
    params = {
        name: rng.standard_normal(x.shape).astype(np.float32) if name in names else x
        for name, x in variables["params"].items()
    }
    attention = whole["params"]["block_1"]["attention"]
    for projection in ("query", "value"):
        down, up = (params[f"block_1_{projection}_{side}"] for side in ("down", "up"))
        attention[projection]["kernel"] += 3.0 * down @ up  # alpha / rank
    actual = apply(lora, {"params": params}, *batch)["pooled"]
    assert_close(actual, apply(full, whole, *batch)["pooled"])


def test_normalised_features_are_scaled_back(folder_of):
    name = "wav2vec2_large"
    features, length = batch_of(published_states(name, 1))
    rng = np.random.default_rng(0)
    mean = rng.standard_normal((1, 24)).astype(np.float32)
    std = rng.uniform(1, 2, (1, 24)).astype(np.float32)
    module = make_top(folder_of(name))
    knowing = with_statistics(module, np.concatenate([mean - 1, mean + 1]), np.repeat(std, 2, 0))
    normalised = (features - mean[None]) / std[None]
    variables, outputs = run(lambda: knowing, normalised, length)
    assert_close(outputs["pooled"], pooled(published_states(name, LAST)))
    # A saved model keeps the statistics: who loads it does not know them.
    assert_close(apply(module, variables, normalised, length)["pooled"], outputs["pooled"])
    conv1d = make_encoder("conv1d")
    assert with_statistics(conv1d, mean, std) is conv1d


def test_pretrained_weights_are_arguments_of_a_program(folder_of):
    module = make_top(folder_of("hubert_base"), rank=RANK)
    features, length = jnp.ones((2, 5, 24)), jnp.asarray([5, 3])

    @jax.jit
    def program(weights, x):
        bound = with_weights(module, weights)
        return bound.init_with_output(jax.random.key(0), x, length, False)[0]["pooled"]

    assert 'dense<"0x' not in program.lower(module.weights, features).as_text()  # arrays of numbers
    zeros = jax.tree.map(jnp.zeros_like, module.weights)
    assert not np.allclose(program(module.weights, features), program(zeros, features))
    conv1d = make_encoder("conv1d")
    assert with_weights(conv1d, {"a": 1}) is conv1d


def test_defaults_are_those_of_the_base_config():
    config, found = base_config(), defaults(pretrained_top)
    for key in ("blocks", "lora_rank", "lora_alpha", "dropout", "gradient_checkpointing"):
        assert config.encoder[key] == found[key]
    for key in ("recipe", "encoder", "encoder_digest", "layers"):
        assert config.features[key] == found[key]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "frames"}, "set --config.features.recipe=pretrained_frames"),
        ({"recipe": "pretrained"}, "features.recipe is 'pretrained'; set"),
        ({"encoder": ""}, "set --config.features.encoder"),
        ({"encoder_digest": "0"}, "0 is expected"),
        ({"layers": "0,1"}, "continues one layer.*'0,1'; choose one.*layers=0"),
        ({"layers": "all"}, "continues one layer.*'all'; choose one"),
        ({"layers": "3"}, "numbers from 0 to 2"),
        ({"blocks": 2}, "encoder.blocks is 2, and .* has 1 blocks above layer 1; set"),
        ({"blocks": 1, "layers": "2"}, "has 0 blocks above layer 2; set"),
        ({"blocks": 0}, "config.encoder.blocks is 0; expected a whole number of at least 1"),
        (
            {"gradient_checkpointing": 1},
            "config.encoder.gradient_checkpointing is 1; expected true",
        ),
        ({"lora_rank": -1}, "config.encoder.lora_rank is -1; expected"),
        ({"lora_alpha": 0.0}, "config.encoder.lora_alpha is 0.0; expected a number above 0"),
    ],
)
def test_what_it_cannot_use_is_refused_in_one_sentence(settings, message, folder_of):
    features = {"recipe": "pretrained_frames", "encoder": folder_of("hubert_base"), "layers": "1"}
    features |= {
        key: value for key, value in settings.items() if key in (*features, "encoder_digest")
    }
    values = {"blocks": 1, **{k: v for k, v in settings.items() if k not in features}}
    with pytest.raises(InputError, match=message) as raised:
        make_encoder("pretrained_top", values, features=features)
    assert "\n" not in str(raised.value)
