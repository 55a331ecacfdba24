"""Where an utterance's voice lies among others, by what says more of who speaks than of how: lowest pitch and third formant.

The base of a speaker's pitch hardly moves with how lively they speak (Lindh and Eriksson 2007, "Robustness of long time measures
of fundamental frequency"), and the upper formants follow the length of the vocal tract (Wakita 1977, "Normalization of
vowels by vocal-tract length and its application to vowel identification").
"""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jdann.features.statistics import masked_percentiles

WIDTHS = (
    6.0,
    0.9,
)  # semitones of pitch and formant within which voices are much alike; men and women are some ten and 1.5 apart
_PITCH, _FORMANT = (
    ("pitch/p05", "log_f0"),
    ("f3_frequency/p50", "f3_frequency"),
)  # of a recipe of vectors, or of frames
_BASE = 5  # percentile of the voiced frames
_STEP = 0.5  # of the grid, in widths


def known(bins: Sequence[str]) -> bool:
    """Whether a recipe of these bins tells the pitch."""
    return any(name in bins for name in _PITCH)


def place(utterances: Iterable[np.ndarray], bins: Sequence[str]) -> np.ndarray:
    """Places each utterance's voice among the others.

    Args:
      utterances: n arrays [frames, bins], or [1, values] where an utterance is one vector.
      bins: a name for each bin, of a recipe that is `known`.

    Returns:
      [n, 1 or 2] float: base of the pitch and, where the recipe has it, median third formant, in `WIDTHS`. Where nothing is
      voiced, the median of the other utterances.
    """
    pitch, formant, voicing = _columns(bins)
    rows = []
    for x in utterances:
        if voicing is not None:
            x = x[x[:, voicing] > 0.5]
        base = np.percentile(x[:, pitch], _BASE) if len(x) else np.nan
        hz = [] if formant is None else [np.median(x[:, formant]) if len(x) else np.nan]
        rows.append([base, *(12 * np.log2(f) if f > 0 else np.nan for f in hz)])
    places = np.array(rows, np.float64)
    places[places[:, 0] <= 0] = np.nan  # semitones above 55 Hz: nothing was voiced
    middle = np.nan_to_num(
        [np.median(x[np.isfinite(x)]) if np.isfinite(x).any() else 0.0 for x in places.T]
    )
    return np.where(np.isfinite(places), places, middle) / np.asarray(WIDTHS[: places.shape[1]])


def grid(places: np.ndarray) -> np.ndarray:
    """Places [m, 1 or 2] at even distances over where voices [n, 1 or 2] lie, but for one in a hundred at each end."""
    low, high = np.percentile(places, [1, 99], axis=0)
    axes = [
        np.linspace(a, b, 1 + int(np.ceil((b - a) / _STEP))) for a, b in zip(low, high, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes)).astype(np.float32)


def among(features: jax.Array, frames: jax.Array, at: jax.Array, bins: Sequence[str]) -> jax.Array:
    """What each place of a grid counts for the voices of a batch: the nearest ones most.

    Args:
      features: [batch, frames, bins], or [batch, values, 1] where an utterance is one vector; not normalised.
      frames: [batch] int32, valid frames.
      at: [m, 0, 1 or 2], from `grid`; of no axis where voices do not matter.
      bins: a name for each bin.

    Returns:
      [batch, m], in sum 1; all the same where nothing is voiced.
    """
    if not at.shape[1]:
        return jnp.full((features.shape[0], len(at)), 1 / len(at))
    pitch, formant, voicing = _columns(bins)
    if features.shape[-1] == 1:
        base, hz = features[:, pitch, 0], features[:, formant or 0, 0]
    else:
        voiced = (features[:, :, voicing] > 0.5) & (jnp.arange(features.shape[1]) < frames[:, None])
        base = masked_percentiles(features[:, :, pitch], voiced, (_BASE,))[:, 0]
        hz = masked_percentiles(features[:, :, formant or 0], voiced, (50.0,))[:, 0]
    places = jnp.stack([base, 12 * jnp.log2(jnp.maximum(hz, 1.0))], -1)[
        :, : at.shape[1]
    ] / jnp.asarray(WIDTHS[: at.shape[1]])
    distance = jnp.square((places[:, None] - at) / (_STEP / 2)).sum(-1)
    return jax.nn.softmax(jnp.where(base[:, None] > 0, -distance / 2, 0.0))


def _columns(bins: Sequence[str]) -> tuple[int, int | None, int | None]:
    """Of the pitch, the third formant and the voicing, where there are any."""
    pitch, formant = (
        next((bins.index(name) for name in names if name in bins), None)
        for names in (_PITCH, _FORMANT)
    )
    assert pitch is not None  # the recipe is `known`
    return pitch, formant, bins.index("voicing") if "voicing" in bins else None
