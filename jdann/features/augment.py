"""Augmentation of features inside the training step."""

import chex
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

    Park et al. 2019, "SpecAugment: a simple data augmentation method for automatic speech
    recognition", without the time warping. Every utterance has its own masks. Their number and
    largest width are static.

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
    chex.assert_rank([features, length], [3, 1])
    batch, frames, bins = features.shape
    # One draw for all masks, because random numbers take the longest to compile.
    draw = jax.random.uniform(key, (2, batch, time_masks + frequency_masks))
    time_draw, frequency_draw = draw[..., :time_masks], draw[..., time_masks:]
    masked_frames = _spans(time_draw, length, frames, time_mask_frames)  # [batch, frames]
    all_bins = jnp.full(batch, bins)
    masked_bins = _spans(frequency_draw, all_bins, bins, frequency_mask_bins)  # [batch, bins]
    return jnp.where(masked_frames[:, :, None] | masked_bins[:, None, :], 0.0, features)


def _spans(draw: jax.Array, length: jax.Array, size: int, widest: int) -> jax.Array:
    """Marks spans of random width and start within the length.

    Args:
      draw: [2, batch, spans], uniform in [0, 1).
      length: int [batch].
      size: number of positions.
      widest: largest width of a span.

    Returns:
      bool [batch, size].
    """
    length = jnp.asarray(length, jnp.float32)[:, None]
    width = jnp.floor(draw[0] * (jnp.minimum(widest, length) + 1))
    start = jnp.floor(draw[1] * (length - width + 1))
    position = jnp.arange(size, dtype=jnp.float32)[:, None, None]  # [size, 1, 1]
    inside = (position >= start[None]) & (position < (start + width)[None])
    return jnp.any(inside, -1).T
