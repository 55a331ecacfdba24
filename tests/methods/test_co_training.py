"""Co-training: the discriminant against scikit-learn, and what two views do that one cannot."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from jdann.cluster.mesh import make_mesh
from jdann.data.batches import Frames, TrainingData
from jdann.data.splits import Split
from jdann.errors import InputError
from jdann.features.prosody import PROSODIC
from jdann.methods import discriminant
from jdann.methods.co_training import AS_PROSODY, AS_SOURCE, MIXED, co_training
from jdann.methods.contract import InitialLabels
from jdann.methods.pseudo_labels import prior_among
from jdann.training import loop

CLASSES, FIRST, REST = 3, len(PROSODIC), 40


def one_hot(emotion):
    """[n, classes]; a row of zeros where the emotion is -1."""
    return jax.nn.one_hot(jnp.asarray(emotion), CLASSES)


def domains(n=150, m=240, seed=0):
    """Two views of three classes.

    The first is noisy and the same in both domains, the second is clear and differs between them.
    """
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
    reference = LinearDiscriminantAnalysis(
        "lsqr", shrinkage=shrinkage, priors=[1 / CLASSES] * CLASSES
    ).fit(features, label)
    model = discriminant.fit(
        jnp.asarray(features, jnp.float32), jax.nn.one_hot(label, CLASSES), shrinkage
    )
    expected = reference.decision_function(features)
    actual = np.asarray(discriminant.logits(model, jnp.asarray(features, jnp.float32)))
    np.testing.assert_allclose(
        actual - actual.mean(1, keepdims=True),
        expected - expected.mean(1, keepdims=True),
        atol=1e-3,
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

    def accuracy(**settings):
        label = jax.jit(co_training(**settings).initial_labels)
        labels = label(jax.random.key(0), source, one_hot(emotion), target).labels
        np.testing.assert_allclose(labels.sum(1), 1, atol=1e-3)
        if settings.get("prior") == "uniform":
            np.testing.assert_allclose(labels.mean(0), 1 / CLASSES, atol=0.01)
        return (labels.argmax(1) == hidden).mean()

    first_view = accuracy(rounds=0)
    assert 0.4 < first_view < 0.9
    both_views = accuracy()
    assert both_views > first_view + 0.05
    assert accuracy(prior="uniform") > first_view + 0.05
    unadapted = discriminant.fit(source, jax.nn.one_hot(emotion, CLASSES), 0.7)
    assert both_views > (discriminant.logits(unadapted, target).argmax(1) == hidden).mean() + 0.05


def test_unlabelled_source_counts_for_nothing_and_seeds_draw_their_own_folds():
    (source, emotion), (target, _) = domains()
    label = jax.jit(co_training().initial_labels)
    longer = jnp.concatenate([source, 9 * source[:30]])
    unlabelled = jnp.concatenate([jnp.asarray(emotion), jnp.full(30, -1)])
    expected = label(jax.random.key(0), source, one_hot(emotion), target).labels
    actual = label(jax.random.key(0), longer, one_hot(unlabelled), target).labels
    np.testing.assert_allclose(actual, expected, atol=1e-3)
    second = label(jax.random.key(1), source, one_hot(emotion), target).labels
    assert jnp.abs(expected - second).max() > 0


def test_a_class_that_nearly_vanishes_makes_the_labels_cautious():
    """Scikit-learn's discriminants give the labels with which those of co-training are mixed."""
    (source, emotion), (target, hidden) = domains()
    target = target[(hidden < 2) | (np.arange(len(hidden)) < 30)]  # ten utterances of class 2

    def make(**settings):
        label = jax.jit(co_training(**settings).initial_labels)
        made = label(jax.random.key(0), source, one_hot(emotion), target)
        return np.asarray(made.labels), made.evidence

    def labels(**settings):
        return make(**settings)[0]

    bold, evidence = make(least_share=0.0)
    assert evidence[MIXED] == 0
    share = np.bincount(bold.argmax(1), minlength=CLASSES).min() / len(bold) * CLASSES
    assert 0.05 < share < 0.95
    np.testing.assert_array_equal(labels(least_share=share - 0.02, caution=0.6), bold)
    reference = LinearDiscriminantAnalysis("lsqr", shrinkage=0.7, priors=[1 / CLASSES] * CLASSES)
    reference.fit(np.clip(source, -5, 5), emotion)
    of_source = softmax(reference.decision_function(np.clip(target, -5, 5)) / 2, axis=1)
    of_view_one = labels(rounds=0, least_share=0.0)
    cautious, evidence = make(least_share=share + 0.02, caution=0.6)
    expected = 0.4 * bold + 0.3 * of_view_one + 0.3 * of_source
    np.testing.assert_allclose(cautious, expected, atol=1e-3)
    assert evidence[MIXED] == 1
    for name, others in ((AS_PROSODY, of_view_one), (AS_SOURCE, of_source)):
        same = (bold.argmax(1) == others.argmax(1)).mean()
        np.testing.assert_allclose(evidence[name], same, atol=0.02)


@pytest.mark.slow
def test_shares_that_the_user_expects_make_nothing_cautious():
    (source, emotion), (target, hidden) = domains()
    target = target[(hidden < 2) | (np.arange(len(hidden)) < 30)]
    prior = "0.47,0.47,0.06"
    expected, actual = (
        co_training(prior=prior, least_share=share).initial_labels(
            jax.random.key(0), source, one_hot(emotion), target
        )
        for share in (0.0, 0.7)
    )
    np.testing.assert_array_equal(actual.labels, expected.labels)


@pytest.mark.slow
def test_a_prior_of_its_own_is_met():
    (source, emotion), (target, _) = domains()
    # Confident posteriors that contradict the prior need many iterations.
    label = co_training(prior="0.5,0.3,0.2", iterations=1000).initial_labels
    labels = label(jax.random.key(0), source, one_hot(emotion), target).labels
    np.testing.assert_allclose(labels.mean(0), [0.5, 0.3, 0.2], atol=0.01)
    with pytest.raises(InputError, match=r"co_training: prior is '0.5,0.5'"):
        co_training(prior="0.5,0.5").initial_labels(
            jax.random.key(0), source, one_hot(emotion), target
        )


@pytest.mark.parametrize(("relevance", "doubt"), [(10.0, 0.0), (5.0, 3.0)])
def test_a_label_by_the_user_weighs_as_its_relevance_says(relevance, doubt):
    """With 30 source utterances of a class, one label at relevance 10 counts thrice.

    Each class has three labels. At a doubt of three, each counts half.
    """
    (source, emotion), (target, hidden) = domains()
    rows = np.concatenate([np.flatnonzero(emotion == c)[:30] for c in range(CLASSES)])
    source, emotion = source[rows], emotion[rows]
    labelled = np.arange(0, 60, 7)
    known = jnp.zeros((len(target), CLASSES)).at[labelled].set(one_hot(hidden[labelled]))
    method = co_training(rounds=0, rounds_first=0, label_relevance=relevance, label_doubt=doubt)
    made = method.initial_labels(jax.random.key(0), source, one_hot(emotion), target, known)
    labels = made.labels
    np.testing.assert_array_equal(labels[labelled], known[labelled])
    features = jnp.concatenate([source, *[target[labelled]] * 3])[:, : len(PROSODIC)]
    model = discriminant.fit(
        features, one_hot(np.concatenate([emotion, *[hidden[labelled]] * 3])), 0.7
    )
    logits = discriminant.logits(model, target[:, : len(PROSODIC)]) / 2
    others = np.setdiff1d(np.arange(len(target)), labelled)
    np.testing.assert_allclose(labels[others], jax.nn.softmax(logits)[others], atol=1e-3)


@pytest.mark.parametrize("prior", [pytest.param("uniform", marks=pytest.mark.slow), "none"])
def test_a_class_that_the_source_lacks_is_given_to_nobody(prior):
    (source, emotion), (target, hidden) = domains()
    prior = prior_among(prior, (True, False, True), "prior")
    rows = np.flatnonzero(emotion != 1)
    label = co_training(prior=prior).initial_labels
    labels = label(jax.random.key(0), source[rows], one_hot(emotion[rows]), target).labels
    assert np.isfinite(labels).all() and labels[:, 1].max() < 1e-3
    assert (labels.argmax(1) == hidden)[hidden != 1].mean() > 0.7


def test_folds_of_one_size_are_labelled_by_one_program():
    traces = []

    def initial_labels(key, source, source_labels, target, known, clips_of_speaker):
        assert known is None and clips_of_speaker is None
        traces.append(len(target))
        labels = target[:, :CLASSES] + source_labels[0].argmax().astype(target.dtype)
        return InitialLabels(labels, {})

    n, values = 9, 4
    rows = np.random.default_rng(0).normal(size=(n, values)).astype(np.float16)
    frames = Frames(rows, np.arange(n, dtype=np.int32), np.ones(n, np.int32))
    speaker = jnp.zeros(n, jnp.int32)
    data = TrainingData(frames, jnp.arange(n, dtype=jnp.int32), speaker, frames)
    method = SimpleNamespace(initial_labels=initial_labels)
    program = SimpleNamespace(method=method, classes=n)
    training = SimpleNamespace(program=program, mesh=make_mesh(members=2, batch_size=1))
    keys = jax.random.split(jax.random.key(0), 2)
    for fold in (np.arange(6), np.arange(3, 9)):
        split = Split("fold", fold, fold[:0], fold, fold)  # nothing is labelled by the user
        run = SimpleNamespace(
            training=training,
            task=SimpleNamespace(data=data, split=split, target_speaker=np.full(n, -1)),
            keys=keys,
        )
        actual = loop._initial_labels(run).labels  # pyright: ignore
        expected = rows[fold, :CLASSES].astype(np.float32) + fold[0]
        np.testing.assert_allclose(actual, np.stack([expected] * 2))
    assert traces == [6]
