"""Speakers of utterances without ids: from a pattern, or from names that the voices confirm.

What names do not tell is left unknown; `jdann.speakers.clusters` then groups the voices.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from jdann.corpora.index import Utterance
from jdann.errors import InputError
from jdann.speakers.names import NamedSpeakers, match_speakers, read_speakers
from jdann.speakers.voice_shares import Voices, read_voices

Way = Literal["auto", "names", "voice", "none"]
_MAX_UNKNOWN = 0.5  # in a corpus with fewer unknown speakers, the ids are taken as they are


class Named(NamedTuple):
    """Utterances with the speakers that their names tell."""

    utterances: tuple[Utterance, ...]
    notes: tuple[str, ...]  # for the user, one sentence per corpus


def name_speakers(
    utterances: Sequence[Utterance],
    positions: np.ndarray | None,
    read_features: Callable[[], Iterable[np.ndarray]],
    bins: Sequence[str],
    *,
    way: Way,
    pattern: str,
) -> Named:
    """Gives speakers to the utterances of each corpus in which most have none.

    Args:
      utterances: n utterances of one or several corpora.
      positions: [n, 1 or 2] from `similar_voices.voice_positions`; None: the recipe has no pitch.
      read_features: reads n arrays [frames, bins], or [1, values] of a vector recipe.
      bins: name of each bin.
      way: "auto": read the names if they hold speakers; "names": they have to; "voice" and "none":
        do not read them.
      pattern: a regular expression for `match_speakers`, which is used instead; "": none.

    Returns:
      The utterances, and what was read. Of several corpora, a speaker is named "corpus/speaker".

    Raises:
      InputError: the pattern is of no use, or `way` is "names" and the names do not tell the
        speakers.
    """
    rows_of_corpus: dict[str | None, list[int]] = {}
    for i, utterance in enumerate(utterances):
        rows_of_corpus.setdefault(utterance.corpus, []).append(i)
    unnamed = [
        rows
        for rows in rows_of_corpus.values()
        if sum(utterances[i].speaker is None for i in rows) > _MAX_UNKNOWN * len(rows)
    ]
    if not unnamed or (way in ("voice", "none") and not pattern):
        return Named(tuple(utterances), ())
    voices = None if pattern else read_voices(positions, read_features, bins)
    named, notes = list(utterances), []
    for rows in unnamed:
        files = [utterances[i].file.replace("\\", "/") for i in rows]
        reading = _read(files, voices and voices.select(rows), way, pattern)
        if reading is None:
            continue
        notes.append(reading.evidence)
        for i, speaker in zip(rows, reading.speaker, strict=True):
            if utterances[i].speaker is None and speaker is not None:
                prefix = f"{utterances[i].corpus}/" if len(rows_of_corpus) > 1 else ""
                named[i] = utterances[i]._replace(speaker=prefix + speaker)
    return Named(tuple(named), tuple(notes))


def _read(
    files: Sequence[str], voices: Voices | None, way: Way, pattern: str
) -> NamedSpeakers | None:
    """The speakers of one corpus; None if its names do not tell them."""
    if pattern:
        return match_speakers(files, pattern)
    reading = None if voices is None else read_speakers(files, voices)
    if reading is None and way == "names":
        remedy = "use --config.speaker_pattern, or a manifest with a column speaker"
        if voices is None:
            raise InputError(
                "config.speakers is 'names', and the voices cannot confirm names, because the "
                f"recipe has no formants; use --config.features.recipe=statistics, or {remedy}"
            )
        raise InputError(
            f"config.speakers is 'names', but no part of names such as {files[0]} groups the "
            f"voices as speakers would; {remedy}"
        )
    return reading
