"""What a recipe of features is.

A recipe is a value that a factory with keyword parameters makes: `frames(n_mels=80).extract`.

Padding never changes the result: the features of a signal padded with zeros are those of the signal
alone up to its length, and zero after it.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax

from jdann.parameters import Range

Extract = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
SampleRate = Annotated[int, Range(1000)]  # Hz


class Recipe(NamedTuple):
    """How features are computed.

    `extract` takes signals float32 [batch, samples], padded at the end, and their lengths int32
    [batch] in samples. It returns features float32 [batch, frames, bins] and lengths int32 [batch]
    in frames. A recipe of one vector per utterance returns [batch, values], and 1 as each length.
    `extract` is pure; jit it once.

    A recipe of a pretrained encoder has `weights`, which are hundreds of megabytes. `extract` holds
    them as constants. `compute` takes them as an argument, so that programs for clips of several
    lengths share them.
    """

    name: str
    sample_rate_hz: int
    bins: tuple[str, ...]  # name of each bin; of each value where the recipe is a vector
    hop_s: float  # seconds between frames
    is_vector: bool  # True: one vector per utterance instead of frames
    extract: Extract
    dtype: str = "float32"  # of the values on disk
    batch: int = 32  # clips in one call where there are many
    weights: Any = ()  # arrays
    with_weights: Callable[..., tuple[jax.Array, jax.Array]] | None = None

    def compute(
        self, weights: Any, signal: jax.Array, length: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """As `extract`, with `weights` as an argument."""
        if self.with_weights is None:
            return self.extract(signal, length)
        return self.with_weights(weights, signal, length)


def numbered(name: str, count: int) -> tuple[str, ...]:
    """Names for bins: "mel_00", "mel_01", ..."""
    return tuple(f"{name}_{i:0{len(str(count - 1))}d}" for i in range(count))
