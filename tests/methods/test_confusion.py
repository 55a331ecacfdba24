"""Losses on target predictions and spectra, against NumPy and SciPy, and their effects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jdann.methods import make_method
from jdann.methods.batch_norm import adabn, dsbn
from jdann.methods.confusion import spectral_penalty
from jdann.methods.losses import diversity, nuclear_norm
from tests.support.toy_training import (
    CLASSES,
    SETTINGS,
    fit,
    gradients_of,
    loss_of,
    make_batch,
    make_hyper,
    make_program,
    make_toy,
    softmax,
)


def test_mcc_is_the_confusion_off_the_diagonal():
    batch = make_batch(m=6)
    posteriors = softmax(np.asarray(batch.target_logits, np.float64) / 2.5)
    certainty = 1 + np.exp(-scipy.stats.entropy(posteriors, axis=1))
    certainty *= 6 / certainty.sum()
    confusion = np.zeros((CLASSES, CLASSES))
    for p, w in zip(posteriors, certainty, strict=True):
        confusion += w * np.outer(p, p)
    expected = (
        sum(
            confusion[j, k] / confusion[j].sum()
            for j in range(CLASSES)
            for k in range(CLASSES)
            if j != k
        )
        / CLASSES
    )
    np.testing.assert_allclose(loss_of(make_method("mcc", SETTINGS), batch)[0], expected, rtol=1e-5)


def test_mcc_holds_the_certainties_fixed():
    batch = make_batch()
    posteriors = jax.nn.softmax(batch.target_logits / 2.5)
    certainty = np.asarray(1 + jnp.exp(-jax.scipy.special.entr(posteriors).sum(1)))
    certainty = certainty * len(certainty) / certainty.sum()

    def with_fixed_weights(logits):
        p = jax.nn.softmax(logits / 2.5)
        confusion = jnp.einsum("i,ij,ik->jk", certainty, p, p)
        confusion /= confusion.sum(1, keepdims=True)
        return (confusion.sum() - jnp.trace(confusion)) / CLASSES

    _, gradient, _ = gradients_of(make_method("mcc", SETTINGS), batch)
    np.testing.assert_allclose(
        gradient.target_logits,
        jax.grad(with_fixed_weights)(batch.target_logits),
        rtol=1e-3,
        atol=1e-6,
    )


def test_bnm_is_numpys_nuclear_norm():
    batch = make_batch(m=6)
    posteriors = softmax(np.asarray(batch.target_logits, np.float64))
    expected = np.linalg.svd(posteriors, compute_uv=False).sum() / 6
    np.testing.assert_allclose(
        loss_of(make_method("bnm", SETTINGS), batch)[0], -expected, rtol=1e-5
    )


def test_the_nuclear_norms_gradient_is_u_vt_also_where_values_repeat_or_vanish():
    matrix = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    u, _, vt = np.linalg.svd(matrix, full_matrices=False)
    np.testing.assert_allclose(jax.grad(nuclear_norm)(jnp.asarray(matrix)), u @ vt, atol=1e-4)
    repeated = np.eye(7, 3, dtype=np.float32)  # three equal values
    np.testing.assert_allclose(jax.grad(nuclear_norm)(jnp.asarray(repeated)), repeated, atol=1e-5)
    rank_one = np.outer(np.arange(1, 8), [1, 2, 2]).astype(np.float32)  # two zero values
    np.testing.assert_allclose(
        jax.grad(nuclear_norm)(jnp.asarray(rank_one)),
        rank_one / np.linalg.norm(rank_one),
        atol=1e-3,
    )


@pytest.mark.parametrize("shape", [(4, 9), (9, 4)])
def test_bsp_is_numpys_largest_singular_value(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    for k in (1, 2):
        np.testing.assert_allclose(
            spectral_penalty(jnp.asarray(matrix), k), (s[:k] ** 2).sum(), rtol=1e-5
        )
        expected = 2 * (u[:, :k] * s[:k]) @ vt[:k]
        np.testing.assert_allclose(
            jax.grad(lambda x, k=k: spectral_penalty(x, k))(jnp.asarray(matrix)),
            expected,
            atol=1e-4,
        )


def test_bsp_penalises_both_domains():
    batch = make_batch(n=4, m=6)
    largest = [np.linalg.svd(x, compute_uv=False)[0] for x in (batch.source, batch.target)]
    np.testing.assert_allclose(
        loss_of(make_method("bsp", SETTINGS), batch)[0],
        1e-4 * np.sum(np.square(largest)),
        rtol=1e-4,
    )


def test_entropies_are_scipys():
    batch = make_batch(m=6)
    posteriors = softmax(np.asarray(batch.target_logits, np.float64))
    mean_entropy = scipy.stats.entropy(posteriors, axis=1).mean()
    entropy_of_mean = scipy.stats.entropy(posteriors.mean(0))
    np.testing.assert_allclose(
        loss_of(make_method("entropy", SETTINGS), batch)[0], 0.1 * mean_entropy, rtol=1e-5
    )
    value, diagnostics = loss_of(make_method("information_maximisation", SETTINGS), batch)
    np.testing.assert_allclose(value, mean_entropy - entropy_of_mean, rtol=1e-4)
    np.testing.assert_allclose(diagnostics["target_diversity"], entropy_of_mean, rtol=1e-5)
    np.testing.assert_allclose(diversity(1e4 * jnp.eye(CLASSES)), np.log(CLASSES), rtol=1e-5)


def test_batch_norm_methods_add_no_loss():
    for method in (adabn(), dsbn()):
        assert loss_of(method, make_batch())[0] == 0
        assert method.needs == {"batch_norm"}
    assert adabn().recompute_statistics and not adabn().uses_target
    assert dsbn().uses_target
    both = make_method("mcc+dsbn", SETTINGS)
    assert both.phases[0].batch_norm == "separate" and both.needs == {"batch_norm"}


@pytest.mark.slow
def test_entropy_makes_the_target_more_certain():
    toy, mean_entropies = make_toy(), {}
    for name in ("source_only", "entropy"):
        mean_entropies[name] = scipy.stats.entropy(
            softmax(fit(make_program(name), toy).test_logits[-1]), axis=-1
        ).mean()
    assert mean_entropies["entropy"] < mean_entropies["source_only"] - 0.05


@pytest.mark.slow
def test_bsp_takes_down_the_strongest_direction_and_keeps_emotions():
    toy = make_toy()
    program = make_program("bsp", bsp=1e-2)
    weak, strong = (fit(program, toy, make_hyper(strength)).history for strength in (0.0, 1.0))
    assert strong["spectral_penalty"][-1].max() < 0.5 * weak["spectral_penalty"][-1].min()
    assert strong["source_accuracy"][-1].min() > 0.95
