"""One suite over every method, and what each is for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jdann.configuration import base_config
from jdann.errors import InputError
from jdann.methods import METHODS, Dims, Source, Target, make_method
from jdann.training import source_risk

BATCH, DIMS = 12, Dims(representation=6, classes=3)


def batch(seed=0, shift=0.0):
    random = np.random.default_rng(seed)
    source, target = random.normal(size=(2, BATCH, DIMS.representation)).astype(np.float32)
    return jnp.asarray(source), jnp.asarray(target + shift), jnp.asarray(random.integers(0, DIMS.classes, BATCH))


def objective(method, params, head, source, target, emotion, strength):
    logits = source @ head
    of_source = Source(source, logits, emotion, source_risk(logits, emotion, 0.0))
    of_target = Target(target, target @ head) if method.uses_target else None
    return method.loss(params, of_source, of_target, strength=strength, key=jax.random.key(1))


@pytest.fixture(params=METHODS)
def method(request):
    return make_method(request.param, base_config())


HEAD = jnp.asarray(np.random.default_rng(9).normal(size=(DIMS.representation, DIMS.classes)), jnp.float32)


def test_finite_under_jit_and_vmap_without_recompiling(method):
    source, target, emotion = batch()
    params = jax.vmap(lambda key: method.init(key, DIMS))(jax.random.split(jax.random.key(0), 3))
    traces = []

    @jax.jit
    def gradients(params, source, target, emotion, strength):
        traces.append(None)

        def one(params, strength):
            return jax.grad(lambda p, s, t: objective(method, p, HEAD, s, t, emotion, strength)[0], argnums=(0, 1, 2))(
                params, source, target
            )

        return jax.vmap(one)(params, strength)

    for strength in (0.0, 1.0):
        values = gradients(params, source, target, emotion, jnp.full(3, strength))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(values))
    assert len(traces) == 1


def test_strength_zero_leaves_the_encoder_the_source_risk_alone(method):
    source, target, emotion = batch()
    params = method.init(jax.random.key(0), DIMS)
    gradient = jax.grad(lambda s, t: objective(method, params, HEAD, s, t, emotion, 0.0)[0], argnums=(0, 1))(source, target)
    of_risk = jax.grad(lambda s: source_risk(s @ HEAD, emotion, 0.0))(source)
    np.testing.assert_allclose(gradient[0], of_risk, atol=1e-7)
    assert not np.any(gradient[1])


def test_the_risk_is_part_of_the_loss(method):
    source, target, emotion = batch()
    params = method.init(jax.random.key(0), DIMS)
    loss, diagnostics = objective(method, params, HEAD, source, target, emotion, 1.0)
    assert loss >= source_risk(source @ HEAD, emotion, 0.0) - 1e-6
    assert all(np.ndim(value) == 0 for value in diagnostics.values())


def test_dann_loss_equals_a_derivation_in_numpy():
    source, target, emotion = batch()
    method = make_method("dann", base_config())
    params = method.init(jax.random.key(0), DIMS)

    def probability_of_target(x):
        for layer in ("Dense_0", "Dense_1"):
            x = np.maximum(x @ np.asarray(params[layer]["kernel"]) + np.asarray(params[layer]["bias"]), 0)
        return 1 / (1 + np.exp(-(x @ np.asarray(params["Dense_2"]["kernel"]) + np.asarray(params["Dense_2"]["bias"]))[:, 0]))

    p_source, p_target = probability_of_target(np.asarray(source)), probability_of_target(np.asarray(target))
    domain = -0.5 * (np.log(1 - p_source).mean() + np.log(p_target).mean())
    loss, diagnostics = objective(method, params, HEAD, source, target, emotion, 1.0)
    logits = np.asarray(source @ HEAD)
    risk = (np.log(np.exp(logits).sum(1)) - logits[np.arange(BATCH), emotion]).mean()
    np.testing.assert_allclose(loss, risk + domain, rtol=1e-5)
    np.testing.assert_allclose(diagnostics["domain_loss"], domain, rtol=1e-5)
    np.testing.assert_allclose(diagnostics["domain_accuracy"], ((p_source < 0.5).mean() + (p_target > 0.5).mean()) / 2)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_dann_removes_a_shift_with_strength_one_and_leaves_it_with_zero(strength):
    """One scale a dimension is the encoder; the first dimension carries the shift between domains, the second the label."""
    method = make_method("dann", base_config())
    random = np.random.default_rng(0)
    emotion = random.integers(0, 2, 256)
    source = random.normal(size=(256, 2)).astype(np.float32) * 0.5
    target = random.normal(size=(256, 2)).astype(np.float32) * 0.5
    source[:, 1] += 2.0 * emotion - 1
    target[:, 1] += 2.0 * random.integers(0, 2, 256) - 1
    target[:, 0] += 2.0
    params = {"scale": jnp.ones(2), "head": jnp.zeros((2, 2)), "method": method.init(jax.random.key(0), Dims(2, 2))}
    optimiser = optax.sgd(0.05)

    def loss(params):
        s, t = source * params["scale"], target * params["scale"]
        of_source = Source(s, s @ params["head"], emotion, source_risk(s @ params["head"], emotion, 0.0))
        return method.loss(params["method"], of_source, Target(t, t @ params["head"]), strength=strength, key=None)

    def step(carry, _):
        params, state = carry
        gradient, diagnostics = jax.grad(loss, has_aux=True)(params)
        updates, state = optimiser.update(gradient, state)
        return (optax.apply_updates(params, updates), state), (params["scale"], diagnostics)

    (params, _), (scale, diagnostics) = jax.jit(lambda p: jax.lax.scan(step, (p, optimiser.init(p)), length=1000))(params)
    shift = float(jnp.abs(scale[-300:, 0]).mean()) * 2.0
    if strength == 0:
        assert shift > 1.0  # nothing pulls on it
        assert diagnostics["domain_accuracy"][-1] > 0.9  # and the discriminator learns it
    else:
        assert shift < 0.5
        assert diagnostics["domain_loss"][-50:].mean() == pytest.approx(np.log(2), abs=0.12)
    assert abs(float(params["scale"][1])) > 0.5  # the label's dimension stays


def test_unknown_methods_are_named():
    with pytest.raises(InputError, match="'danm'; known are source_only, dann"):
        make_method("danm", base_config())
