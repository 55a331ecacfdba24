"""Speakers of utterances without ids: from a pattern, or from names that the voices confirm.

What names do not tell is left unknown. Such utterances are normalised among similar voices.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jdann.corpora.index import Utterance
from jdann.errors import InputError
from jdann.speakers import similar_voices
from jdann.speakers.names import Voices, match_speakers, read_speakers

WAYS = ("auto", "names", "voice")
_EXPRESSION = ("pitch/range_20_80", "loudness/range_20_80")  # of a vector recipe
_MOST_KNOWN = 0.5  # a corpus of which more speakers are known is taken as it is


class Named(NamedTuple):
    """Utterances with the speakers that were found."""

    utterances: tuple[Utterance, ...]
    evidence: str  # one sentence for the user


def name_speakers(
    utterances: Sequence[Utterance],
    read_features: Callable[[], Iterable[np.ndarray]],
    bins: Sequence[str],
    *,
    way: str,
    pattern: str,
) -> Named | None:
    """Gives speakers to the utterances of a corpus in which most have none.

    Args:
      utterances: n utterances.
      read_features: reads n arrays [frames, bins], or [1, values] of a vector recipe.
      bins: name of each bin.
      way: one of WAYS. "auto": read the names if they hold speakers; "names": they have to;
        "voice": do not read them.
      pattern: a regular expression for `match_speakers`, which is then believed; "": none.

    Returns:
      The utterances with speakers; None if most ids are known, or nothing was found.

    Raises:
      InputError: `way` is unknown, the pattern is of no use, or `way` is "names" and the names do
        not tell the speakers.
    """
    if way not in WAYS:
        raise InputError(f"config.speakers is {way!r}; choose one of {', '.join(WAYS)}")
    unknown = sum(u.speaker is None for u in utterances)
    if not utterances or unknown / len(utterances) <= _MOST_KNOWN:
        return None
    files = [u.file.replace("\\", "/") for u in utterances]
    if pattern:
        named = match_speakers(files, pattern)
    elif way == "voice":
        return None
    else:
        voices = _voices(read_features, bins)
        named = None if voices is None else read_speakers(files, voices)
        if named is None and way == "names":
            raise InputError(
                f"config.speakers is 'names', and no part of names such as {files[0]} groups the "
                "voices as speakers would; tell it by --config.speaker_pattern, or give a manifest "
                "with a column speaker"
            )
    if named is None:
        return None
    return Named(
        tuple(
            u if u.speaker is not None else u._replace(speaker=speaker)
            for u, speaker in zip(utterances, named.speaker, strict=True)
        ),
        named.evidence,
    )


def _voices(
    read_features: Callable[[], Iterable[np.ndarray]], bins: Sequence[str]
) -> Voices | None:
    """What tells speakers from emotions; None if the recipe lacks the third formant or ranges."""
    if not similar_voices.has_pitch(bins) or not set(_EXPRESSION) <= set(bins):
        return None
    positions = similar_voices.voice_positions(read_features(), bins)
    if positions.shape[1] < 2:
        return None
    columns = [bins.index(name) for name in _EXPRESSION]
    expression = np.array([x[0, columns] for x in read_features()], np.float64)
    return Voices(positions[:, 0], positions[:, 1], expression)
