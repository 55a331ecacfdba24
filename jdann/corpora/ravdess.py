"""RAVDESS: 24 English actors say two sentences in eight emotions; the file's name tells everything.

Source: Livingstone and Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song
(RAVDESS)", PLoS ONE, 2018.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from jdann.corpora.copies import without_copies
from jdann.corpora.index import Listing, Skipped, Utterance
from jdann.corpora.name_schemes import not_named_like
from jdann.terminal import counted

# modality - vocal channel - emotion - intensity - statement - repetition - actor
NAME = re.compile(r"(?:^|/)(0[1-3])-(0[12])-(0[1-8])-0[12]-(0[12])-0[12]-(0[1-9]|1\d|2[0-4])\.\w+$")
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


def is_file(file: str) -> bool:
    """Whether a path has a name as in RAVDESS, with values that occur there."""
    return NAME.search(file) is not None


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
            skipped.append(Skipped(file, not_named_like("RAVDESS", "03-01-06-01-02-01-12.wav")))
            continue
        modality, channel, emotion, sentence, actor = match.groups()
        if modality != AUDIO_ONLY:
            films += 1
        elif channel != SPEECH:
            songs += 1
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
    notes = []
    if songs:
        notes.append(f"left out, because only speech is used: {counted(songs, 'song')}")
    if films:
        notes.append(
            "left out, because they repeat the files without a film: "
            f"{counted(films, 'sound track')}"
        )
    return Listing(utterances, skipped, notes)
