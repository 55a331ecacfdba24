"""The position of each utterance's voice among other voices: lowest pitch and third formant.

These two say more about the speaker than about the emotion. The base of a speaker's pitch changes
little with how lively they speak (Lindh and Eriksson 2007, "Robustness of long time measures of
fundamental frequency"). The upper formants follow the length of the vocal tract (Wakita 1977,
"Normalization of vowels by vocal-tract length and its application to vowel identification").
"""

from collections.abc import Iterable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jdann.features.statistics import masked_percentiles

# Semitones of pitch and of formant within which two voices are similar. Women and men are about
# ten semitones of pitch and 1.5 of formant apart.
WIDTHS = (6.0, 0.9)
# The bin of a vector recipe and the bin of a frame recipe.
_PITCH = ("pitch/p05", "log_f0")
_THIRD_FORMANT = ("f3_frequency/p50", "f3_frequency")
_BASE_PERCENTILE = 5  # of the pitch in the voiced frames
_GRID_STEP = 0.5  # in widths


def has_pitch(bins: Sequence[str]) -> bool:
    """Whether a recipe with these bins has the pitch, which voice positions need."""
    return any(name in bins for name in _PITCH)


def voice_positions(utterances: Iterable[np.ndarray], bins: Sequence[str]) -> np.ndarray:
    """The position of each utterance's voice among the others.

    Args:
      utterances: n arrays [frames, bins], or [1, values] from a vector recipe; not normalised.
      bins: name of each bin, of a recipe that `has_pitch`.

    Returns:
      [n, 1 or 2] float64: the base of the pitch and, if the recipe has formants, the median third
      formant, both in units of `WIDTHS`. An utterance without voiced frames gets the median of
      the other utterances.
    """
    pitch, formant, voicing = _columns(bins)
    rows = []
    for x in utterances:
        if voicing is not None:
            x = x[x[:, voicing] > 0.5]
        base = np.percentile(x[:, pitch], _BASE_PERCENTILE) if len(x) else np.nan
        hz = [] if formant is None else [np.median(x[:, formant]) if len(x) else np.nan]
        rows.append([base, *(12 * np.log2(f) if f > 0 else np.nan for f in hz)])
    positions = np.array(rows, np.float64)
    positions[positions[:, 0] <= 0] = np.nan  # 0 semitones above 55 Hz: no frame was voiced
    medians = np.nan_to_num(
        [np.median(x[np.isfinite(x)]) if np.isfinite(x).any() else 0.0 for x in positions.T]
    )
    positions = np.where(np.isfinite(positions), positions, medians)
    return positions / np.asarray(WIDTHS[: positions.shape[1]])


def position_grid(positions: np.ndarray) -> np.ndarray:
    """Positions at even distances that cover a set of voices.

    Args:
      positions: [n, 1 or 2], from `voice_positions`.

    Returns:
      [m, 1 or 2] float32: a grid from the first to the 99th percentile along each axis.
    """
    low, high = np.percentile(positions, [1, 99], axis=0)
    axes = [
        np.linspace(first, last, 1 + int(np.ceil((last - first) / _GRID_STEP)))
        for first, last in zip(low, high, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)  # [m1, 1] or [m1, m2, 2]
    return grid.reshape(-1, len(axes)).astype(np.float32)


def grid_weights(
    features: jax.Array, frames: jax.Array, grid: jax.Array, bins: Sequence[str]
) -> jax.Array:
    """The weight of each position of a grid for the voice of each clip: near ones weigh most.

    Args:
      features: float32 [batch, frames, bins], or [batch, values] from a vector recipe; not
        normalised.
      frames: int32 [batch], valid frames.
      grid: [m, 1 or 2], from `position_grid`; [m, 0] where voices do not matter.
      bins: name of each bin.

    Returns:
      float32 [batch, m]; each row sums to 1. A clip without voiced frames has equal weights.
    """
    chex.assert_rank([features, grid], [{2, 3}, 2])
    if not grid.shape[1]:
        return jnp.full((features.shape[0], len(grid)), 1 / len(grid))
    axes = grid.shape[1]
    pitch, formant, voicing = _columns(bins)
    if features.ndim == 2:
        base, hz = features[:, pitch], features[:, formant or 0]
    else:
        valid = jnp.arange(features.shape[1])[None] < frames[:, None]
        voiced = (features[:, :, voicing] > 0.5) & valid
        base = masked_percentiles(features[:, :, pitch], voiced, (_BASE_PERCENTILE,))[:, 0]
        hz = masked_percentiles(features[:, :, formant or 0], voiced, (50.0,))[:, 0]
    semitones = jnp.stack([base, 12 * jnp.log2(jnp.maximum(hz, 1.0))], -1)  # [batch, 2]
    positions = semitones[:, :axes] / jnp.asarray(WIDTHS[:axes])[None]
    steps = (positions[:, None] - grid[None]) / (_GRID_STEP / 2)  # [batch, m, axes]
    distance = jnp.square(steps).sum(-1)  # [batch, m]
    return jax.nn.softmax(jnp.where(base[:, None] > 0, -distance / 2, 0.0))


def _columns(bins: Sequence[str]) -> tuple[int, int | None, int | None]:
    """The columns of pitch, third formant and voicing; None where the recipe has none."""
    pitch, formant = (
        next((bins.index(name) for name in names if name in bins), None)
        for names in (_PITCH, _THIRD_FORMANT)
    )
    assert pitch is not None, "voice positions need a recipe that has the pitch"
    return pitch, formant, bins.index("voicing") if "voicing" in bins else None
