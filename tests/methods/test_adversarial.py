"""Games between the encoder and a second network: losses and gradients, derived in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from jdann.methods import Dims, make_method
from jdann.methods.adversarial import conditioned
from jdann.methods.disparity import discrepancy, log_probability_of_other_classes
from tests.support.toy_training import (
    CLASSES,
    DIMS,
    EPOCHS,
    SEEDS,
    SETTINGS,
    SPEAKERS,
    fit,
    gradients_of,
    loss_of,
    make_batch,
    make_hyper,
    make_program,
    make_toy,
    perceptron,
    softmax,
)

N, M = 5, 7
BATCH = make_batch(n=N, m=M)


def prepared(name, **settings):
    """A method with these settings, and its parameters."""
    method = make_method(name, {name: settings})
    return method, method.init(jax.random.key(1), DIMS)


def numerical(function, x, eps=1e-5):
    """The gradient of a scalar function of x by central differences."""
    x = np.asarray(x, np.float64)
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += eps
        down[place] -= eps
        gradient[place] = (function(up) - function(down)) / (2 * eps)
    return gradient


def binary_risk(of_source, of_target, source_weight=None, target_weight=None):
    """Mean cross-entropy of a discriminator's logits: the target is 1."""
    p_source, p_target = 1 / (1 + np.exp(-of_source)), 1 / (1 + np.exp(-of_target))
    source = np.average(-np.log(1 - p_source), weights=source_weight)
    return 0.5 * (source + np.average(-np.log(p_target), weights=target_weight))


def dann_risk(params, source, target):
    return binary_risk(perceptron(params, source)[:, 0], perceptron(params, target)[:, 0])


def test_dann_is_the_discriminators_risk_whatever_the_strength():
    method, params = prepared("dann")
    for strength in (0.0, 0.3, 1.0):
        value, diagnostics = loss_of(method, BATCH, strength, params=params)
        np.testing.assert_allclose(value, dann_risk(params, BATCH.source, BATCH.target), rtol=1e-5)
    right = [(perceptron(params, x)[:, 0] > 0).mean() for x in (BATCH.source, BATCH.target)]
    np.testing.assert_allclose(
        diagnostics["domain_accuracy"], (1 - right[0] + right[1]) / 2, rtol=1e-6
    )


def test_dann_reverses_the_encoders_gradient_and_leaves_the_discriminators_whole():
    method, params = prepared("dann")
    expected = numerical(lambda x: dann_risk(params, x, BATCH.target), BATCH.source)
    _, gradient, of_params = gradients_of(method, BATCH, 0.3, params=params)
    np.testing.assert_allclose(gradient.source, -0.3 * expected, atol=1e-6)
    _, _, of_params_alone = gradients_of(method, BATCH, 0.0, params=params)
    for a, b in zip(jax.tree.leaves(of_params), jax.tree.leaves(of_params_alone), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.any(a)


def cdan_risk(params, source, target, weighted):
    p_source, p_target = softmax(BATCH.source_logits), softmax(BATCH.target_logits)
    joint = [
        np.stack([np.outer(f, p).ravel() for f, p in zip(*pair, strict=True)])
        for pair in ((source, p_source), (target, p_target))
    ]
    weights = [
        1 + np.exp(-scipy.stats.entropy(p, axis=1)) if weighted else None
        for p in (p_source, p_target)
    ]
    return binary_risk(*(perceptron(params, x)[:, 0] for x in joint), *weights)


@pytest.mark.parametrize("name", ["cdan", "cdan_e"])
def test_cdans_discriminator_sees_the_outer_product_with_the_softmax(name):
    method, params = prepared(name)
    weighted = name == "cdan_e"
    value, gradient, _ = gradients_of(method, BATCH, 0.5, params=params)
    np.testing.assert_allclose(
        value, cdan_risk(params, BATCH.source, BATCH.target, weighted), rtol=1e-5
    )
    expected = numerical(lambda x: cdan_risk(params, BATCH.source, x, weighted), BATCH.target)
    np.testing.assert_allclose(gradient.target, -0.5 * expected, atol=1e-6)
    assert not np.any(gradient.source_logits) and not np.any(
        gradient.target_logits
    )  # the softmax is held fixed


def test_a_projected_outer_product_keeps_inner_products_on_average():
    random = np.random.default_rng(0)
    f, p = random.normal(size=(2, 40)), softmax(random.normal(size=(2, 5)))
    joint = np.asarray(
        conditioned(
            jnp.asarray(f, jnp.float32), jnp.asarray(p, jnp.float32), direct=10, projection=200_000
        )
    )
    exact = (f @ f.T) * (p @ p.T)
    np.testing.assert_allclose(
        joint @ joint.T, exact, atol=0.05 * np.sqrt(exact[0, 0] * exact[1, 1])
    )
    repeated = conditioned(
        jnp.asarray(f, jnp.float32), jnp.asarray(p, jnp.float32), direct=10, projection=200_000
    )
    np.testing.assert_array_equal(joint, repeated)  # no state: the same signs always


def test_speaker_adversary_is_the_mean_over_known_speakers_reversed():
    method, params = prepared("speaker_adversary", reversal=0.5)

    def risk(source):
        p, speaker = softmax(perceptron(params, source)), np.asarray(BATCH.speaker)
        return np.mean([-np.log(p[i, s]) for i, s in enumerate(speaker) if s >= 0])

    assert (np.asarray(BATCH.speaker) < 0).any() and params["Dense_2"]["bias"].shape[0] == SPEAKERS
    value, gradient, _ = gradients_of(method, BATCH, 0.6, params=params)
    np.testing.assert_allclose(value, risk(BATCH.source), rtol=1e-5)
    np.testing.assert_allclose(
        gradient.source, -0.6 * 0.5 * numerical(risk, BATCH.source), atol=1e-6
    )
    assert not np.any(gradient.source[np.asarray(BATCH.speaker) < 0])


@pytest.mark.parametrize("name", ["dann", "speaker_adversary"])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_an_adversary_removes_with_strength_one_what_it_leaves_with_zero(name, strength):
    """The encoder scales two dimensions: one tells the domain or speaker, the other the label."""
    random = np.random.default_rng(0)
    emotion, nuisance = random.integers(0, 2, (2, 2, 256))
    points = 0.5 * random.normal(size=(2, 256, 2)) + np.stack([0 * emotion, 2.0 * emotion - 1], -1)
    points[..., 0] += 2.0 * nuisance if name == "speaker_adversary" else np.array([[0.0], [2.0]])
    method = make_method(name, SETTINGS)
    params = {
        "scale": jnp.ones(2),
        "head": jnp.zeros((2, 2)),
        "method": method.init(jax.random.key(0), Dims(2, 2, 2)),
    }
    optimiser, batch = (
        optax.sgd(0.05),
        make_batch(n=256, m=256)._replace(emotion=emotion[0], speaker=jnp.asarray(nuisance[0])),
    )

    def loss(params):
        source, target = jnp.asarray(points, jnp.float32) * params["scale"][None, None]
        replaced = batch._replace(source=source, target=target)
        value, diagnostics = loss_of(method, replaced, strength, params=params["method"])
        risk = optax.softmax_cross_entropy_with_integer_labels(
            source @ params["head"], emotion[0]
        ).mean()
        return value + risk, next(
            accuracy for key, accuracy in diagnostics.items() if key.endswith("accuracy")
        )

    def step(carry, _):
        params, state = carry
        gradient, accuracy = jax.grad(loss, has_aux=True)(params)
        updates, state = optimiser.update(gradient, state)
        return (optax.apply_updates(params, updates), state), (params["scale"], accuracy)

    (params, _), (scale, accuracies) = jax.jit(
        lambda p: jax.lax.scan(step, (p, optimiser.init(p)), length=1000)
    )(params)
    nuisance_left = float(jnp.abs(scale[-300:, 0]).mean())
    assert (nuisance_left > 0.5) == (strength == 0) and (nuisance_left < 0.25) == (strength == 1)
    assert accuracies[-1] > 0.9 or strength == 1  # the adversary always learns
    assert abs(float(params["scale"][1])) > 0.5  # the label's dimension stays


@pytest.mark.slow
def test_speaker_adversary_hides_speakers_from_its_classifier_and_keeps_emotions():
    toy, program = make_toy(), make_program("speaker_adversary")
    hidden, plain = (fit(program, toy, make_hyper(strength)).history for strength in (0.3, 0.0))
    late = {
        name: history["speaker_accuracy"][-3:].mean()
        for name, history in (("hidden", hidden), ("plain", plain))
    }
    assert late["plain"] > 0.95 and late["hidden"] < 0.8, late
    assert hidden["source_accuracy"][-1].min() > 0.95


def mdd_risk(params, source, target, gamma):
    predicted = [np.asarray(x).argmax(1) for x in (BATCH.source_logits, BATCH.target_logits)]
    p_source, p_target = softmax(perceptron(params, source)), softmax(perceptron(params, target))
    agrees = -np.log(p_source[np.arange(N), predicted[0]]).mean()
    return gamma * agrees - np.log(1 - p_target[np.arange(M), predicted[1]]).mean()


def test_mdds_head_repeats_the_source_and_avoids_the_target():
    method, params = prepared("mdd", gamma=3.0)
    for strength, reversal in (
        (0.5, 0.05),
        (1.0, 0.1),
        (4.0, 0.1),
    ):  # never more than the published tenth
        value, gradient, of_params = gradients_of(method, BATCH, strength, params=params)
        np.testing.assert_allclose(
            value, mdd_risk(params, BATCH.source, BATCH.target, 3.0), rtol=1e-5
        )
        expected = numerical(lambda x: mdd_risk(params, BATCH.source, x, 3.0), BATCH.target)
        np.testing.assert_allclose(gradient.target, -reversal * expected, atol=1e-6)
        assert not np.any(gradient.target_logits) and np.any(of_params["Dense_1"]["bias"])


def test_mdds_logarithm_is_exact_where_the_textbooks_rounds_to_minus_infinity():
    logits = jnp.array([[30.0, 0.0, -1.0]])
    label = jnp.array([0])
    np.testing.assert_allclose(
        log_probability_of_other_classes(logits, label), np.log(1 + np.exp(-1)) - 30, rtol=1e-6
    )
    gradient = jax.grad(lambda x: log_probability_of_other_classes(x, label).sum())(logits)
    np.testing.assert_allclose(gradient[0, 0], -1, rtol=1e-6)


def test_mcds_three_updates():
    """A: both risks. B: both risks minus the discrepancy. C: strength times the discrepancy."""
    method, params = prepared("mcd")
    (phase,) = method.phases
    assert [u.trains for u in phase.updates] == [
        ("encoder", "classifier", "method"),
        ("classifier", "method"),
        ("encoder",),
    ]
    assert [u.repeat for u in phase.updates] == [1, 1, 4] and [
        u.source_risk for u in phase.updates
    ] == [True, True, False]
    labels = 0.9 * np.eye(CLASSES)[np.asarray(BATCH.emotion)] + 0.1 / CLASSES

    def risk(source):
        return -(labels * np.log(softmax(perceptron(params, source)))).sum(1).mean()

    def distance(target, logits):
        return np.abs(softmax(logits) - softmax(perceptron(params, target))).mean()

    d = distance(BATCH.target, BATCH.target_logits)
    np.testing.assert_allclose(
        loss_of(method, BATCH, 0.5, params=params, update=0)[0], risk(BATCH.source), rtol=1e-5
    )
    np.testing.assert_allclose(
        loss_of(method, BATCH, 0.5, params=params, update=1)[0], risk(BATCH.source) - d, rtol=1e-4
    )
    np.testing.assert_allclose(
        loss_of(method, BATCH, 0.5, params=params, update=2)[0], 0.5 * d, rtol=1e-5
    )
    np.testing.assert_allclose(discrepancy(BATCH.target_logits, BATCH.target_logits), 0)
    # The encoder receives strength times the second head's gradient, the classifier strength times
    # the discrepancy's.
    _, gradient, of_params = gradients_of(method, BATCH, 0.5, params=params, update=0)
    np.testing.assert_allclose(gradient.source, 0.5 * numerical(risk, BATCH.source), atol=1e-6)
    _, gradient, of_params = gradients_of(method, BATCH, 0.5, params=params, update=1)
    expected = numerical(lambda x: -distance(BATCH.target, x), BATCH.target_logits)
    np.testing.assert_allclose(gradient.target_logits, 0.5 * expected, atol=1e-6)
    assert np.any(of_params["Dense_0"]["kernel"])
    _, gradient, _ = gradients_of(method, BATCH, 0.5, params=params, update=2)
    expected = numerical(lambda x: 0.5 * distance(x, BATCH.target_logits), BATCH.target)
    np.testing.assert_allclose(gradient.target, expected, atol=1e-6)


def test_mcds_heads_begin_apart():
    keys = jax.vmap(jax.random.key)(jnp.asarray(SEEDS, jnp.uint32))
    params = make_program("mcd").training.init(keys).params
    assert (
        np.abs(params["classifier"]["kernel"] - params["method"]["Dense_0"]["kernel"]).mean() > 0.1
    )


def test_addas_game():
    method, params = prepared("adda")
    source, adapt = method.phases
    assert source.domains == ("source",) and adapt.batch_norm == "frozen"
    assert [u.trains for u in adapt.updates] == [("method",), ("encoder",)] and not any(
        u.source_risk for u in adapt.updates
    )
    value, gradient, of_params = gradients_of(method, BATCH, 0.5, params=params, update=0)
    np.testing.assert_allclose(value, dann_risk(params, BATCH.source, BATCH.target), rtol=1e-5)
    assert (
        not np.any(gradient.source)
        and not np.any(gradient.target)
        and np.any(of_params["Dense_0"]["kernel"])
    )

    def inverted(target):  # the target encoder is to be taken for the source's
        return -np.log(1 - 1 / (1 + np.exp(-perceptron(params, target)[:, 0]))).mean()

    value, gradient, _ = gradients_of(method, BATCH, 0.5, params=params, update=1)
    np.testing.assert_allclose(value, 0.5 * inverted(BATCH.target), rtol=1e-5)
    np.testing.assert_allclose(gradient.target, 0.5 * numerical(inverted, BATCH.target), atol=1e-6)


@pytest.mark.slow
def test_adda_keeps_the_source_encoder_the_classifier_and_all_batch_statistics():
    toy, program = make_toy(), make_program("adda", batch_norm=True)
    before = fit(make_program("source_only", batch_norm=True, epochs=EPOCHS // 2), toy).state
    after = fit(program, toy).state
    for a, b in zip(
        jax.tree.leaves(before.params["encoder"]),
        jax.tree.leaves(after.memory["encoder"]),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    kept = [(state.params["classifier"], state.batch_stats) for state in (before, after)]
    for a, b in zip(jax.tree.leaves(kept[0]), jax.tree.leaves(kept[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    moved = np.abs(
        after.params["encoder"]["Dense_1"]["kernel"] - after.memory["encoder"]["Dense_1"]["kernel"]
    )
    assert moved.max() > 1e-3


def test_wdgrls_critic_and_encoder():
    method, params = prepared("wdgrl", gamma=7.0, weight=0.3)
    batch = make_batch(n=N, m=N)
    (phase,) = method.phases
    assert (
        phase.updates[0].trains == ("method",)
        and phase.updates[0].repeat == 5
        and not phase.updates[0].source_risk
    )
    assert phase.updates[1].trains == ("encoder", "classifier") and phase.updates[1].source_risk

    def slope(points):
        layers = [np.asarray(params[f"Dense_{i}"]["kernel"], np.float64) for i in range(3)]
        biases = [np.asarray(params[f"Dense_{i}"]["bias"], np.float64) for i in range(3)]
        first = points @ layers[0] + biases[0]
        second = np.maximum(first, 0) @ layers[1] + biases[1]
        back = (second > 0) * layers[2][:, 0]
        return ((first > 0) * (back @ layers[1].T)) @ layers[0].T

    part = np.asarray(jax.random.uniform(jax.random.key(0), (N, 1)))
    points = np.concatenate(
        [batch.source, batch.target, part * batch.source + (1 - part) * batch.target]
    )
    penalty = ((np.linalg.norm(slope(points), axis=1) - 1) ** 2).mean()

    def distance(source, target):
        return perceptron(params, source).mean() - perceptron(params, target).mean()

    w = distance(batch.source, batch.target)
    value, gradient, of_params = gradients_of(method, batch, 0.5, params=params, update=0)
    np.testing.assert_allclose(value, 7 * penalty - w, rtol=1e-4)
    assert (
        not np.any(gradient.source)
        and not np.any(gradient.target)
        and np.any(of_params["Dense_0"]["kernel"])
    )
    value, gradient, _ = gradients_of(method, batch, 0.5, params=params, update=1)
    np.testing.assert_allclose(value, 0.5 * 0.3 * w, rtol=1e-4)
    expected = numerical(lambda x: 0.5 * 0.3 * distance(batch.source, x), batch.target)
    np.testing.assert_allclose(gradient.target, expected, atol=1e-6)


def test_wdgrls_critic_measures_the_distance_of_two_points():
    """At a distance d, the slope s that maximises d s - gamma (s - 1)^2 is 1 + d / (2 gamma)."""
    method, params = prepared("wdgrl")
    batch = make_batch(n=8, m=8)
    batch = batch._replace(
        source=jnp.zeros_like(batch.source), target=jnp.zeros_like(batch.target).at[:, 0].set(2.0)
    )
    optimiser = optax.adam(3e-3)

    def step(carry, _):
        params, state = carry
        _, _, gradient = gradients_of(method, batch, params=params, update=0)
        with jax.numpy_dtype_promotion("standard"):  # Optax raises a float to an integer's power
            updates, state = optimiser.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.jit(lambda p: jax.lax.scan(step, (p, optimiser.init(p)), length=600))(
        params
    )
    assert float(loss_of(method, batch, params=params)[1]["wasserstein_distance"]) == pytest.approx(
        2 * (1 + 2 / 20), abs=0.05
    )
