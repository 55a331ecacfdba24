"""What the published encoders do to samples before their network sees them."""

import jax
import jax.numpy as jnp

VARIANCE_FLOOR = 1e-7  # transformers 5.24, feature_extraction_wav2vec2.py


def frame_mask(length: jax.Array, frames: int) -> jax.Array:
    """Returns True for each frame, or sample, that is not padding: bool [batch, frames]."""
    return jnp.arange(frames)[None] < length[:, None]


def normalised(samples: jax.Array, length: jax.Array) -> jax.Array:
    """Gives each clip a mean of zero and a variance of one.

    This is `do_normalize` of `Wav2Vec2FeatureExtractor` in transformers.

    Args:
      samples: [batch, samples], float32. The padding may hold any value.
      length: [batch], valid samples of each clip.

    Returns:
      [batch, samples] float32, zero in the padding.
    """
    mask = frame_mask(length, samples.shape[1])
    count = jnp.maximum(length, 1)[:, None].astype(jnp.float32)
    # `where` and not a product, because the padding may hold NaN.
    samples = jnp.where(mask, samples, 0.0)
    mean = samples.sum(1, keepdims=True) / count
    centred = jnp.where(mask, samples - mean, 0.0)
    variance = jnp.square(centred).sum(1, keepdims=True) / count
    return centred * jax.lax.rsqrt(variance + VARIANCE_FLOOR)
