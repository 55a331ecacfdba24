"""The training step: optimisers against their published rules, seeds, determinism, the target."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdann.configuration import base_config
from jdann.data.batches import BatchIndices, Frames, TrainingData, epoch_order
from jdann.experiments.settings import make_training_settings
from jdann.methods import make_method
from jdann.models import make_encoder
from jdann.training.members import CompiledTraining
from jdann.training.optimisation import OptimiserSettings, apply_gradient, init_optimiser
from jdann.training.state import Hyper, Program
from jdann.training.step import source_risk

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
def compiled(method, how="map"):
    config = small_config()
    program = Program(
        encoder=make_encoder(config.encoder.name, config.encoder),
        method=make_method(method),
        settings=make_training_settings(config),
        classes=5,
        speakers=0,
        bins=BINS,
        window=WINDOW,
        phase_steps=(EPOCHS * STEPS,),
    )
    return CompiledTraining(program, how)


def run(method, how="map", seeds=(0,), strength=1.0, target_seed=2, learning_rate=1e-2):
    training = compiled(method, how)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    n = len(seeds)
    hyper = Hyper(jnp.full(n, learning_rate), jnp.full(n, 1e-2), jnp.full(n, strength))
    state = training.init(keys)
    metrics = {}
    data = TrainingData(frames(1), EMOTION, jnp.full(9, -1), frames(target_seed))
    rows, group = np.arange(9), np.zeros(9, int)
    for epoch in range(EPOCHS):
        orders = [
            [epoch_order(rows, group, STEPS, 4, (seed, domain, epoch)) for seed in seeds]
            for domain in (0, 1)
        ]
        indices = BatchIndices(*(jnp.asarray(np.stack(order)) for order in orders))
        labels = jnp.zeros((n, 9, 5))
        state, metrics = training.train_epoch(0, state, keys, hyper, data, indices, labels)
    return training, state, metrics


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.slow
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
        parameters, with_another_target = (
            leaves(run(method, target_seed=t)[1].params["encoder"]) for t in (2, 3)
        )
        assert (
            any((a != b).any() for a, b in zip(parameters, with_another_target, strict=True))
            == sees
        )


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
    before = compiled("dann").compilations()
    run("dann", learning_rate=1e-4, strength=0.1)
    assert compiled("dann").compilations() == before


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_optimisers_equal_their_published_rules(name):
    """Two steps on a matrix and a bias, by hand.

    Kingma and Ba 2015; Loshchilov and Hutter 2019; heavy-ball momentum.
    """
    settings = OptimiserSettings(name, momentum=0.9, clip_norm=0.0)
    rate, decay = 0.1, 0.02
    random = np.random.default_rng(0)
    params = {"kernel": random.normal(size=(2, 3)), "bias": random.normal(size=3)}
    gradients = [{k: random.normal(size=v.shape) for k, v in params.items()} for _ in range(2)]
    ours = {"encoder": jax.tree.map(jnp.asarray, params)}
    state = init_optimiser(settings, ours)
    for gradient in gradients:
        ours, state, _ = apply_gradient(
            settings,
            {"encoder": jax.tree.map(jnp.asarray, gradient)},
            ours,
            state,
            learning_rate=jnp.float32(rate),
            weight_decay=jnp.float32(decay),
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
    settings = OptimiserSettings("sgd", momentum=0.0, clip_norm=1.0)
    params = {
        "encoder": {"bias": jnp.zeros(1)},
        "classifier": {"bias": jnp.zeros(1)},
        "method": {"bias": jnp.ones(1)},
    }
    gradient = {"encoder": {"bias": jnp.array([30.0])}, "classifier": {"bias": jnp.array([40.0])}}
    moved, state, norm = apply_gradient(
        settings,
        gradient,
        params,
        init_optimiser(settings, params),
        learning_rate=jnp.float32(1.0),
        weight_decay=jnp.float32(0.1),
    )
    assert norm == pytest.approx(50)
    np.testing.assert_allclose([moved[g]["bias"][0] for g in params], [-0.6, -0.8, 1.0], rtol=1e-6)
    assert set(state) == set(params)


def test_source_risk_smooths_labels():
    logits = np.array([[2.0, 0.0, -1.0]])
    log_p = logits - np.log(np.exp(logits).sum())
    target = np.array([0.1 / 3 + 0.9, 0.1 / 3, 0.1 / 3])
    np.testing.assert_allclose(
        source_risk(jnp.asarray(logits), jnp.array([0]), 0.1), -(target * log_p).sum(), rtol=1e-6
    )


def test_outputs_ignore_padding_and_batching():
    training, state, _ = run("dann")
    by_three = training.outputs("target", state, frames(2), jnp.arange(9).reshape(3, 3))
    at_once = training.outputs("target", state, frames(2), jnp.arange(9).reshape(1, 9))
    np.testing.assert_allclose(by_three.logits, at_once.logits, rtol=1e-4, atol=1e-5)
