"""The types of a corpus: its utterances, how to read them, and which files were skipped."""

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jdann import remote


class Place(NamedTuple):
    """Where audio is: a file, and the part of it in seconds."""

    file: str
    start_s: float
    end_s: float | None  # None: the file's end


class Utterance(NamedTuple):
    """An utterance. Only `file` is always known."""

    # As written in the manifest, or relative to the corpus folder; also the column `file` of
    # predictions.csv.
    file: str
    path: str = ""  # absolute path or URL of the audio file; "": `Corpus.read` returns the samples
    emotion: str | None = None  # a name in `labels.EMOTIONS`; None: unlabelled
    speaker: str | None = None
    language: str | None = None
    gender: str | None = None
    sentence: str | None = None
    corpus: str | None = None
    split: str | None = None
    start_s: float = 0.0  # where the utterance begins in the file
    end_s: float | None = None  # where it ends; None: at the file's end
    duration_s: float | None = None  # only prepared ESD knows it without opening a file


def place(utterance: Utterance) -> Place:
    """Where the audio of an utterance is: equal for the same audio in two lists."""
    path = utterance.path
    audio = path if remote.is_url(path) else os.path.realpath(path) if path else utterance.file
    return Place(audio, utterance.start_s, utterance.end_s)


class Skipped(NamedTuple):
    """A file that could not be used."""

    file: str
    reason: str
    no_speech: bool = False  # it can be read, but nobody speaks in it


class Listing(NamedTuple):
    """What a reader of a folder returns: utterances, skipped files and notes.

    `load` makes a Corpus of it.
    """

    utterances: list[Utterance]
    skipped: list[Skipped]
    notes: list[str]


class Corpus(NamedTuple):
    """Utterances of one corpus, restricted to the chosen emotions."""

    name: str  # what the user asked for: "esd:en", "demo:zh", "a.csv"
    description: str  # for titles: "ESD, English", "demo corpus (synthesised speech), Mandarin"
    synthetic: bool  # True only for the demo corpus
    utterances: tuple[Utterance, ...]
    skipped: tuple[Skipped, ...] = ()  # e.g. a row of a manifest whose file is missing
    # (emotion, number of utterances) of each emotion that was not chosen
    excluded_emotions: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()  # what the user should know, e.g. "no speaker ids"
    # Returns the samples, [samples] or [samples, channels], floats or integers, and the sample rate
    # in Hz, if the audio is in memory or in a prepared corpus; None: decode `utterance.path`.
    read: Callable[[Utterance], tuple[np.ndarray, int]] | None = None
    # Identifies the samples for `fingerprint`, if the audio is in memory or in a prepared corpus;
    # "": the files identify them.
    identity: str = ""

    @property
    def labelled(self) -> bool:
        """Whether at least one utterance has an emotion."""
        return any(u.emotion is not None for u in self.utterances)
