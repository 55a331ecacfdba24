"""Schedules at pinned points."""

import math

import numpy as np
import pytest

from jdann.configuration import base_config
from jdann.errors import InputError
from jdann.training.schedules import ganin, learning_rate_schedule, strength_schedule


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0.0, 0.0), (0.5, math.tanh(2.5)), (1.0, math.tanh(5.0)), (7.0, math.tanh(5.0))],
)
def test_ganin_equals_its_hyperbolic_form(progress, expected):
    # 2 / (1 + exp(-10 p)) - 1 = tanh(5 p), and p is clamped
    np.testing.assert_allclose(ganin(progress), expected, atol=1e-6)


def test_strength_follows_the_steps():
    config = base_config().strength
    schedule = strength_schedule(config, total_steps=200)
    np.testing.assert_allclose(
        [schedule(0), schedule(100), schedule(200)], [0, math.tanh(2.5), math.tanh(5)], atol=1e-6
    )
    config.schedule = "constant"
    assert float(strength_schedule(config, 200)(0)) == 1.0


def test_warmup_cosine_rises_then_falls_to_zero():
    config = base_config().optimiser
    config.warmup_fraction = 0.1
    schedule = learning_rate_schedule(config, 100)
    np.testing.assert_allclose(
        [schedule(0), schedule(5), schedule(10), schedule(55), schedule(100)],
        [0, 0.5, 1, 0.5, 0],
        atol=1e-6,
    )


@pytest.mark.parametrize("name", ["warmup_cosine", "constant", "one_cycle"])
def test_learning_rate_peaks_at_one(name):
    config = base_config().optimiser
    config.schedule = name
    values = [float(learning_rate_schedule(config, 40)(step)) for step in range(40)]
    assert max(values) == pytest.approx(1.0, abs=0.02)
    assert min(values) >= 0


def test_unknown_schedules_are_named():
    config = base_config()
    config.optimiser.schedule = "cubic"
    config.strength.schedule = "linear"
    with pytest.raises(InputError, match="cubic.*warmup_cosine"):
        learning_rate_schedule(config.optimiser, 10)
    with pytest.raises(InputError, match="linear.*ganin"):
        strength_schedule(config.strength, 10)
