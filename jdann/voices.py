"""Where an utterance's voice lies among others, by what says more of who speaks than of how: lowest pitch and third formant.

The base of a speaker's pitch hardly moves with how lively they speak (Lindh and Eriksson 2007, "Robustness of long time measures
of fundamental frequency"), and the upper formants follow the length of the vocal tract (Wakita 1977, "Normalization of
vowels by vocal-tract length and its application to vowel identification").
"""

from collections.abc import Iterable, Sequence

import numpy as np

WIDTHS = (6.0, 0.9)  # semitones of pitch and formant within which voices are much alike; men and women are some ten and 1.5 apart
_PITCH, _FORMANT = ("pitch/p05", "log_f0"), ("f3_frequency/p50", "f3_frequency")  # of a recipe of vectors, or of frames
_BASE = 5  # percentile of the voiced frames


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
    pitch, formant = ([bins.index(name) for name in names if name in bins] for names in (_PITCH, _FORMANT))
    voicing = bins.index("voicing") if "voicing" in bins else None
    rows = []
    for x in utterances:
        if voicing is not None:
            x = x[x[:, voicing] > 0.5]
        base = np.percentile(x[:, pitch[0]], _BASE) if len(x) else np.nan
        hz = [np.median(x[:, column]) if len(x) else np.nan for column in formant[:1]]
        rows.append([base, *(12 * np.log2(f) if f > 0 else np.nan for f in hz)])
    places = np.array(rows, np.float64)
    places[places[:, 0] <= 0] = np.nan  # semitones above 55 Hz: nothing was voiced
    middle = np.nan_to_num([np.median(x[np.isfinite(x)]) if np.isfinite(x).any() else 0.0 for x in places.T])
    return np.where(np.isfinite(places), places, middle) / np.asarray(WIDTHS[: places.shape[1]])
