"""The encoders: independent of padding, equal to the published networks, and batched over seeds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from jdann.configuration import base_config
from jdann.errors import InputError
from jdann.models import ENCODERS, make_encoder
from jdann.models.conv1d import Conv1d, conv1d
from jdann.models.layers import mean_pool, prepare_input
from jdann.models.mlp import Mlp, mlp
from jdann.models.resnet import ResNet, resnet50
from jdann.parameters import Count, checked, defaults

SMALL = {
    "conv1d": Conv1d(channels=(8, 6, 4), kernel_size=5, strides=(2, 1, 2), dropout=0.5),
    "resnet": ResNet(blocks=(1, 2), channels=4, dropout=0.5),
}


SETTINGS = {"channels": (8, 8), "kernel_size": 3, "strides": (2, 1), "dropout": 0.1}


@functools.partial(jax.jit, static_argnums=0)
def evaluate(module, variables, features, length):
    return module.apply(variables, features, length, False)


@functools.partial(jax.jit, static_argnums=0)
def train(module, variables, features, length):
    """Outputs, `batch_stats` and the parameters' gradients."""

    def total(params):
        rngs = {"dropout": jax.random.key(7)}
        changed = {**variables, "params": params}
        outputs, updated = module.apply(
            changed, features, length, True, rngs=rngs, mutable=["batch_stats"]
        )
        return jnp.sin(outputs["representation"]).sum(), (outputs, updated["batch_stats"])

    gradients, (outputs, batch_stats) = jax.grad(total, has_aux=True)(variables["params"])
    return outputs, batch_stats, gradients


def shapes(module, frames: int, bins: int):
    """The shapes of the variables and of the outputs, without computing either."""
    features, length = (
        jax.ShapeDtypeStruct((2, frames, bins), np.float32),
        jax.ShapeDtypeStruct((2,), np.int32),
    )
    variables = jax.eval_shape(
        lambda x, n: module.init(jax.random.key(0), x, n, False), features, length
    )
    return variables, jax.eval_shape(
        lambda v, x, n: module.apply(v, x, n, False), variables, features, length
    )


@functools.cache
def trained_like(name: str):
    """Variables that all differ from their initial values, as after training."""
    rng = np.random.default_rng(0)

    def value(leaf):
        if leaf.ndim > 1:
            return (rng.standard_normal(leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))).astype(
                np.float32
            )
        return rng.uniform(0.2, 1.2, leaf.shape).astype(np.float32)

    return jax.tree.map(value, shapes(SMALL[name], 8, 6)[0])


def assert_trees_close(ours, reference, tolerance=1e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance),
        ours,
        reference,
    )


def batch():
    rng = np.random.default_rng(1)
    return rng.standard_normal((4, 21, 6)).astype(np.float32), np.array([21, 1, 14, 6])


def padded_batch():
    """The same clips in twice the frames, with NaN for padding."""
    features, length = batch()
    padded = np.full((4, 42, 6), np.nan, np.float32)
    for clip, n in enumerate(length):
        padded[clip, :n] = features[clip, :n]
    return padded, length


def assert_same_frames(outputs, padded):
    assert_trees_close(outputs["representation"], padded["representation"])
    for key in outputs.keys() - {"representation", "pooled"}:
        frames = outputs[key].shape[1]
        np.testing.assert_allclose(outputs[key], padded[key][:, :frames], rtol=1e-4, atol=1e-4)
        assert not np.any(padded[key][:, frames:])


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n == "resnet" else []) for n in SMALL]
)
def test_padding_changes_nothing_in_training(name):
    outputs, batch_stats, gradients = train(SMALL[name], trained_like(name), *batch())
    padded, padded_stats, padded_gradients = train(SMALL[name], trained_like(name), *padded_batch())
    assert_same_frames(outputs, padded)
    assert_trees_close(batch_stats, padded_stats)
    assert_trees_close(gradients, padded_gradients, 1e-3)


@pytest.mark.parametrize("name", SMALL)
def test_padding_changes_nothing_in_evaluation(name):
    features, length = batch()
    together = evaluate(SMALL[name], trained_like(name), features, length)
    assert_same_frames(together, evaluate(SMALL[name], trained_like(name), *padded_batch()))
    alone = evaluate(SMALL[name], trained_like(name), features[2:3, :14], length[2:3])
    assert_trees_close(together["representation"][2], alone["representation"][0])


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n == "resnet" else []) for n in SMALL]
)
def test_gradients_are_finite_where_nothing_varies(name):
    features, _ = batch()
    for value in (0, 1000):
        results = train(
            SMALL[name], trained_like(name), np.full_like(features, value), np.array([21, 1, 1, 1])
        )
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(results))


@pytest.mark.slow
def test_seeds_batch():
    features, length = batch()
    module = SMALL["conv1d"]

    @jax.jit
    def per_seed(keys):
        variables = jax.vmap(lambda key: module.init(key, features, length, False))(keys)
        return variables, jax.vmap(lambda v: train(module, v, features, length))(variables)

    variables, batched = per_seed(jax.random.split(jax.random.key(0), 3))
    kernels = [x for x in jax.tree.leaves(variables["params"]) if x.ndim > 2]
    assert all(len(x) == 3 and np.all(x[0] != x[1]) for x in kernels)
    single = train(module, jax.tree.map(lambda x: x[1], variables), features, length)
    assert_trees_close(jax.tree.map(lambda x: x[1], batched), single, 1e-3)


def test_resnet_batches_over_seeds():
    features, length = batch()
    variables = jax.tree.map(lambda x: np.stack([x, 1.5 * x]), trained_like("resnet"))
    batched = jax.vmap(lambda v: evaluate(SMALL["resnet"], v, features, length)["representation"])(
        variables
    )
    single = evaluate(SMALL["resnet"], trained_like("resnet"), features, length)["representation"]
    np.testing.assert_allclose(batched[0], single, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n == "resnet" else []) for n in SMALL]
)
def test_dropout_changes_only_the_representation_and_only_in_training(name):
    outputs, _, _ = train(SMALL[name], trained_like(name), *batch())
    kept = np.asarray(outputs["representation"]) != 0
    np.testing.assert_allclose(
        outputs["representation"][kept], 2 * outputs["pooled"][kept], rtol=1e-6
    )
    assert 0.2 < np.mean(kept) < 0.8
    evaluated = evaluate(SMALL[name], trained_like(name), *batch())
    np.testing.assert_array_equal(evaluated["representation"], evaluated["pooled"])


def norm(x, params, statistics):
    mean, variance, scale, bias = (
        lax.broadcast_to_rank(values, x.ndim)
        for values in (
            statistics["BatchNorm_0"]["mean"],
            statistics["BatchNorm_0"]["var"],
            params["BatchNorm_0"]["scale"],
            params["BatchNorm_0"]["bias"],
        )
    )
    return (x - mean) / jnp.sqrt(variance + 1e-5) * scale + bias


def test_conv1d_is_convolution_norm_relu_and_statistics():
    features = batch()[0][:1]
    params, statistics = trained_like("conv1d")["params"], trained_like("conv1d")["batch_stats"]
    x = features
    for layer, stride in enumerate(SMALL["conv1d"].strides):
        x = lax.conv_general_dilated(
            x,
            params[f"Convolution_{layer}"]["kernel"],
            (stride,),
            [(2, 2)],
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        x = np.maximum(
            norm(x, params[f"MaskedBatchNorm_{layer}"], statistics[f"MaskedBatchNorm_{layer}"]), 0
        )
    expected = np.concatenate([x.mean(axis=1), np.sqrt(x.var(axis=1) + 1e-5)], axis=-1)
    outputs = evaluate(SMALL["conv1d"], trained_like("conv1d"), *batch())
    np.testing.assert_allclose(outputs["representation"][0], expected[0], rtol=1e-4, atol=1e-4)


def test_resnet_is_the_published_network():
    params, statistics = trained_like("resnet")["params"], trained_like("resnet")["batch_stats"]

    def convolve(x, kernel, stride):
        half = kernel.shape[0] // 2
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, (stride,) * 2, [(half, half)] * 2, dimension_numbers=layout
        )

    def block(x, name, stride):
        p, s = params[name], statistics[name]
        y = x
        for layer, step in enumerate((1, stride, 1)):
            y = convolve(y, p[f"Convolution_{layer}"]["kernel"], step)
            y = norm(y, p[f"MaskedBatchNorm_{layer}"], s[f"MaskedBatchNorm_{layer}"])
            y = jax.nn.relu(y) if layer < 2 else y
        if "shortcut" in p:
            x = norm(
                convolve(x, p["shortcut"]["kernel"], stride), p["shortcut_norm"], s["shortcut_norm"]
            )
        return jax.nn.relu(x + y)

    @jax.jit
    def reference(features):
        x = convolve(features[..., None], params["stem"]["kernel"], 2)
        x = jax.nn.relu(norm(x, params["stem_norm"], statistics["stem_norm"]))
        margins = ((0, 0), (1, 1), (1, 1), (0, 0))
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), margins)
        for name, stride in (("stage1_block1", 1), ("stage2_block1", 2), ("stage2_block2", 1)):
            x = block(x, name, stride)
        return x.mean(axis=(1, 2))

    outputs = evaluate(SMALL["resnet"], trained_like("resnet"), *batch())
    np.testing.assert_allclose(
        outputs["representation"][:1], reference(batch()[0][:1]), rtol=1e-4, atol=1e-4
    )


def test_resnet50_has_the_published_number_of_parameters():
    variables, outputs = shapes(make_encoder("resnet50"), 149, 1)
    count = sum(x.size for x in jax.tree.leaves(variables["params"]))
    two_input_channels, classifier = 7 * 7 * 2 * 64, 2048 * 1000 + 1000
    assert count + two_input_channels + classifier == 25_557_032
    assert {key: x.shape for key, x in outputs.items()} == {
        "stem": (2, 38, 1, 64),
        "stage1": (2, 38, 1, 256),
        "stage2": (2, 19, 1, 512),
        "stage3": (2, 10, 1, 1024),
        "stage4": (2, 5, 1, 2048),
        "pooled": (2, 2048),
        "representation": (2, 2048),
    }


@pytest.mark.slow
def test_a_new_resnet_of_full_depth_in_stages_takes_one_frame_and_one_bin():
    # Where nothing varies, each batch norm multiplies gradients by about 300. Before training, five
    # batch norms follow each other.
    encoder = ResNet((1, 1, 1, 1), 8, 0.1)
    features, length = np.zeros((2, 149, 1), np.float16), np.array([149, 1])
    variables = jax.jit(encoder.init, static_argnums=3)(jax.random.key(0), features, length, False)
    for x in (features, features + np.float16(1000)):
        results = train(encoder, variables, x, length)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(results))
        assert results[0]["representation"].dtype == np.float32


def test_make_encoder_passes_the_settings_that_the_factory_accepts():
    assert make_encoder("conv1d", SETTINGS) == Conv1d((8, 8), 3, (2, 1), 0.1)
    assert make_encoder("resnet50", SETTINGS) == ResNet((3, 4, 6, 3), 64, 0.1)
    assert make_encoder("mlp", SETTINGS) == Mlp((256, 64), 0.1, 0.1, False)
    with pytest.raises(InputError, match=f"'vgg' is unknown; choose one of {', '.join(ENCODERS)}"):
        make_encoder("vgg")
    with pytest.raises(InputError, match=r"'resnet5' is unknown \(did you mean resnet50\?\)"):
        make_encoder("resnet5")
    assert make_encoder("conv1d", SETTINGS, "mixed") == Conv1d((8, 8), 3, (2, 1), 0.1, "mixed")
    with pytest.raises(
        InputError, match="config.precision is 'bf16'; choose one of float32, mixed"
    ):
        make_encoder("conv1d", SETTINGS, "bf16")
    with pytest.raises(InputError, match="one entry per layer"):
        make_encoder("conv1d", {**SETTINGS, "strides": (2,)})


def test_encoders_without_settings_are_those_of_the_base_config():
    section = base_config().encoder
    for name, factory in ENCODERS.items():
        if name == "pretrained_top":  # it needs the files of a pretrained encoder
            continue
        assert factory() == make_encoder(name) == make_encoder(name, section)
        shared = {key: value for key, value in defaults(factory).items() if key in section}
        assert shared == {key: section[key] for key in shared}
        assert set(defaults(factory)) == {*shared, "precision"}


@pytest.mark.parametrize(
    "name, key, value, expected",
    [
        ("mlp", "input_dropout", 3, "of at least 0 and at most 1"),
        ("mlp", "dropout", float("nan"), "of at least 0 and at most 1"),
        ("mlp", "hidden", (), "one or more whole numbers of at least 1"),
        ("mlp", "hidden", (8, 0), "one or more whole numbers of at least 1"),
        ("mlp", "batch_norm", 1, "true or false"),
        ("conv1d", "dropout", -0.1, "of at least 0 and at most 1"),
        ("conv1d", "kernel_size", 0, "a whole number of at least 1"),
        ("conv1d", "channels", (8, 8.5), "one or more whole numbers of at least 1"),
        ("resnet50", "dropout", 3, "of at least 0 and at most 1"),
    ],
)
def test_settings_out_of_range_are_refused(name, key, value, expected):
    with pytest.raises(InputError, match=rf"config\.encoder\.{key} is .*; expected .*{expected}"):
        make_encoder(name, {key: value})
    with pytest.raises(InputError, match=rf"^{name}: {key} is .*; expected .*{expected}"):
        ENCODERS[name](**{key: value})


def test_factories_refuse_what_does_not_fit_together():
    with pytest.raises(InputError, match="one entry per layer"):
        conv1d(channels=(8, 8, 8))
    for factory in (conv1d, resnet50, mlp):
        with pytest.raises(InputError, match="one of float32, mixed"):
            factory(precision="float16")


class FrameAverage(nn.Module):
    """The smallest encoder: a dense layer on each frame, then the mean over valid frames."""

    units: int

    @nn.compact
    def __call__(self, features, length, train):
        x, length = prepare_input(features, length)
        frames = nn.relu(nn.Dense(self.units)(x))  # [batch, frames, units]
        return {"representation": mean_pool(frames, length), "frames": frames}


@checked
def frame_average(*, units: Count = 3) -> FrameAverage:
    return FrameAverage(units)


@pytest.mark.parametrize("name", ["frame_average"])
def test_a_new_encoder_needs_only_an_entry_in_the_dictionary(name, monkeypatch):
    monkeypatch.setitem(ENCODERS, name, frame_average)
    # Settings of other encoders and a precision that this factory does not know are ignored.
    encoder = make_encoder(name, {**SETTINGS, "units": 5}, "mixed")
    assert encoder == FrameAverage(5)
    with pytest.raises(InputError, match=r"config\.encoder\.units is 0"):
        make_encoder(name, {"units": 0})
    with pytest.raises(InputError, match=r"did you mean frame_average\?\); choose one of conv1d"):
        make_encoder("frame_averages")

    features, length = batch()
    variables = encoder.init(jax.random.key(0), features, length, False)
    padded = evaluate(encoder, variables, *padded_batch())["representation"]
    assert padded.shape == (4, 5)

    def loss(params):
        outputs, _ = encoder.apply(
            {"params": params}, features, length, True, mutable=["batch_stats"]
        )
        return jnp.square(outputs["representation"] - 1.0).sum(), outputs["representation"]

    (before, trained), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    np.testing.assert_allclose(trained, padded, rtol=1e-5, atol=1e-6)
    stepped = jax.tree.map(lambda p, g: p - 0.01 * g, variables["params"], gradients)
    assert loss(stepped)[0] < before
