"""SpecAugment: which frames and bins are masked."""

import jax
import jax.numpy as jnp
import numpy as np

from jdann.features import spec_augment

MASKS = {"time_masks": 2, "time_mask_frames": 12, "frequency_masks": 2, "frequency_mask_bins": 8}
NONE = {"time_masks": 0, "time_mask_frames": 12, "frequency_masks": 0, "frequency_mask_bins": 8}
LENGTH = jnp.array([100, 60, 7, 1] * 16, jnp.int32)
ONES = jnp.ones((64, 100, 20))
masked = jax.jit(spec_augment, static_argnames=tuple(MASKS))


def test_masks_are_spans_of_zeros_within_length_and_width():
    zero = np.asarray(masked(jax.random.key(0), ONES, LENGTH, **MASKS)) == 0
    frames, bins = zero.all(2), zero.all(1)  # [batch, frames], [batch, bins]
    np.testing.assert_array_equal(zero, frames[:, :, None] | bins[:, None, :])
    assert frames.sum(1).max() <= 24 and bins.sum(1).max() <= 16
    for row, length in zip(frames, LENGTH, strict=True):
        assert not row[length:].any()
        assert (np.diff(row.astype(int), prepend=0, append=0) == 1).sum() <= 2  # at most two spans


def test_masks_reach_every_position_and_differ_between_utterances():
    keys = jax.random.split(jax.random.key(1), 50)
    zero = jax.vmap(lambda key: masked(key, ONES, LENGTH, **MASKS))(keys) == 0
    frames, bins = np.asarray(zero.all(-1)), np.asarray(zero.all(-2))
    assert frames[:, ::4].any((0, 1)).all() and bins.any((0, 1)).all()
    assert frames[:, 2::4, :7].any((0, 1)).all()  # short utterances too
    assert (frames[0, 0] != frames[0, 4]).any() and (frames[0] != frames[1]).any()
    widths = frames[:, ::4].sum(-1)
    assert 9 < widths.mean() < 12.5  # two of mean 6, some overlapping


def test_without_masks_or_with_width_zero_nothing_changes():
    x = jax.random.normal(jax.random.key(2), ONES.shape)
    np.testing.assert_array_equal(masked(jax.random.key(0), x, LENGTH, **NONE), x)
    narrow = MASKS | {"time_mask_frames": 0, "frequency_mask_bins": 0}
    np.testing.assert_array_equal(masked(jax.random.key(0), x, LENGTH, **narrow), x)
