"""Samples are normalised as by the published feature extractor."""

import jax.numpy as jnp
import numpy as np

from jdann.pretrained.front_end import normalised
from tests.support.encoders import load_clips, padded


def test_clips_are_normalised_as_by_transformers():
    samples, length = padded(load_clips())
    result = np.asarray(normalised(samples, length))
    for row, expected in zip(result, load_clips("normalised"), strict=True):
        np.testing.assert_allclose(row[: len(expected)], expected, atol=1e-5)
        assert not row[len(expected) :].any()


def test_silent_and_empty_clips_stay_finite():
    samples = jnp.full((2, 5), 0.25, jnp.float32)
    assert not np.any(normalised(samples, jnp.asarray([5, 0])))
