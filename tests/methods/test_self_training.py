"""Pseudo-labels, consistency and contrast: balance and choice of labels, losses by loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jdann.errors import InputError
from jdann.methods import make_method
from jdann.methods.consistency import align_class_shares
from jdann.methods.contrastive import supervised_contrast
from jdann.methods.pseudo_labels import (
    balanced,
    centroid_labels,
    most_confident,
    prior_among,
)
from jdann.methods.self_training import self_training
from jdann.training.records import outputs
from tests.support.toy_training import (
    CLASSES,
    SETTINGS,
    fit,
    gradients_of,
    loss_of,
    make_batch,
    make_hyper,
    make_program,
    make_task,
    make_toy,
    softmax,
)


def log_softmax(logits):
    return np.log(softmax(np.asarray(logits, np.float64)))


def skewed_logits(n=90, scale=2.0):
    """Predictions that favour the first class."""
    return jnp.asarray(
        scale * (np.random.default_rng(0).normal(size=(n, CLASSES)) + np.array([1.5, 0.0, -0.5])),
        jnp.float32,
    )


@pytest.mark.parametrize("prior", [(1 / 3, 1 / 3, 1 / 3), (0.5, 0.3, 0.2)])
@pytest.mark.parametrize("scale", [2.0, 1e4])
def test_balanced_posteriors_meet_the_prior(prior, scale):
    log_posteriors = jax.nn.log_softmax(skewed_logits(scale=scale))
    plan = np.exp(balanced(log_posteriors, prior, 200))
    np.testing.assert_allclose(plan.sum(1), 1, rtol=1e-4)
    if scale < 100:  # saturated posteriors leave Sinkhorn far to go; their rows stay distributions
        np.testing.assert_allclose(plan.mean(0), prior, atol=1e-3)


def test_balanced_posteriors_are_posteriors_times_a_factor_a_class_and_a_factor_an_utterance():
    # So balance is the solution of the entropic transport problem: it keeps all cross-ratios.
    logits = skewed_logits(n=20)
    plan = np.asarray(balanced(jax.nn.log_softmax(logits), (1 / 3,) * 3, 200), np.float64)

    def cross_ratio(x):
        return x[:-1, :-1] + x[1:, 1:] - x[:-1, 1:] - x[1:, :-1]

    np.testing.assert_allclose(cross_ratio(plan), cross_ratio(log_softmax(logits)), atol=1e-3)


def test_a_class_that_the_source_lacks_gets_no_share_of_a_prior():
    assert prior_among("uniform", (True, True, True), "prior") == "uniform"
    assert prior_among("none", (True, False, True), "prior") == "none"
    assert prior_among("uniform", (True, False, True), "prior") == "0.5,0,0.5"
    assert prior_among("0.6,0.2,0.2", (True, False, True), "prior") == "0.75,0,0.25"
    plan = np.exp(balanced(jax.nn.log_softmax(skewed_logits()), (0.5, 0.0, 0.5), 200))
    np.testing.assert_allclose(plan.mean(0), [0.5, 0.0, 0.5], atol=1e-3)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9, 1.0])
def test_of_each_class_the_most_confident_part_is_kept(fraction):
    log_posteriors = np.asarray(jax.nn.log_softmax(skewed_logits()))
    kept = np.asarray(most_confident(jnp.asarray(log_posteriors), jnp.asarray(fraction)))
    label, confidence = log_posteriors.argmax(1), log_posteriors.max(1)
    for k in range(CLASSES):
        of_class = label == k
        assert kept[of_class].sum() == np.ceil(np.round(fraction * of_class.sum(), 6))
        if 0 < kept[of_class].sum() < of_class.sum():
            assert confidence[of_class & kept].min() >= confidence[of_class & ~kept].max()


def test_ties_do_not_change_how_many_are_kept():
    assert int(most_confident(jnp.zeros((10, CLASSES)), jnp.asarray(0.3)).sum()) == 3


def test_self_training_keeps_more_as_it_goes_and_all_classes_from_the_start():
    make = jax.jit(make_method("self_training", SETTINGS).phases[0].pseudo_labels)
    logits = skewed_logits()
    representation = jnp.zeros((len(logits), 2))
    assert not np.any(make(representation, logits, 0.1))  # the model knows nothing yet
    for progress, fraction in ((0.2, 0.3), (0.6, 0.6), (1.0, 0.9)):
        pseudo = np.asarray(make(representation, logits, progress))
        assert set(np.unique(pseudo)) <= {0.0, 1.0} and pseudo.sum(1).max() == 1
        np.testing.assert_allclose(pseudo.sum(0), fraction * len(logits) / CLASSES, atol=4)
    assert (
        np.bincount(np.asarray(logits).argmax(1)).max() > 45
    )  # unbalanced, the first class would take half


def test_soft_labels_are_distributions_and_other_priors_are_met():
    settings = {"labels": "soft", "prior": "0.5,0.25,0.25"}
    logits = skewed_logits()
    pseudo = np.asarray(
        self_training(**settings).phases[0].pseudo_labels(logits, logits, jnp.asarray(0.9))
    )
    totals = pseudo.sum(1)
    assert np.all(np.isclose(totals, 1, atol=1e-4) | (totals == 0)) and 0 < np.mean(totals > 0) < 1
    whole = self_training(**settings, last_fraction=1.0).phases[0]
    everyone = whole.pseudo_labels(logits, logits, jnp.asarray(1.0))
    np.testing.assert_allclose(np.asarray(everyone).mean(0), [0.5, 0.25, 0.25], atol=1e-3)


def test_self_training_without_balance_takes_predictions_as_they_are():
    (phase,) = self_training(prior="none", last_fraction=1.0).phases
    logits = skewed_logits()
    pseudo = phase.pseudo_labels(logits, logits, jnp.asarray(1.0))
    np.testing.assert_array_equal(pseudo.argmax(1), logits.argmax(1))


@pytest.mark.parametrize(
    "key,value,message",
    [
        ("labels", "smooth", "labels is 'smooth'; expected one of hard, soft"),
        ("prior", "flat", "prior is 'flat'; choose one of uniform, none"),
        ("prior", "0.5,0.5", "give 3 shares of 0 or more"),
        ("prior", "0.8,0.4,-0.2", "give shares of 0 or more"),
    ],
)
def test_mistaken_settings_are_named(key, value, message):
    logits = skewed_logits()
    with pytest.raises(InputError, match=message):
        self_training(**{key: value}).phases[0].pseudo_labels(logits, logits, 1.0)


def test_the_pseudo_loss_is_normalised_by_the_batch():
    batch = make_batch(m=6)
    expected = -(np.asarray(batch.pseudo) * log_softmax(batch.target_logits)).sum() / 6
    value, diagnostics = loss_of(make_method("self_training", SETTINGS), batch, strength=0.5)
    np.testing.assert_allclose(value, 0.5 * expected, rtol=1e-5)
    assert diagnostics["pseudo_fraction"] == 0.5


def test_shot_labels_by_the_refined_centroids():
    random = np.random.default_rng(0)
    centres = random.normal(size=(CLASSES, 5))
    truth = random.integers(0, CLASSES, 60)
    points = centres[truth] + 0.7 * random.normal(size=(60, 5))
    logits = 1.5 * random.normal(size=(60, CLASSES)) + np.eye(CLASSES)[truth]

    extended = np.concatenate([points, np.ones((60, 1))], axis=1)
    extended /= np.linalg.norm(extended, axis=1, keepdims=True)
    weights = softmax(logits)
    centroids = (weights.T @ extended) / weights.sum(0)[:, None]
    first = cdist(extended, centroids, "cosine").argmin(1)
    refined = np.stack([extended[first == k].mean(0) for k in range(CLASSES)])
    expected = cdist(extended, refined, "cosine").argmin(1)

    labels = np.asarray(
        centroid_labels(jnp.asarray(points, jnp.float32), jnp.asarray(logits, jnp.float32))
    )
    np.testing.assert_array_equal(labels.argmax(1), expected)
    assert np.all(labels.sum(1) == 1)
    assert (expected == truth).mean() > (logits.argmax(1) == truth).mean()


@pytest.mark.parametrize("case", ["constant", "zero", "one class"])
def test_shot_labels_in_corners(case):
    representation = {
        "constant": jnp.ones((9, 4)),
        "zero": jnp.zeros((9, 4)),
        "one class": make_batch(n=9, width=4).source,
    }[case]
    logits = jnp.zeros((9, CLASSES)).at[:, 0].set(1e4 if case == "one class" else 0.0)
    labels = np.asarray(centroid_labels(representation, logits))
    assert np.all(labels.sum(1) == 1)


def test_shots_second_phase_trains_the_encoder_on_the_target_alone():
    first, second = make_method("shot", SETTINGS).phases
    assert first.domains == ("source",) and second.domains == ("target",)
    assert second.updates[0].trains == ("encoder",) and not second.updates[0].source_risk
    assert first.fraction + second.fraction == 1
    with pytest.raises(InputError, match="shot trains in an order of its own"):
        make_method("shot+mcc", SETTINGS)


def test_shots_loss():
    batch = make_batch(m=6)
    log_p = log_softmax(batch.target_logits)
    mean = np.exp(log_p).mean(0)
    expected = -(np.exp(log_p) * log_p).sum(1).mean() + (mean * np.log(mean)).sum()
    expected -= 0.3 * (np.asarray(batch.pseudo) * log_p).sum() / 6
    np.testing.assert_allclose(
        loss_of(make_method("shot", SETTINGS), batch)[0], expected, rtol=1e-4
    )


def test_fixmatch_learns_from_the_confident_alone():
    batch = make_batch(m=6)
    weak, strong = softmax(np.asarray(batch.clean_target_logits)), log_softmax(batch.target_logits)
    expected = sum(-strong[i, weak[i].argmax()] for i in range(6) if weak[i].max() >= 0.6) / 6
    value, diagnostics = loss_of(make_method("fixmatch", SETTINGS), batch)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert 0 < diagnostics["confident_fraction"] < 1


def test_adamatch_aligns_and_thresholds():
    batch = make_batch(n=4, m=6)
    of_source, of_target = (
        softmax(np.asarray(batch.clean_source_logits)),
        softmax(np.asarray(batch.clean_target_logits)),
    )
    labels = of_target * of_source.mean(0) / of_target.mean(0)
    labels /= labels.sum(1, keepdims=True)
    threshold = 0.9 * of_source.max(1).mean()
    strong = log_softmax(batch.target_logits)
    expected = (
        sum(-(labels[i] * strong[i]).sum() for i in range(6) if labels[i].max() >= threshold) / 6
    )
    value, diagnostics = loss_of(make_method("adamatch", SETTINGS), batch)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    np.testing.assert_allclose(diagnostics["confidence_threshold"], threshold, rtol=1e-5)
    np.testing.assert_allclose(
        align_class_shares(batch.clean_source_logits, batch.clean_target_logits)[0],
        labels,
        rtol=1e-4,
    )


@pytest.mark.parametrize("name", ["fixmatch", "adamatch", "self_training", "shot"])
def test_labels_carry_no_gradient(name):
    _, gradient, _ = gradients_of(make_method(name, SETTINGS), make_batch(m=6))
    for field in ("clean_source_logits", "clean_target_logits", "pseudo"):
        assert not np.any(getattr(gradient, field)), field
    assert np.any(gradient.target_logits)


def contrast_by_loops(representation, labels, temperature):
    """Khosla et al. 2020, equation 2; None is no label."""
    z = representation / np.linalg.norm(representation, axis=1, keepdims=True)
    known = [i for i, label in enumerate(labels) if label is not None]
    terms = []
    for i in known:
        others = [a for a in known if a != i]
        total = sum(np.exp(z[i] @ z[a] / temperature) for a in others)
        positives = [p for p in others if labels[p] == labels[i]]
        if positives:
            terms.append(
                -np.mean([np.log(np.exp(z[i] @ z[p] / temperature) / total) for p in positives])
            )
    return np.mean(terms)


def test_sup_con_is_khoslas_sum_and_takes_in_pseudo_labelled_utterances():
    batch = make_batch(n=6, m=6)
    batch = batch._replace(
        emotion=jnp.asarray([0, 0, 1, 1, 1, 2])
    )  # the last one has no positive on the source
    points = np.concatenate([batch.source, batch.target]).astype(np.float64)
    pseudo = [int(row.argmax()) if row.sum() else None for row in np.asarray(batch.pseudo)]
    expected = contrast_by_loops(points, [*np.asarray(batch.emotion), *pseudo], 0.1)
    method = make_method("sup_con", SETTINGS)
    with_target = method._replace(phases=(method.phases[0]._replace(domains=("source", "target")),))
    np.testing.assert_allclose(loss_of(with_target, batch)[0], 0.1 * expected, rtol=1e-4)
    alone = supervised_contrast(batch.source, jax.nn.one_hot(batch.emotion, CLASSES), 0.1)
    np.testing.assert_allclose(
        alone, contrast_by_loops(points[:6], list(np.asarray(batch.emotion)), 0.1), rtol=1e-4
    )


def test_sup_con_alone_never_sees_the_target():
    assert not make_method("sup_con", SETTINGS).uses_target
    both = make_method("sup_con+self_training", SETTINGS)
    assert both.uses_target and both.phases[0].pseudo_labels is not None


@pytest.mark.slow
def test_sup_con_tightens_the_classes_on_the_sphere():
    toy, spread = make_toy(), {}
    rows = make_task(toy).split.source
    emotion = np.asarray(toy.data.emotion)[rows]
    for strength in (0.0, 1.0):
        program = make_program("sup_con", sup_con=1.0)
        state = fit(program, toy, make_hyper(strength)).state
        z = outputs(program.training, state, toy.data.source, rows, "source")[1]  # [seeds, rows, d]
        z = z / np.linalg.norm(z, axis=-1, keepdims=True)
        spread[strength] = np.mean(
            [1 - np.linalg.norm(z[:, emotion == k].mean(1), axis=-1) for k in range(CLASSES)]
        )
    assert spread[1.0] < 0.5 * spread[0.0]
