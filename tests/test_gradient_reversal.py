"""Gradient reversal against an independent construction, under each JAX transformation."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdann import gradient_reversal


def by_stop_gradient(x, strength):
    """The same function, written another way: sg((1 + strength) x) - strength x."""
    return jax.lax.stop_gradient((1 + strength) * x) - strength * x


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 2.5])
def test_equals_the_construction_by_stop_gradient(strength):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)

    def loss(reverse):
        return lambda x: jnp.sum(jnp.tanh(reverse(x, strength)) ** 2)

    np.testing.assert_array_equal(gradient_reversal(x, strength), x)
    ours, expected = (
        jax.grad(loss(reverse))(x) for reverse in (gradient_reversal, by_stop_gradient)
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    plain = jax.grad(lambda x: jnp.sum(jnp.tanh(x) ** 2))(x)
    np.testing.assert_allclose(ours, -strength * plain, rtol=1e-6)


def test_any_pytree_and_floating_dtype():
    tree = {
        "a": jnp.ones(3, jnp.bfloat16),
        "b": (jnp.ones((2, 2), jnp.float16), jnp.ones((), jnp.float32)),
    }
    gradient = jax.grad(
        lambda t: sum(
            jnp.sum(leaf.astype(jnp.float32)) for leaf in jax.tree.leaves(gradient_reversal(t, 0.5))
        )
    )(tree)
    assert jax.tree.map(lambda g: g.dtype, gradient) == jax.tree.map(lambda x: x.dtype, tree)
    assert all(np.all(np.asarray(g, np.float32) == -0.5) for g in jax.tree.leaves(gradient))


def test_integer_leaves_pass_through():
    tree = {"x": jnp.ones(2), "index": jnp.arange(2)}
    value, gradient = jax.value_and_grad(
        lambda t: jnp.sum(gradient_reversal(t, 1.0)["x"]), allow_int=True
    )(tree)
    assert value == 2
    np.testing.assert_array_equal(gradient["x"], [-1, -1])


def test_strength_is_traced_under_jit_vmap_and_scan():
    x = jnp.arange(3.0)
    traces = []

    def gradient(strength):
        traces.append(None)
        return jax.grad(lambda x: jnp.sum(gradient_reversal(x, strength)))(x)

    jitted = jax.jit(gradient)
    np.testing.assert_array_equal(jitted(0.25), [-0.25] * 3)
    np.testing.assert_array_equal(jitted(0.75), [-0.75] * 3)
    assert len(traces) == 1
    strengths = jnp.array([0.0, 0.5, 1.0])
    np.testing.assert_array_equal(jax.vmap(gradient)(strengths), -jnp.tile(strengths[:, None], 3))
    _, scanned = jax.lax.scan(lambda carry, s: (carry, gradient(s)), 0, strengths)
    np.testing.assert_array_equal(scanned, -jnp.tile(strengths[:, None], 3))


def test_the_function_and_its_module_have_one_name():
    from jdann.gradient_reversal import gradient_reversal as from_module

    assert from_module is gradient_reversal


def test_strength_itself_gets_no_gradient():
    assert jax.grad(lambda s: jnp.sum(gradient_reversal(jnp.ones(2), s)))(0.7) == 0
    assert jax.grad(lambda x: gradient_reversal(x, 1))(2.0) == -1  # an integer strength


def test_the_gradient_reversal_imports_nothing_heavier_than_jax():
    code = (
        "import sys, jax; before = set(sys.modules); from jdann import gradient_reversal; "
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before} & "
        "{'flax', 'optax', 'librosa', 'matplotlib', 'sklearn', 'tensorflow', 'orbax', 'scipy', "
        "'tensorflow_datasets', 'chex'}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert loaded == []


def test_the_command_line_is_there_before_anything_slow_is_imported():
    """So a signal while the program starts finds its handlers."""
    code = "import sys, jdann.cli; print(*{'jax', 'jaxlib', 'numpy', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
