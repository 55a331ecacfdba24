"""Recognises new speakers: discriminants that co-train on their clips, without labels.

A network that has learnt the speakers of a target is less accurate for other speakers. With enough
clips of a new speaker, the views of `jdann.methods.one_speaker` are more accurate.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdann.inference.model import Reference
from jdann.methods import discriminant, one_speaker
from jdann.methods.discriminant import LARGEST_SCORE, Moments
from jdann.methods.one_speaker import Views

_LEAST_ROWS = 8  # clips are padded to a power of two, so that few shapes are compiled


def make_reference(features: np.ndarray, labels: np.ndarray) -> Reference:
    """What utterances with known or predicted emotions tell about new speakers.

    Args:
      features: [n, values], normalised statistics of source and target.
      labels: [n, classes]; each row is a distribution times the weight of the utterance.
    """
    clipped = jnp.clip(jnp.asarray(features, jnp.float32), -LARGEST_SCORE, LARGEST_SCORE)
    fitted = jax.jit(discriminant.moments)(clipped, jnp.asarray(labels, jnp.float32))
    return Reference(*map(np.asarray, fitted), present=np.asarray(labels).sum(0) > 0)


def co_train(reference: Reference, features: np.ndarray) -> Views:
    """The views of new speakers.

    Args:
      reference: of source and target.
      features: [clips, values], one clip or more. They are normalised for each speaker, and not
        labelled.

    Returns:
      NumPy arrays.
    """
    rows = max(_LEAST_ROWS, 1 << (len(features) - 1).bit_length())
    padded = np.zeros((rows, features.shape[1]), np.float32)
    padded[: len(features)] = np.clip(features, -LARGEST_SCORE, LARGEST_SCORE)
    is_clip = (np.arange(rows) < len(features)).astype(np.float32)
    moments = Moments(reference.mean, reference.covariance)  # pyright: ignore[reportArgumentType]
    return jax.device_get(_fit_views()(moments, reference.present, padded, is_clip))


@cache
def _fit_views() -> Any:
    return jax.jit(one_speaker.fit_views)
