"""Gradient checkpointing: the same gradients with less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdann.models.checkpointing import checkpointed

LAYERS = 6


def widening(trained, fixed):
    """A layer whose inside is far larger than its input and its result: [n, 8] to [n, 8]."""
    x, weight = trained
    hidden = jnp.sin(x @ weight)  # [n, 512]
    return x + jnp.tanh(hidden * fixed["scale"]) @ weight.T


def gradient_of(layer):
    """The gradient of a stack of layers for x and the weights."""

    def loss(x, weights, fixed):
        for weight in weights:
            x = layer((x, weight), fixed)
        return jnp.square(x).sum()

    return jax.jit(jax.grad(loss, argnums=(0, 1)))


@pytest.fixture
def arguments():
    keys = jax.random.split(jax.random.key(0), LAYERS + 1)
    weights = [0.1 * jax.random.normal(key, (8, 512)) for key in keys[1:]]
    return jax.random.normal(keys[0], (256, 8)), weights, {"scale": jnp.float32(0.7)}


def test_the_gradients_are_the_same(arguments):
    expected = gradient_of(widening)(*arguments)
    actual = gradient_of(checkpointed(widening))(*arguments)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4), actual, expected
    )
    assert all(jnp.isfinite(x).all() and x.any() for x in jax.tree.leaves(actual))


def test_members_side_by_side_have_the_same_gradients(arguments):
    x, weights, fixed = arguments
    members = jnp.stack([x, 2 * x])
    actual = jax.vmap(gradient_of(checkpointed(widening)), (0, None, None))(members, weights, fixed)
    expected = gradient_of(widening)(2 * x, weights, fixed)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-4, atol=1e-3), actual, expected
    )


def test_the_inside_of_one_layer_is_kept_at_a_time(arguments):
    # Without optimisations XLA would not merge what is computed twice.
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        plain, saving = (
            gradient_of(layer).lower(*arguments).compile().memory_analysis().temp_size_in_bytes
            for layer in (widening, checkpointed(widening))
        )
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
    assert saving < plain / 2


def test_a_gradient_that_is_no_number_stays_so(arguments):
    x, weights, fixed = arguments
    gradients = gradient_of(checkpointed(widening))(x.at[0, 0].set(jnp.nan), weights, fixed)
    assert all(jnp.isnan(weight).any() for weight in gradients[1])
