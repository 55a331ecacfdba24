"""RAVDESS: 24 English actors say two sentences in eight emotions; the file's name tells everything.

Source: Livingstone and Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song
(RAVDESS)", PLoS ONE, 2018.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from jdann.corpora.copies import without_copies
from jdann.corpora.index import Listing, Skipped, Utterance

# modality - vocal channel - emotion - intensity - statement - repetition - actor
NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-\d\d-(\d\d)-\d\d-(\d\d)\.\w+$")
AUDIO_ONLY = "03"  # modality; 01 and 02 are films
SPEECH = "01"  # vocal channel; 02 is song
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


def recognise(files: Sequence[str]) -> bool:
    """Whether at least half of the files have names as in RAVDESS."""
    return 2 * sum(NAME.search(file) is not None for file in files) >= len(files)


def read(root: Path, files: Sequence[str]) -> Listing:
    """Lists the spoken utterances of RAVDESS, without songs and without the sound of films.

    Args:
      root: the folder of the corpus.
      files: paths below `root`.
    """
    files, skipped = without_copies(files)
    utterances, songs, films = [], 0, 0
    for file in files:
        match = NAME.search(file)
        if match is None:
            reason = "not named like a file of RAVDESS (03-01-06-01-02-01-12.wav)"
            skipped.append(Skipped(file, reason))
            continue
        modality, channel, emotion, sentence, actor = match.groups()
        if modality != AUDIO_ONLY:
            films += 1
        elif channel != SPEECH:
            songs += 1
        elif emotion not in EMOTIONS:
            reason = f"emotion number {emotion} in the name, RAVDESS has 01 to 08"
            skipped.append(Skipped(file, reason))
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
    return Listing(utterances, skipped, notes)
