"""Batch norm's statistics of the target: by NumPy, with padding left out."""

import jax
import numpy as np

from jdann.methods import make_method
from tests.support.toy_training import (
    SEEDS,
    SETTINGS,
    fit,
    loss_of,
    make_batch,
    make_hyper,
    make_program,
    make_toy,
)

SHIFTED = (0.0, (2.0, -1.5), 0.0)


def valid_frames(frames):
    """All frames of all utterances, without what pads them: [frames, bins]."""
    values = np.asarray(frames.values, np.float64)
    return np.concatenate(
        [values[s : s + n] for s, n in zip(frames.start, frames.length, strict=True)]
    )


def norm_of(stats):
    return next(iter(stats.values()))["BatchNorm_0"]


def test_they_add_no_loss():
    for name in ("adabn", "dsbn"):
        method = make_method(name, SETTINGS)
        assert loss_of(method, make_batch())[0] == 0 and method.needs == {"batch_norm"}
    assert (
        make_method("adabn", SETTINGS).recompute_statistics
        and not make_method("adabn", SETTINGS).uses_target
    )
    both = make_method("mcc+dsbn", SETTINGS)
    assert both.phases[0].batch_norm == "separate" and both.uses_target


def test_adabns_statistics_are_those_of_the_whole_target():
    toy, program = make_toy(*SHIFTED), make_program("adabn", batch_norm=True)
    average = fit(program, toy).state.average
    for seed in range(len(SEEDS)):
        kernel = np.asarray(average["encoder"]["Dense_0"]["kernel"][seed], np.float64)
        of_target = valid_frames(toy.data.target) @ kernel
        actual = norm_of(average["batch_stats"]["target"])
        # Evaluated in batches of 64, the last filled up again: nearly the mean over all frames.
        np.testing.assert_allclose(actual["mean"][seed], of_target.mean(0), atol=0.1)
        np.testing.assert_allclose(actual["var"][seed], of_target.var(0), rtol=0.1, atol=0.02)
    of_source = norm_of(average["batch_stats"]["source"])
    assert np.abs(of_source["mean"] - actual["mean"]).max() > 0.5


def test_adabn_trains_as_source_only_does():
    toy = make_toy(*SHIFTED)
    adapted, plain = (
        fit(make_program(name, batch_norm=True), toy).state.params["encoder"]
        for name in ("adabn", "source_only")
    )
    for a, b in zip(jax.tree.leaves(adapted), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_dsbns_statistics_are_each_domains_own():
    toy, program = make_toy(*SHIFTED), make_program("dsbn", batch_norm=True)
    state = fit(program, toy, make_hyper(rate=0.0)).state  # the encoder stays, the statistics move
    for seed in range(len(SEEDS)):
        kernel = np.asarray(state.params["encoder"]["Dense_0"]["kernel"][seed], np.float64)
        for domain, frames in (("source", toy.data.source), ("target", toy.data.target)):
            expected = valid_frames(frames) @ kernel
            actual = norm_of(state.batch_stats[domain])
            np.testing.assert_allclose(
                actual["mean"][seed], expected.mean(0), atol=0.25
            )  # a moving average of small batches
            np.testing.assert_allclose(actual["var"][seed], expected.var(0), rtol=0.3, atol=0.05)
