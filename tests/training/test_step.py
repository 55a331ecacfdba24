"""The training step: optimisers against PyTorch's published rules, seeds, determinism, what the target may touch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdann.configuration import base_config
from jdann.data.batches import Frames, batches
from jdann.errors import InputError
from jdann.methods import make_method
from jdann.models import make_encoder
from jdann.training.optimisation import begin, descend, make_optimiser
from jdann.training.step import Batches, Data, Hyper, make_train, source_risk

WINDOW, BINS, STEPS = 16, 4, 3


def small_config(**changes):
    config = base_config()
    config.encoder.channels, config.encoder.strides, config.encoder.kernel_size = (8,), (1,), 3
    config.batch_size = 4
    for key, value in changes.items():
        config[key] = value
    return config


def frames(seed, n=9):
    random = np.random.default_rng(seed)
    length = random.integers(6, WINDOW, n).astype(np.int32)
    start = np.concatenate([[0], np.cumsum(length)[:-1]]).astype(np.int32)
    values = np.concatenate(
        [random.normal(size=(length.sum(), BINS)), np.zeros((WINDOW, BINS))]
    ).astype(np.float16)
    return Frames(jnp.asarray(values), start, length)


EMOTION = jnp.asarray(np.arange(9) % 5)


EPOCHS = 2


@functools.cache  # compiling costs more than all the steps
def functions(method, how="map"):
    config = small_config(seeds_in=how)
    encoder = make_encoder(config.encoder.name, config.encoder)
    made, steps = make_method(method, config), [EPOCHS * STEPS]
    return make_train(
        config, encoder, made, bins=BINS, window=WINDOW, speakers=0, phase_steps=steps
    )


def run(method, how="map", seeds=(0,), strength=1.0, target_seed=2, learning_rate=1e-2):
    train = functions(method, how)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    n = len(seeds)
    hyper = Hyper(jnp.full(n, learning_rate), jnp.full(n, 1e-2), jnp.full(n, strength))
    state = train.init(keys, hyper)
    metrics = {}
    for epoch in range(EPOCHS):
        rows, group = np.arange(9), np.zeros(9, int)
        order = [
            jnp.asarray(np.stack([batches(rows, group, STEPS, 4, (s, d, epoch)) for s in seeds]))
            for d in (0, 1)
        ]
        data = Data(frames(1), EMOTION, jnp.full(9, -1), frames(target_seed))
        state, metrics = train.epochs[0](
            state, keys, hyper, data, Batches(*order), jnp.zeros((n, 9, 5))
        )
    return train, state, metrics


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("how", ["vmap", "map"])
def test_seeds_together_equal_seeds_one_by_one(how):
    _, together, _ = run("dann", how, seeds=(0, 1, 2))
    for s in range(3):
        _, alone, _ = run("dann", how, seeds=(s,))
        for a, b in zip(leaves(together.params), leaves(alone.params), strict=True):
            np.testing.assert_allclose(a[s], b[0], rtol=2e-4, atol=2e-5)
    assert any((leaf[0] != leaf[1]).any() for leaf in leaves(together.params))


def test_the_same_seed_gives_the_same_bits():
    first, second = (leaves(run("dann")[1]) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_source_only_never_sees_the_target_and_dann_does():
    for method, sees in (("source_only", False), ("dann", True)):
        one, other = (leaves(run(method, target_seed=t)[1].params["encoder"]) for t in (2, 3))
        assert any((a != b).any() for a, b in zip(one, other, strict=True)) == sees


def test_diagnostics_follow_the_schedules():
    _, state, metrics = run("dann", strength=0.5)
    assert int(state.step[0]) == 2 * STEPS
    np.testing.assert_allclose(
        metrics["strength"][0], 0.5 * np.tanh(5 * np.arange(3, 6) / 6), rtol=1e-5
    )
    assert {
        "loss",
        "source_risk",
        "source_accuracy",
        "domain_loss",
        "domain_accuracy",
        "gradient_norm",
        "learning_rate",
    } <= set(metrics)


def test_no_recompilation_for_another_learning_rate_or_strength():
    run("dann")
    before = functions("dann").epochs[0]._cache_size()  # pyright: ignore
    run("dann", learning_rate=1e-4, strength=0.1)
    assert functions("dann").epochs[0]._cache_size() == before  # pyright: ignore


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_optimisers_equal_their_published_rules(name):
    """Two steps on a matrix and a bias, by hand: Kingma & Ba 2015; Loshchilov & Hutter 2019; heavy-ball momentum."""
    config = base_config().optimiser
    config.name, config.schedule, config.clip_norm, config.momentum = name, "constant", 0.0, 0.9
    rate, decay = 0.1, 0.02
    random = np.random.default_rng(0)
    params = {"kernel": random.normal(size=(2, 3)), "bias": random.normal(size=3)}
    gradients = [{k: random.normal(size=v.shape) for k, v in params.items()} for _ in range(2)]
    ours = {"encoder": jax.tree.map(jnp.asarray, params)}
    state = begin(config, ours)
    for gradient in gradients:
        of_group = {"encoder": jax.tree.map(jnp.asarray, gradient)}
        ours, state, _ = descend(
            config, jnp.float32(decay), jnp.float32(rate), of_group, ours, state
        )
    for key, p in params.items():
        m = v = np.zeros_like(p)
        wd = decay if key == "kernel" else 0.0
        for t, gradient in enumerate(gradients, 1):
            g = gradient[key] + (wd * p if name != "adamw" else 0)
            if name == "sgd":
                m = 0.9 * m + g
                p = p - rate * m
            else:
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
                p = p - rate * (
                    m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
                    + (wd * p if name == "adamw" else 0)
                )
        np.testing.assert_allclose(ours["encoder"][key], p, rtol=2e-4)


def test_clipping_is_over_all_groups_and_the_others_stay():
    config = base_config().optimiser
    config.name, config.clip_norm, config.momentum = "sgd", 1.0, 0.0
    params = {
        "encoder": {"bias": jnp.zeros(1)},
        "classifier": {"bias": jnp.zeros(1)},
        "method": {"bias": jnp.ones(1)},
    }
    gradient = {"encoder": {"bias": jnp.array([30.0])}, "classifier": {"bias": jnp.array([40.0])}}
    moved, state, norm = descend(
        config, jnp.float32(0.1), jnp.float32(1.0), gradient, params, begin(config, params)
    )
    assert norm == pytest.approx(50)
    np.testing.assert_allclose([moved[g]["bias"][0] for g in params], [-0.6, -0.8, 1.0], rtol=1e-6)
    assert set(state) == set(params)


def test_an_unknown_optimiser_is_named():
    config = base_config().optimiser
    config.name = "lion"
    with pytest.raises(InputError, match="lion.*adamw, adam, sgd"):
        make_optimiser(config, 0.0)


def test_source_risk_smooths_labels():
    logits = np.array([[2.0, 0.0, -1.0]])
    log_p = logits - np.log(np.exp(logits).sum())
    target = np.array([0.1 / 3 + 0.9, 0.1 / 3, 0.1 / 3])
    np.testing.assert_allclose(
        source_risk(jnp.asarray(logits), jnp.array([0]), 0.1), -(target * log_p).sum(), rtol=1e-6
    )


def test_outputs_ignore_padding_and_batching():
    train, state, _ = run("dann")
    by_three = train.outputs(state, frames(2), jnp.arange(9).reshape(3, 3), domain="target")
    at_once = train.outputs(state, frames(2), jnp.arange(9).reshape(1, 9), domain="target")
    np.testing.assert_allclose(by_three.logits, at_once.logits, rtol=1e-4, atol=1e-5)
