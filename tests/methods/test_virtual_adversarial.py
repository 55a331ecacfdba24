"""Virtual adversarial training against derivatives by hand, in NumPy and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from jdann.methods import Context, Dims, Source, Target
from jdann.methods.losses import entropies, kl_divergence
from jdann.methods.virtual_adversarial import (
    dirt_t,
    unit,
    vada,
    virtual_adversarial,
)
from tests.support.toy_training import CLASSES, perceptron, softmax

FRAMES, BINS, WIDTH = 3, 2, 4
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(5, FRAMES, BINS)).astype(np.float32)
LENGTH = np.array([3, 2, 1, 3, 2], np.int32)
VALID = (np.arange(FRAMES) < LENGTH[:, None])[..., None]
ENCODER, CLASSIFIER, TEACHER = (
    RANDOM.normal(size=s) for s in ((BINS, WIDTH), (WIDTH, CLASSES), (BINS, CLASSES))
)


def pooled(features, length, xp=np):
    """The sum over valid frames: linear, so that derivatives are short to write."""
    valid = (xp.arange(FRAMES)[None] < length[:, None])[..., None]
    return xp.where(valid, features, 0).sum(1)


def predict(features, length, xp=np):
    return pooled(features, length, xp) @ ENCODER @ CLASSIFIER


def make_context(strength=1.0, source_scale=1.0):
    """A linear network, in which the source's representation is `source_scale` times larger."""

    def encode(encoder, features, length):
        return source_scale * pooled(features, length, jnp) @ jnp.asarray(ENCODER, jnp.float32)

    def classify(representation):
        return representation @ jnp.asarray(CLASSIFIER, jnp.float32)

    def forward(features, length):
        representation = encode({}, features, length) / source_scale
        return representation, classify(representation)

    def teacher(features, length):
        return pooled(features, length, jnp) @ jnp.asarray(TEACHER, jnp.float32)

    key, params = jax.random.key(3), {"encoder": {}, "classifier": {}}
    return Context(
        jnp.float32(strength),
        progress=jnp.zeros(()),
        key=key,
        params=params,
        label_smoothing=0.0,
        memory={},
        forward=forward,
        encode=encode,
        classify=classify,
        teacher=teacher,
    )


def divergence(p, logits):
    return scipy.stats.entropy(p, softmax(logits), axis=1)


def turned_most(features, radius, probe, draw, factor=1.0):
    """KL under the change that one power iteration from `draw` finds."""
    features = np.where(VALID, features, 0).astype(np.float64)
    size = np.sqrt((features**2).sum((1, 2), keepdims=True))
    direction = np.where(VALID, draw, 0)
    direction = direction / np.sqrt((direction**2).sum((1, 2), keepdims=True))
    clean = softmax(factor * predict(features, LENGTH))
    probed = softmax(factor * predict(features + probe * size * direction, LENGTH))
    slope = (
        factor * (probed - clean) @ CLASSIFIER.T @ ENCODER.T
    )  # of KL(clean || p) for the sum over frames
    steepest = np.where(VALID, slope[:, None], 0)
    steepest = steepest / np.sqrt((steepest**2).sum((1, 2), keepdims=True))
    return divergence(clean, factor * predict(features + radius * size * steepest, LENGTH))


def test_the_change_is_one_power_iteration():
    context = make_context()
    draw = np.asarray(jax.random.uniform(context.key, FEATURES.shape, minval=-1.0))
    actual = virtual_adversarial(jnp.asarray(FEATURES), jnp.asarray(LENGTH), context, 0.2, 0.05)
    np.testing.assert_allclose(actual, turned_most(FEATURES, 0.2, 0.05, draw), rtol=1e-3)


def test_the_change_turns_predictions_more_than_chance():
    context = make_context()
    actual = np.asarray(
        virtual_adversarial(jnp.asarray(FEATURES), jnp.asarray(LENGTH), context, 0.2, 0.01)
    )
    size = np.sqrt(np.where(VALID, FEATURES**2, 0).sum((1, 2), keepdims=True))
    clean = softmax(predict(FEATURES, LENGTH))
    by_chance = []
    for _ in range(50):
        change = np.where(VALID, RANDOM.normal(size=FEATURES.shape), 0)
        change *= 0.2 * size / np.sqrt((change**2).sum((1, 2), keepdims=True))
        by_chance.append(divergence(clean, predict(FEATURES + change, LENGTH)))
    assert np.all(actual > np.mean(by_chance, 0))


def test_the_change_is_finite_where_nothing_turns_the_prediction():
    def value(scale, features, slope):
        def forward(features, length):
            logits = slope * predict(features, length, jnp)
            return logits, scale * logits

        context = make_context()._replace(forward=forward)
        return virtual_adversarial(features, jnp.asarray(LENGTH), context, 0.1, 0.01).sum()

    for features, slope in ((0 * FEATURES, 1.0), (1e4 * FEATURES, 1.0), (FEATURES, 0.0)):
        assert np.isfinite(jax.value_and_grad(value)(1.0, jnp.asarray(features), slope)).all()


def test_padding_is_left_alone():
    context = make_context()
    padded = jnp.where(VALID, FEATURES, 7.0)
    np.testing.assert_allclose(
        virtual_adversarial(padded, jnp.asarray(LENGTH), context, 0.2, 0.05),
        virtual_adversarial(jnp.asarray(FEATURES), jnp.asarray(LENGTH), context, 0.2, 0.05),
        rtol=1e-5,
    )


def test_the_gradient_flows_into_the_changed_prediction_only():
    """The classifier's derivative is that with a fixed clean prediction and a fixed change."""
    clean = softmax(predict(FEATURES, LENGTH))
    context = make_context()
    draw = np.asarray(jax.random.uniform(context.key, FEATURES.shape, minval=-1.0))

    def value(scale):
        def forward(features, length):
            representation = pooled(features, length, jnp) @ jnp.asarray(ENCODER, jnp.float32)
            return representation, scale * representation @ jnp.asarray(CLASSIFIER, jnp.float32)

        with_forward = context._replace(forward=forward)
        return virtual_adversarial(
            jnp.asarray(FEATURES), jnp.asarray(LENGTH), with_forward, 0.2, 0.05
        ).sum()

    size = np.sqrt(np.where(VALID, FEATURES**2, 0).sum((1, 2), keepdims=True))
    direction = np.where(VALID, draw, 0) / np.sqrt(
        np.where(VALID, draw**2, 0).sum((1, 2), keepdims=True)
    )
    probed = softmax(predict(FEATURES + 0.05 * size * direction, LENGTH))
    slope = np.where(VALID, ((probed - clean) @ CLASSIFIER.T @ ENCODER.T)[:, None], 0)
    change = 0.2 * size * slope / np.sqrt((slope**2).sum((1, 2), keepdims=True))
    logits = predict(FEATURES + change, LENGTH)
    expected = (
        (softmax(logits) - clean) * logits
    ).sum()  # d/d scale of KL(clean || softmax(scale logits)) at 1
    np.testing.assert_allclose(jax.grad(value)(1.0), expected, rtol=2e-3)


def test_units_of_tiny_and_of_zero_gradients():
    x = jnp.asarray(FEATURES)
    np.testing.assert_allclose(unit(1e-30 * x), unit(x), rtol=1e-5)
    np.testing.assert_allclose(np.square(unit(x)).sum((1, 2)), 1, rtol=1e-5)
    assert not np.any(unit(0 * x))


def test_entropy_and_divergence_are_scipys():
    p, q = RANDOM.normal(size=(2, 6, CLASSES))
    np.testing.assert_allclose(
        entropies(jnp.asarray(p)).mean(),
        scipy.stats.entropy(softmax(p), axis=1).mean(),
        rtol=1e-5,
    )
    expected = scipy.stats.entropy(softmax(p), softmax(q), axis=1)
    np.testing.assert_allclose(kl_divergence(jnp.asarray(p), jnp.asarray(q)), expected, rtol=1e-4)


def batch():
    """Source and target whose features are the same and whose outputs are given numbers."""
    random = np.random.default_rng(5)
    r, g = (jnp.asarray(random.normal(size=(2, 5, n)), jnp.float32) for n in (WIDTH, CLASSES))
    emotion = jnp.zeros(5, jnp.int32)
    features, length = jnp.asarray(FEATURES), jnp.asarray(LENGTH)
    source = Source(features, length, emotion, emotion, r[0], g[0])
    return source, Target(features, length, jnp.zeros((5, CLASSES)), r[1], g[1])


def test_vadas_loss_is_the_sum_of_its_terms_and_each_domain_is_turned_by_its_own_statistics():
    method = vada(source_weight=0.7, target_weight=0.2, radius=0.2, probe=0.05)
    params = method.init(jax.random.key(0), Dims(WIDTH, CLASSES, 0))
    source, target = batch()
    value, diagnostics = (
        method.phases[0]
        .updates[0]
        .loss(params, source, target, make_context(0.5, source_scale=2.0))
    )
    p_source, p_target = (
        1 / (1 + np.exp(-perceptron(params, x.representation)[:, 0])) for x in (source, target)
    )
    domain = -0.5 * (np.log(1 - p_source).mean() + np.log(p_target).mean())
    key = make_context().key
    draws = [
        np.asarray(jax.random.uniform(jax.random.fold_in(key, i), FEATURES.shape, minval=-1.0))
        for i in range(2)
    ]
    vat_source = turned_most(FEATURES, 0.2, 0.05, draws[0], factor=2.0).mean()
    vat_target = turned_most(FEATURES, 0.2, 0.05, draws[1]).mean()
    entropy = scipy.stats.entropy(softmax(target.logits), axis=1).mean()
    for name, expected in (
        ("vat_source", vat_source),
        ("vat_target", vat_target),
        ("entropy", entropy),
    ):
        np.testing.assert_allclose(diagnostics[name], expected, rtol=1e-3)
    np.testing.assert_allclose(
        value, domain + 0.5 * (0.7 * vat_source + 0.2 * (vat_target + entropy)), rtol=1e-4
    )


def test_dirt_ts_refinement_is_led_by_the_teacher():
    first, second = dirt_t(teacher_weight=0.6, radius=0.2, probe=0.05).phases
    assert second.domains == ("target",) and second.updates[0].trains == ("encoder", "classifier")
    assert not second.updates[0].source_risk and first.fraction + second.fraction == 1
    _, target = batch()
    context = make_context(0.5)
    value, diagnostics = second.updates[0].loss({}, None, target, context)
    vat = turned_most(
        FEATURES,
        0.2,
        0.05,
        np.asarray(jax.random.uniform(context.key, FEATURES.shape, minval=-1.0)),
    ).mean()
    p = softmax(target.logits)
    divergence_from_teacher = scipy.stats.entropy(
        softmax(pooled(FEATURES, LENGTH) @ TEACHER), p, axis=1
    ).mean()
    np.testing.assert_allclose(
        diagnostics["teacher_divergence"], divergence_from_teacher, rtol=1e-4
    )
    expected = 0.5 * (vat + scipy.stats.entropy(p, axis=1).mean() + 0.6 * divergence_from_teacher)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
