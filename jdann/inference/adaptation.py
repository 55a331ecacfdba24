"""Normalisation for one speaker, blended with the target's where there are few clips."""

from collections.abc import Iterable

import numpy as np

from jdann.data import normalise
from jdann.inference.model import Normaliser

RELEVANCE = 5.0  # clips


def adapt_normaliser(
    normaliser: Normaliser, features: Iterable[np.ndarray], clips: int, relevance: float
) -> Normaliser:
    """The maximum a posteriori estimate of a speaker's mean and standard deviation.

    The statistics of n clips weigh n / (n + relevance) and the target's statistics weigh the rest,
    because few clips of one emotion tell more about the emotion than about the speaker (Reynolds et
    al. 2000, "Speaker verification using adapted Gaussian mixture models", equation 14).

    Args:
      normaliser: of the target.
      features: of each of the speaker's clips, [frames, values], not normalised.
      clips: how many there are, 1 or more.
      relevance: clips, 0 or more; 0: the speaker's own statistics only.
    """
    moments = normalise.moments(features, ["speaker"] * clips)
    mean, std, voice = normaliser
    prior = normalise.Moments(mean.astype(np.float64), std.astype(np.float64) ** 2)
    blended = normalise.map_estimate(moments, prior, clips / (clips + relevance))
    fitted = normalise.statistics(blended, ())
    return Normaliser(fitted.mean, fitted.std, voice)
