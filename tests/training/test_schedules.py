"""Schedules at pinned points."""

import math

import numpy as np
import pytest

from jdann.configuration import base_config
from jdann.errors import InputError
from jdann.experiments.settings import check_training_names
from jdann.training.schedules import LEARNING_RATES, STRENGTHS, ganin, warmup_steps_of


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0.0, 0.0), (0.5, math.tanh(2.5)), (1.0, math.tanh(5.0)), (7.0, math.tanh(5.0))],
)
def test_ganin_equals_its_hyperbolic_form(progress, expected):
    # 2 / (1 + exp(-10 p)) - 1 = tanh(5 p), and p is clamped
    np.testing.assert_allclose(ganin(progress), expected, atol=1e-6)


def test_strength_follows_the_steps():
    schedule = STRENGTHS["ganin"](200, 10.0)
    np.testing.assert_allclose(
        [schedule(0), schedule(100), schedule(200)], [0, math.tanh(2.5), math.tanh(5)], atol=1e-6
    )
    assert float(STRENGTHS["constant"](200, 10.0)(0)) == 1.0


def test_warmup_cosine_rises_then_falls_to_zero():
    schedule = LEARNING_RATES["warmup_cosine"](100, warmup_steps_of(100, 0.1))
    np.testing.assert_allclose(
        [schedule(0), schedule(5), schedule(10), schedule(55), schedule(100)],
        [0, 0.5, 1, 0.5, 0],
        atol=1e-6,
    )


@pytest.mark.parametrize("name", LEARNING_RATES)
def test_learning_rate_peaks_at_one(name):
    schedule = LEARNING_RATES[name](40, 2)
    values = [float(schedule(step)) for step in range(40)]
    assert max(values) == pytest.approx(1.0, abs=0.02)
    assert min(values) >= 0


@pytest.mark.parametrize(
    ("key", "name", "message"),
    [
        ("optimiser.schedule", "cubic", "cubic.*warmup_cosine"),
        ("optimiser.schedule", "one_cycl", "did you mean one_cycle"),
        ("optimiser.name", "lion", "lion.*adamw, adam, sgd"),
        ("strength.schedule", "linear", "linear.*ganin"),
        ("seeds_in", "pmap", "pmap.*auto, vmap, map"),
    ],
)
def test_unknown_names_are_refused_with_those_that_there_are(key, name, message):
    config = base_config()
    config.update_from_flattened_dict({key: name})
    with pytest.raises(InputError, match=message):
        check_training_names(config)
