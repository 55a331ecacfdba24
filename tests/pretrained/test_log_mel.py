"""Whisper's log-mels: the numbers of transformers, and padding that changes nothing."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdann.pretrained.log_mel import log_mel

REFERENCES = Path(__file__).parent / "references"
CLIPS = np.load(REFERENCES / "clips.npz")
SAMPLES = CLIPS["samples"].astype(np.float32) / 2**15  # [2, 16000]
LENGTH = CLIPS["length"]  # 5000 and 16000 samples
WINDOW = 16000


def compute(samples, length, **options):
    return np.asarray(log_mel(jnp.asarray(samples), jnp.asarray(length), **options))


@pytest.mark.parametrize("mels", [80, 128])
def test_values_are_those_of_transformers(mels):
    expected = np.load(REFERENCES / "log_mels.npz")[f"mels_{mels}"]
    actual = compute(SAMPLES, LENGTH, mels=mels, window=WINDOW)
    np.testing.assert_allclose(actual[:, : expected.shape[1]], expected, atol=1e-5)


@pytest.mark.parametrize("window", [WINDOW, 5030])
def test_the_end_of_the_batch_does_not_matter(window):
    """Also where the window ends within the last frame of the clip."""
    alone = compute(SAMPLES[:1, :5000], [5000], window=window)
    padded = np.full((1, window), np.nan, np.float32)
    padded[:, :5000] = SAMPLES[:1, :5000]
    longer = compute(padded, [5000], window=window)
    frames = 32
    np.testing.assert_allclose(alone[:, :frames], longer[:, :frames], atol=1e-6)


@pytest.mark.parametrize("n", [1, 161])
def test_a_short_clip_is_followed_by_silence(n):
    alone = compute(SAMPLES[:1, :n], [n])
    padded = compute(SAMPLES[:1], [n])
    assert alone.shape == (1, -(-n // 160), 80)
    np.testing.assert_allclose(alone, padded[:, : alone.shape[1]], atol=1e-5)


def test_a_loud_clip_does_not_change_another_one():
    loud = SAMPLES * np.array([[1.0], [30.0]], np.float32)
    np.testing.assert_array_equal(compute(loud, LENGTH)[0], compute(SAMPLES, LENGTH)[0])


def test_gradients_are_finite_also_in_silence():
    samples = jnp.concatenate([jnp.asarray(SAMPLES[:1]), jnp.zeros((1, 16000))])
    gradient = jax.grad(lambda x: log_mel(x, jnp.asarray([5000, 0])).sum())(samples)
    assert np.isfinite(gradient).all()
    assert not gradient[0, 5000:].any()
