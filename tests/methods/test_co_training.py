"""Co-training: the discriminant against scikit-learn, and what two views do that one cannot."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from jdann.configuration import base_config
from jdann.data.batches import Frames
from jdann.data.splits import Split
from jdann.errors import InputError
from jdann.features.prosody import PROSODIC
from jdann.methods import discriminant, make_method
from jdann.methods.self_training import prior_among
from jdann.training import loop
from jdann.training.step import Data

CLASSES, FIRST, REST = 3, len(PROSODIC), 40


def config():
    base = base_config()
    base.emotions = ("neutral", "happy", "angry")
    return base


def domains(n=150, m=240, seed=0):
    """Two views of three classes: the first is noisy and the same in both domains, the second clear and another in each."""
    random = np.random.default_rng(seed)
    shared, of_source, of_target = (random.normal(size=(CLASSES, d)) for d in (FIRST, REST, REST))

    def draw(count, clear):
        label = np.arange(count) % CLASSES
        first = 0.2 * shared[label] + random.normal(size=(count, FIRST))
        second = clear[label] + random.normal(size=(count, REST))
        return jnp.asarray(np.concatenate([first, second], 1), jnp.float32), label

    return draw(n, of_source), draw(m, of_target)


@pytest.mark.parametrize("shrinkage", [0.1, 0.7])
def test_the_discriminant_is_scikit_learns(shrinkage):
    random = np.random.default_rng(0)
    label = np.sort(random.integers(0, CLASSES, 80))
    features = random.normal(size=(80, 12)) + label[:, None] * 0.5
    theirs = LinearDiscriminantAnalysis(
        "lsqr", shrinkage=shrinkage, priors=[1 / CLASSES] * CLASSES
    ).fit(features, label)
    mine = discriminant.fit(
        jnp.asarray(features, jnp.float32), jax.nn.one_hot(label, CLASSES), shrinkage
    )
    expected = theirs.decision_function(features)
    found = np.asarray(discriminant.logits(mine, jnp.asarray(features, jnp.float32)))
    np.testing.assert_allclose(
        found - found.mean(1, keepdims=True), expected - expected.mean(1, keepdims=True), atol=1e-3
    )


def test_a_doubled_utterance_weighs_as_much_as_a_label_of_weight_two():
    random = np.random.default_rng(1)
    features, label = (
        jnp.asarray(random.normal(size=(30, 5)), jnp.float32),
        jax.nn.one_hot(np.arange(30) % CLASSES, CLASSES),
    )
    weighted = discriminant.fit(features, label.at[:4].multiply(2.0), 0.5)
    doubled = discriminant.fit(
        jnp.concatenate([features, features[:4]]), jnp.concatenate([label, label[:4]]), 0.5
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), weighted, doubled
    )


def test_the_second_view_is_learnt_within_the_target():
    (source, emotion), (target, hidden) = domains()

    def accuracy(base):
        label = make_method("co_training", base).label
        labels = jax.jit(label)(jax.random.key(0), source, jnp.asarray(emotion), target)
        np.testing.assert_allclose(labels.sum(1), 1, atol=1e-3)
        if base.co_training.prior == "uniform":
            np.testing.assert_allclose(labels.mean(0), 1 / CLASSES, atol=0.01)
        return (labels.argmax(1) == hidden).mean()

    alone, even = config(), config()
    alone.co_training.rounds, even.co_training.prior = 0, "uniform"
    assert 0.4 < accuracy(alone) < 0.9  # the first view alone
    assert accuracy(config()) > accuracy(alone) + 0.05
    assert accuracy(even) > accuracy(alone) + 0.05
    unadapted = discriminant.fit(source, jax.nn.one_hot(emotion, CLASSES), 0.7)
    assert (
        accuracy(config())
        > (discriminant.logits(unadapted, target).argmax(1) == hidden).mean() + 0.05
    )


def test_unlabelled_source_counts_for_nothing_and_seeds_draw_their_own_folds():
    (source, emotion), (target, _) = domains()
    label = jax.jit(make_method("co_training", config()).label)
    more, none = (
        jnp.concatenate([source, 9 * source[:30]]),
        jnp.concatenate([jnp.asarray(emotion), jnp.full(30, -1)]),
    )
    expected = label(jax.random.key(0), source, jnp.asarray(emotion), target)
    np.testing.assert_allclose(label(jax.random.key(0), more, none, target), expected, atol=1e-3)
    one, other = (
        label(jax.random.key(seed), source, jnp.asarray(emotion), target) for seed in (0, 1)
    )
    assert jnp.abs(one - other).max() > 0


def test_a_prior_of_its_own_is_met():
    (source, emotion), (target, _) = domains()
    base = config()
    base.co_training.prior = "0.5,0.3,0.2"
    base.co_training.iterations = (
        1000  # surer posteriors that contradict the prior have farther to go
    )
    labels = make_method("co_training", base).label(
        jax.random.key(0), source, jnp.asarray(emotion), target
    )
    np.testing.assert_allclose(labels.mean(0), [0.5, 0.3, 0.2], atol=0.01)
    base.co_training.prior = "0.5,0.5"
    with pytest.raises(InputError, match=r"config\.co_training\.prior is '0.5,0.5'"):
        make_method("co_training", base)


@pytest.mark.parametrize("prior", ["uniform", "none"])
def test_a_class_that_the_source_lacks_is_given_to_nobody(prior):
    (source, emotion), (target, hidden) = domains()
    base = config()
    base.co_training.prior = prior_among("co_training", prior, (True, False, True))
    rows = np.flatnonzero(emotion != 1)
    labels = make_method("co_training", base).label(
        jax.random.key(0), source[rows], jnp.asarray(emotion[rows]), target
    )
    assert np.isfinite(labels).all() and labels[:, 1].max() < 1e-3
    assert (labels.argmax(1) == hidden)[hidden != 1].mean() > 0.7


def test_folds_of_one_size_are_labelled_by_one_program():
    traces = []

    def label(key, source, emotion, target):
        traces.append(len(target))
        return target[:, :CLASSES] + emotion[0]

    n, values = 9, 4
    rows = np.random.default_rng(0).normal(size=(n * values, 1)).astype(np.float16)
    frames = Frames(rows, np.arange(n, dtype=np.int32) * values, np.full(n, values, np.int32))
    data = Data(frames, jnp.arange(n, dtype=jnp.int32), jnp.zeros(n, jnp.int32), frames)
    train, keys = (
        SimpleNamespace(method=SimpleNamespace(label=label)),
        jax.random.split(jax.random.key(0), 2),
    )
    for fold in (np.arange(6), np.arange(3, 9)):
        split = Split("fold", fold, fold[:0], fold, fold)
        task = loop.Task("toy", split, data, np.zeros(n, int), 6, (0, 0, 0), bytes(16))
        found = loop._labelled(train, task, keys)  # pyright: ignore[reportArgumentType]
        expected = rows.reshape(n, values)[fold, :CLASSES].astype(np.float32) + fold[0]
        np.testing.assert_allclose(found, np.stack([expected] * 2))
    assert traces == [6]
