"""Computations that a CPU does in another way than an accelerator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jdann.pretrained.platforms import clip_by_clip, convolved
from jdann.pretrained.transformer import attend


@pytest.mark.parametrize("taps", [2, 3, 10])
@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize("margin", [0, 1])
@pytest.mark.parametrize("frames", [23, 24])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_convolves_rounded_factors(taps, stride, margin, frames, dtype):
    x = jax.random.normal(jax.random.key(0), (2, frames, 3))
    kernel = jax.random.normal(jax.random.key(1), (taps, 3, 4))
    rounded, of_kernel = (np.asarray(a.astype(dtype), np.float64) for a in (x, kernel))
    padded = np.pad(rounded, ((0, 0), (margin, margin), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, taps, axis=1)[:, ::stride]
    expected = np.einsum("bnit,tio->bno", windows, of_kernel)
    found = convolved(x, kernel, stride, margin, dtype)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


def _batch():
    keys = jax.random.split(jax.random.key(0), 4)
    factors = [jax.random.normal(key, (3, 7, 2, 4)) for key in keys[:3]]
    mask = jnp.arange(7)[None] < jnp.array([7, 5, 1])[:, None]
    return mask, *factors, jax.random.normal(keys[3], (3, 2, 7, 7))


def test_clips_one_by_one_are_those_of_the_batch():
    mask, *factors = _batch()
    expected = attend(mask, *factors)
    found = jax.jit(clip_by_clip(attend))(mask, *factors)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_gradients_one_by_one_are_those_of_the_batch():
    mask, *factors = _batch()

    def loss(function, factors):
        return jnp.square(function(mask, *factors)).sum()

    expected = jax.grad(loss, argnums=1)(attend, factors)
    found = jax.grad(loss, argnums=1)(clip_by_clip(attend), factors)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_program_takes_clips_one_by_one_only_on_a_cpu():
    def has_loop(platform: str) -> bool:
        exported = export.export(jax.jit(clip_by_clip(attend)), platforms=[platform])
        return "stablehlo.while" in exported(*_batch()).mlir_module()

    assert has_loop("cpu") and not has_loop("cuda")
