"""What a corpus is to the rest of the package: a list of utterances, how to read them, and what was left out."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Utterance(NamedTuple):
    """One utterance. Only `file` is always known; `path` is empty where a prepared corpus holds the samples."""

    file: str  # as predictions.csv shows it: the manifest's own text, or the path below the corpus's folder
    path: str = ""  # absolute path of the audio file
    emotion: str | None = None  # a canonical label of `labels.EMOTIONS`, None where unlabelled
    speaker: str | None = None
    language: str | None = None
    gender: str | None = None
    sentence: str | None = None
    corpus: str | None = None
    split: str | None = None
    start_s: float = 0.0  # where the utterance begins in the file
    end_s: float | None = None  # where it ends; None: at the file's end
    duration_s: float | None = (
        None  # where it is known without opening a file: in a prepared corpus
    )


class Skipped(NamedTuple):
    """A file that could not be used, and why, in words."""

    file: str
    reason: str


class Corpus(NamedTuple):
    """Utterances of one corpus, restricted to the chosen emotions."""

    name: str  # what the user asked for: "esd:en", "demo:zh", "a.csv"
    description: str  # in plain words, for titles: "ESD, English", "demo corpus (synthesised speech), Mandarin"
    synthetic: bool  # True for the demo corpus only
    utterances: tuple[Utterance, ...]
    skipped: tuple[Skipped, ...] = ()  # e.g. a manifest's row whose file is missing
    outside: tuple[
        tuple[str, int], ...
    ] = ()  # label and count of utterances outside the chosen emotions
    notes: tuple[str, ...] = ()  # anything the user must hear, e.g. "no speaker ids"
    read: Callable[[Utterance], tuple[np.ndarray, int]] | None = None
    # (samples [samples] int16 or float32, sample_rate_hz) of a prepared utterance; None: decode `utterance.path`
    identity: str = ""  # of a prepared corpus's samples, for `fingerprint`; empty: the files stand for themselves

    @property
    def labelled(self) -> bool:
        """True where at least one utterance has an emotion."""
        return any(u.emotion is not None for u in self.utterances)
