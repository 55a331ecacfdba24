"""RAVDESS: 24 English actors, two sentences, all told by the file's name (Livingstone & Russo, PLoS ONE, 2018)."""

import re
from collections.abc import Sequence
from pathlib import Path

from jdann.corpora.index import Skipped, Utterance

# modality - vocal channel - emotion - intensity - statement - repetition - actor
NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-\d\d-(\d\d)-\d\d-(\d\d)\.\w+$")
EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprise",
}


def matches(file: str) -> bool:
    """True where `file` is named as RAVDESS names its files."""
    return NAME.search(file) is not None


def index(root: Path, files: Sequence[str]) -> tuple[list[Utterance], list[Skipped], list[str]]:
    """The spoken utterances among `files`, paths below `root`, with songs and sound tracks of films left out.

    Returns:
      utterances, what was skipped, and notes.
    """
    utterances, skipped, songs, films = [], [], 0, 0
    for file in files:
        match = NAME.search(file)
        if match is None:
            skipped.append(
                Skipped(file, "not named like a file of RAVDESS (03-01-06-01-02-01-12.wav)")
            )
            continue
        modality, channel, emotion, sentence, actor = match.groups()
        if modality != "03":
            films += 1
        elif channel != "01":
            songs += 1
        elif emotion not in EMOTIONS:
            skipped.append(
                Skipped(file, f"emotion number {emotion} in the name, RAVDESS has 01 to 08")
            )
        else:
            utterances.append(
                Utterance(
                    file=file,
                    path=f"{root}/{file}",
                    emotion=EMOTIONS[emotion],
                    speaker=f"Actor_{actor}",
                    language="en",
                    gender="male" if int(actor) % 2 else "female",
                    sentence=sentence,
                    corpus="ravdess",
                )
            )
    notes = [f"{songs:,} songs were left out: only speech is used"] if songs else []
    if films:
        notes.append(
            f"{films:,} sound tracks of films were left out: they repeat the audio-only files"
        )
    return utterances, skipped, notes
