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

# Clips are drawn with a probability in proportion to their size. The size is this value, that of a
# certain prediction, plus the normalised entropy.
_LEAST_SIZE = 0.25


class Suggestion(NamedTuple):
    """The clips to label."""

    rows: np.ndarray  # [m] int, ascending positions among the candidates
    weight: np.ndarray  # [m] float, how many candidates each clip represents, 1 or more


def suggest_clips(
    probability: np.ndarray, speaker: Sequence[str | None], count: int, seed: int = 0
) -> Suggestion:
    """Draws clips with a preference for uncertain ones.

    Each predicted class gets about the same number of clips, and so does each speaker within a
    class, if there are enough clips. The draw is systematic (Madow 1949): each clip is an interval
    whose length is its probability, and the intervals are laid end to end, ordered by class and
    speaker. A clip is drawn if one of `count` equally spaced points lies in its interval. Clips of
    one speaker and class are in random order. If they were ordered by uncertainty, one draw would
    take the most certain clips of all speakers, and another draw the least certain ones.

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
    speakers, speaker_index = np.unique(names, return_inverse=True)
    draw_probability = _draw_probabilities(_sizes(predicted, speaker_index, uncertainty), count)

    random = np.random.default_rng(seed)
    # Each class begins with another speaker, so that different classes take different speakers.
    speaker_order = (speaker_index + predicted) % len(speakers)
    order = np.lexsort((random.random(len(speaker_order)), speaker_order, predicted))
    ends = np.cumsum(draw_probability[order])
    ends *= count / ends[-1]  # the sum is `count` exactly, so that no clip is lost by rounding
    points = random.random() + np.arange(count)
    rows = np.sort(order[np.searchsorted(ends, points, side="right")])
    return Suggestion(rows, 1 / draw_probability[rows])


def normalised_entropy(probability: np.ndarray) -> np.ndarray:
    """The entropy of each row [n, classes], from 0 (certain) to 1 (all classes are equal)."""
    logarithm = np.log(np.maximum(probability, 1e-12))
    entropy = -(probability * logarithm).sum(1) / np.log(probability.shape[1])
    return np.clip(entropy, 0, 1)


def _sizes(predicted: np.ndarray, speaker: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    """The size of each clip, [n], proportional to the probability that it is drawn.

    All classes have the same total size. Within a class, all of its speakers have the same total.
    """
    size = _LEAST_SIZE + uncertainty
    cell = predicted * (speaker.max() + 1) + speaker
    size = size / np.bincount(cell, size)[cell]
    return size / np.bincount(predicted, size)[predicted]


def _draw_probabilities(size: np.ndarray, count: int) -> np.ndarray:
    """Probabilities [n] in proportion to the sizes, at most 1 each, with the sum `count`."""
    always_drawn = np.zeros(len(size), bool)
    while True:
        remaining = count - always_drawn.sum()
        total = max(size[~always_drawn].sum(), 1e-300)
        probability = np.where(always_drawn, 1.0, remaining * size / total)
        above = ~always_drawn & (probability >= 1)
        if not above.any():
            return probability
        always_drawn |= above
