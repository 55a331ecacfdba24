"""The encoders' layers against XLA's operations, and against NumPy on the valid frames only."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from jdann.errors import InputError
from jdann.models import layers
from jdann.models.convolution import PRECISIONS, convolution, convolution_as_primitive
from jdann.models.cpu import minimal_filter
from jdann.models.cpu.convolution import convolution_for_cpu
from jdann.models.windows import LAYOUTS

RNG = np.random.default_rng(0)


def draw(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


CONVOLUTIONS = [  # spatial, window, strides
    ((9,), (5,), (2,)),
    ((10,), (3,), (3,)),
    ((8,), (4,), (1,)),
    ((1,), (5,), (2,)),
    ((9,), (7,), (1,)),
    ((10,), (9,), (2,)),
    ((8, 7), (3, 3), (2, 2)),
    ((7, 8), (1, 1), (2, 2)),
    ((16, 9), (7, 7), (2, 2)),
    ((5, 1), (3, 5), (1, 1)),
]


@pytest.fixture(params=["large", "small"])
def size(request, monkeypatch):
    """Both forms of a convolution along frames: with "large", small arrays use minimal filters."""
    if request.param == "large":
        monkeypatch.setattr(minimal_filter, "MINIMUM_MULTIPLICATIONS", 0)


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("spatial, window, strides", CONVOLUTIONS)
def test_convolution_equals_xla_in_value_and_gradients(spatial, window, strides):
    x, kernel = draw(2, *spatial, 3), draw(*window, 3, 4)
    weight = draw(2, *(-(-n // s) for n, s in zip(spatial, strides, strict=True)), 4)

    def reference(x, kernel):
        # Stride 1 with `SAME`, then every stride-th window: centred windows, by definition.
        dense = lax.conv_general_dilated(
            x, kernel, (1,) * len(window), "SAME", dimension_numbers=LAYOUTS[len(window)]
        )
        return dense[(slice(None), *(slice(None, None, s) for s in strides))]

    @jax.jit
    def compare(x, kernel):
        value, pull = jax.vjp(
            lambda x, kernel: convolution_for_cpu(x, kernel, strides, jnp.float32),
            x,
            kernel,
        )
        expected, expected_pull = jax.vjp(reference, x, kernel)
        primitive = convolution_as_primitive(x, kernel, strides, jnp.float32)
        return (value, *pull(weight), primitive), (expected, *expected_pull(weight), expected)

    for ours, plain in zip(*compare(x, kernel), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("spatial, window, strides", CONVOLUTIONS)
@pytest.mark.slow
def test_mixed_convolution_is_that_of_rounded_operands(spatial, window, strides):
    x, kernel = draw(2, *spatial, 3), draw(*window, 3, 4)
    weight = draw(2, *(-(-n // s) for n, s in zip(spatial, strides, strict=True)), 4)

    def exact(x, kernel):
        return convolution_as_primitive(x, kernel, strides, jnp.float32)

    @jax.jit
    def compare(x, kernel):
        value, pull = jax.vjp(
            lambda x, kernel: convolution_for_cpu(x, kernel, strides, jnp.bfloat16),
            x,
            kernel,
        )
        rounded = [a.astype(jnp.bfloat16).astype(jnp.float32) for a in (x, kernel, weight)]
        expected, expected_pull = jax.vjp(exact, *rounded[:2])
        return (value, *pull(weight)), (expected, *expected_pull(rounded[2]))

    for ours, plain in zip(*compare(x, kernel), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.slow
def test_convolution_has_second_derivatives(precision):
    # Virtual adversarial methods and gradient penalties need them. The sum of the squared gradients
    # depends on every product.
    x, kernel = draw(2, 9, 3), draw(5, 3, 4)

    def penalty(form):
        def value(x, kernel):
            return jnp.square(form(x, kernel, (2,), PRECISIONS[precision])).sum()

        def squared_gradients(x, kernel):
            gradients = jax.grad(value, (0, 1))(x, kernel)
            return sum(jnp.square(g).sum() for g in gradients) / 1e4

        return jax.jit(jax.grad(squared_gradients, (0, 1)))(x, kernel)

    tolerance = 1e-5 if precision == "float32" else 1e-2
    pairs = zip(penalty(convolution_for_cpu), penalty(convolution_as_primitive), strict=True)
    for ours, plain in pairs:
        np.testing.assert_allclose(ours, plain, rtol=0, atol=tolerance * np.abs(plain).max())


@pytest.mark.parametrize("window, strides", [((5,), (1,)), ((3, 3), (2, 2)), ((1, 1), (1, 1))])
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices use XLA's convolution")
def test_every_product_of_a_step_has_the_form_that_the_cpu_library_computes(window, strides):
    x, kernel = draw(2, *(8,) * len(window), 16), draw(*window, 16, 32)

    def loss(x, kernel):
        return jnp.sin(convolution(x, kernel, strides, "mixed")).sum()

    text = jax.jit(jax.grad(loss, (0, 1))).lower(x, kernel).compile().as_text()
    kinds = dict(re.findall(r"%?([\w.-]+) = (\w+)\[", text))
    axes = r"lhs_contracting_dims=\{(\d)\}, rhs_contracting_dims=\{(\d)\}"
    products = re.findall(rf" dot\(%?([\w.-]+), %?([\w.-]+)\), {axes}", text)
    assert len(products) >= 3  # value, gradient of x, gradient of the kernel
    for left, right, left_axis, right_axis in products:
        assert (left_axis, right_axis) == ("1", "0")
        assert (kinds[left], kinds[right]) == ("bf16", "bf16")


@pytest.mark.parametrize("taps", range(2, 8))
def test_minimal_filters_are_exact_and_lose_little_of_float32(taps):
    tile, weights = (np.asarray(draw(n, 64), np.float64) for n in (8, taps))
    results_matrix, weights_matrix, tile_matrix = minimal_filter.transforms(taps)
    expected = [(weights * tile[q : q + taps]).sum(axis=0) for q in range(9 - taps)]
    results = results_matrix.T @ ((weights_matrix @ weights) * (tile_matrix @ tile))
    np.testing.assert_allclose(results, expected, rtol=0, atol=1e-12)

    x, kernel = draw(2, 100, 64), draw(taps, 64, 8)
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(x, np.float64), taps, axis=1)
    exact = np.einsum("btik,kio->bto", windows, np.asarray(kernel, np.float64))
    ours = minimal_filter.correlate(x, kernel, 1, 0, 101 - taps)
    # 1.2e-5 at most on the machines where it was tried: each has another order of its sums.
    assert np.abs(ours - exact).max() < 3e-5 * np.abs(exact).std()


@pytest.mark.parametrize("taps, stride, before", [(5, 2, 0), (3, 1, 4), (5, 3, 7), (7, 4, 9)])
def test_minimal_filters_begin_and_end_anywhere(taps, stride, before):
    x, kernel, windows = draw(2, 20, 3), draw(taps, 3, 4), 4
    first = 10 - before  # in an array with 10 zeros before x
    end = first + (windows - 1) * stride + taps

    def reference(x, kernel):
        wide = jnp.pad(x, [(0, 0), (10, 20), (0, 0)])[:, first:end]
        return lax.conv_general_dilated(
            wide, kernel, (stride,), "VALID", dimension_numbers=LAYOUTS[1]
        )

    def minimal(x, kernel):
        return minimal_filter.correlate(x, kernel, stride, before, windows)

    @partial(jax.jit, static_argnums=0)  # one program compiles faster than each operation alone
    def value_and_gradients(function, x, kernel, weight):
        value, pull = jax.vjp(function, x, kernel)
        return value, *pull(weight)

    weight = draw(2, windows, 4)
    both = (value_and_gradients(f, x, kernel, weight) for f in (minimal, reference))
    for ours, plain in zip(*both, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("size")
def test_convolution_batches_over_kernels():
    x, kernels = draw(2, 8, 3), draw(3, 5, 3, 4)
    batched = jax.vmap(lambda kernel: convolution(x, kernel, (2,)))(kernels)
    one_by_one = jnp.stack(
        [convolution_as_primitive(x, kernel, (2,), jnp.float32) for kernel in kernels]
    )
    np.testing.assert_allclose(batched, one_by_one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bins", [(), (3,)])
def test_batch_norm_is_that_of_the_valid_frames(bins):
    length = np.array([6, 1, 4])
    x = np.asarray(draw(3, 6, *bins, 2)) * 3 + 100
    valid = np.concatenate([clip[:n].reshape(-1, 2) for clip, n in zip(x, length, strict=True)])
    mean, variance = valid.mean(axis=0, dtype=np.float64), valid.var(axis=0, dtype=np.float64)
    norm = layers.MaskedBatchNorm()
    scale, bias = np.float32([2, 0.5]), np.float32([-1, 3])
    variables = {
        "params": {"BatchNorm_0": {"scale": scale, "bias": bias}},
        "batch_stats": {"BatchNorm_0": {"mean": np.float32([1, 2]), "var": np.float32([3, 4])}},
    }
    y, updated = norm.apply(variables, x, length, True, mutable=["batch_stats"])
    running = updated["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(running["mean"], 0.9 * np.array([1, 2]) + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(running["var"], 0.9 * np.array([3, 4]) + 0.1 * variance, rtol=1e-5)

    evaluated = norm.apply(variables, x, length, False)
    for got, (m, v) in ((y, (mean, variance)), (evaluated, (np.array([1, 2]), np.array([3, 4])))):
        expected = (x - m) / np.sqrt(v + 1e-5) * scale + bias
        for clip, n in enumerate(length):
            np.testing.assert_allclose(got[clip, :n], expected[clip, :n], rtol=1e-4, atol=1e-4)
            assert not np.any(got[clip, n:])


@pytest.mark.parametrize("bins", [(), (3,)])
def test_batch_norm_has_the_gradients_of_plain_flax_on_the_valid_frames(bins):
    length = np.array([6, 1, 4])
    x, weight = draw(3, 6, *bins, 2) * 3 + 10, draw(3, 6, *bins, 2)
    valid = np.arange(6) < length[:, None]
    scale, bias = jnp.float32([2, 0.5]), jnp.float32([-1, 3])
    plain = nn.BatchNorm(use_running_average=False, epsilon=1e-5, use_fast_variance=False)
    masked_norm = layers.MaskedBatchNorm()
    statistics = {"mean": jnp.zeros(2), "var": jnp.ones(2)}

    def masked(x, scale, bias):
        variables = {
            "params": {"BatchNorm_0": {"scale": scale, "bias": bias}},
            "batch_stats": {"BatchNorm_0": statistics},
        }
        y, _ = masked_norm.apply(variables, x, length, True, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(y) * weight)

    def packed(x, scale, bias):
        variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": statistics}
        y, _ = plain.apply(variables, x[valid], mutable=["batch_stats"])
        return jnp.sum(jnp.sin(y) * weight[valid])

    ours, expected_all = (jax.grad(f, (0, 1, 2))(x, scale, bias) for f in (masked, packed))
    assert not np.any(np.asarray(ours[0])[~valid])
    for gradient, expected in zip(ours, expected_all, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def test_statistics_pool_is_numpys_on_the_valid_frames():
    x, length = np.asarray(draw(3, 7, 2)), np.array([7, 3, 1])
    pooled = layers.statistics_pool(jnp.asarray(x), jnp.asarray(length))
    for clip, n in enumerate(length):
        np.testing.assert_allclose(pooled[clip, :2], x[clip, :n].mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            pooled[clip, 2:], np.sqrt(x[clip, :n].var(axis=0) + 1e-5), rtol=1e-5, atol=1e-6
        )


def test_statistics_pool_has_finite_gradients_where_nothing_varies():
    gradient = jax.grad(lambda x: layers.statistics_pool(x, jnp.array([4, 1])).sum())(
        jnp.ones((2, 4, 3))
    )
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("frames, bins", [(8, 7), (9, 1), (1, 4)])
def test_max_pool_equals_xla_on_a_clip_and_is_zero_in_its_padding(frames, bins):
    clip = jax.nn.relu(draw(1, frames, bins, 3))
    margins = ((0, 0), (1, 1), (1, 1), (0, 0))
    expected = lax.reduce_window(clip, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), margins)
    padded = jnp.pad(clip, ((0, 0), (0, 5), (0, 0), (0, 0)))
    pooled = layers.max_pool(padded, jnp.array([frames]))
    kept = -(-frames // 2)
    np.testing.assert_array_equal(pooled[:, :kept], expected)
    assert not np.any(pooled[:, kept:])


def test_prepare_input_clears_padding_and_refuses_other_shapes():
    x = np.full((2, 3, 1), np.nan, np.float16)
    x[0, :2], x[1, :3] = 1, 2
    features, length = layers.prepare_input(jnp.asarray(x), jnp.array([2, 3]))
    assert features.dtype == jnp.float32 and length.dtype == jnp.int32
    np.testing.assert_array_equal(features[..., 0], [[1, 1, 0], [2, 2, 2]])
    vectors, length = layers.prepare_input(jnp.asarray([[1.0, 2, 3]]), jnp.array([1]))
    assert vectors.shape == (1, 3, 1) and length.tolist() == [3]
    for shape, lengths in [((2, 3, 1, 1), (2,)), ((2, 3, 1), (3,))]:
        with pytest.raises(InputError, match=r"give it \[batch, frames, bins\]"):
            layers.prepare_input(jnp.zeros(shape), jnp.ones(lengths, int))


def test_layers_refuse_arrays_of_another_rank():
    length = jnp.array([2, 3])
    for call in (
        lambda: layers.max_pool(jnp.zeros((2, 3, 4)), length),
        lambda: layers.mean_pool(jnp.zeros((2, 3, 4, 5)), length),
        lambda: convolution(jnp.zeros((2, 3)), jnp.zeros((3, 4)), ()),
        lambda: convolution(jnp.zeros((2, 3, 4)), jnp.zeros((3, 3, 4, 5)), (1,)),
    ):
        with pytest.raises(AssertionError, match="rank"):
            call()
