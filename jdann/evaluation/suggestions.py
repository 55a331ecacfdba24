"""Which clips to label next, so that few labels tell much about a whole target.

Uncertain clips are drawn more often, because they tell more about what the model gets wrong
(Sawade et al., "Active risk estimation", ICML 2010; Kossen et al., "Active testing", ICML 2021).
Scored as they are, they would make the model look worse than it is. So each drawn clip gets a
weight, one divided by the probability that it was drawn (Horvitz & Thompson 1952): weighted scores
are those of the whole target, apart from chance.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_LEAST_SIZE = 0.25  # of a clip that is certain; an utterly uncertain one has 1 more


class Suggestion(NamedTuple):
    """The clips to label."""

    rows: np.ndarray  # [m] int, ascending positions among the candidates
    weight: np.ndarray  # [m] float, how many candidates each clip stands for, 1 or more


def suggest_clips(
    probability: np.ndarray, speaker: Sequence[str | None], count: int, seed: int = 0
) -> Suggestion:
    """Draws clips with a preference for uncertain ones.

    Each predicted class gets about the same number of clips, and within it each speaker, as far as
    there are enough. The draw is systematic: the probabilities that clips are drawn are laid end to
    end, ordered by class and speaker, and every clip is taken that covers one of `count` equally
    spaced points. Within a speaker and class the order is random: an order by uncertainty would
    make one draw take the most certain clip of each, and another the least certain.

    Args:
      probability: [n, classes] float, predictions for the candidates.
      speaker: n speaker ids; None for an unknown speaker.
      count: clips to draw, from 1 to n.
      seed: of the draw.

    Returns:
      `count` clips with their weights.

    Raises:
      ValueError: `count` is not from 1 to n.
    """
    if not 1 <= count <= len(probability):
        raise ValueError(f"count is {count}; expected 1 to {len(probability)}")
    predicted = probability.argmax(1)
    uncertainty = normalised_entropy(probability)
    names = np.array(["" if name is None else f"speaker {name}" for name in speaker])
    speakers, of_speaker = np.unique(names, return_inverse=True)
    drawn = _inclusion(_sizes(predicted, of_speaker, uncertainty), count)

    random = np.random.default_rng(seed)
    # Each class begins with another speaker, so that different classes take different speakers.
    place = (of_speaker + predicted) % len(speakers)
    order = np.lexsort((random.random(len(place)), place, predicted))
    ends = np.cumsum(drawn[order])
    ends *= count / ends[-1]  # so that rounding loses no clip
    points = random.random() + np.arange(count)
    rows = np.sort(order[np.searchsorted(ends, points, side="right")])
    return Suggestion(rows, 1 / drawn[rows])


def normalised_entropy(probability: np.ndarray) -> np.ndarray:
    """The entropy of each row [n, classes], from 0 (certain) to 1 (all classes are equal)."""
    logarithm = np.log(np.maximum(probability, 1e-12))
    entropy = -(probability * logarithm).sum(1) / np.log(probability.shape[1])
    return np.clip(entropy, 0, 1)


def _sizes(predicted: np.ndarray, speaker: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    """[n], proportional to the probability that a clip is drawn.

    The sizes of each class have one sum, and within a class those of each speaker.
    """
    size = _LEAST_SIZE + uncertainty
    cell = predicted * (speaker.max() + 1) + speaker
    size = size / np.bincount(cell, size)[cell]
    return size / np.bincount(predicted, size)[predicted]


def _inclusion(size: np.ndarray, count: int) -> np.ndarray:
    """Probabilities [n] in proportion to the sizes, at most 1 each, with the sum `count`."""
    certain = np.zeros(len(size), bool)
    while True:
        left = count - certain.sum()
        probability = np.where(certain, 1.0, left * size / max(size[~certain].sum(), 1e-300))
        above = ~certain & (probability >= 1)
        if not above.any():
            return probability
        certain |= above
