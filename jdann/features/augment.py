"""Augmentation of features inside the training step."""

import jax
import jax.numpy as jnp


def spec_augment(
    key: jax.Array,
    features: jax.Array,
    length: jax.Array,
    *,
    time_masks: int,
    time_mask_frames: int,
    frequency_masks: int,
    frequency_mask_bins: int,
) -> jax.Array:
    """Sets random spans of frames and of bins to zero, the mean of normalised features.

    Park et al., "SpecAugment: a simple data augmentation method for automatic speech recognition", Interspeech 2019,
    without the time warping. Every utterance has its own masks; their number and greatest width are static.

    Args:
      key: random key.
      features: float32 [batch, frames, bins], normalised.
      length: int32 [batch], valid frames of each utterance; time masks lie within them.
      time_masks: number of time masks, >= 0.
      time_mask_frames: widths are uniform in 0..this, frames.
      frequency_masks: number of frequency masks, >= 0.
      frequency_mask_bins: widths are uniform in 0..this, bins.

    Returns:
      float32 [batch, frames, bins].
    """
    batch, frames, bins = features.shape
    time_key, frequency_key = jax.random.split(key)
    masked_frames = _spans(time_key, length, frames, time_masks, time_mask_frames)  # [batch, frames]
    masked_bins = _spans(frequency_key, jnp.full(batch, bins), bins, frequency_masks, frequency_mask_bins)
    return jnp.where(masked_frames[:, :, None] | masked_bins[:, None, :], 0.0, features)


def _spans(key: jax.Array, length: jax.Array, size: int, count: int, widest: int) -> jax.Array:
    width_key, start_key = jax.random.split(key)
    shape = (len(length), count)
    length = jnp.asarray(length)[:, None]
    width = jax.random.randint(width_key, shape, 0, jnp.minimum(widest, length) + 1)
    start = jax.random.randint(start_key, shape, 0, length - width + 1)
    position = jnp.arange(size)[:, None, None]  # [size, batch, count]
    return jnp.any((position >= start) & (position < start + width), -1).T
