"""ESD, the Emotional Speech Dataset: ten Mandarin and ten English speakers, five emotions, 350 sentences each.

Source: Zhou, Sisman, Liu, Li, "Seen and unseen emotional style transfer for voice conversion with a new emotional
speech dataset", ICASSP 2021. A file's name, and so the order of the names, gives the emotion away: shuffle before
splitting, and let no name reach a model.
"""

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jdann.corpora.index import Skipped, Utterance
from jdann.corpora.labels import canonical, nearest_emotion

NAME = re.compile(r"(?:^|/)(\d{4})_(\d{6})\.\w+$")
EMOTIONS = ("neutral", "angry", "happy", "sad", "surprise")  # numbers 1-350, 351-700, ...
SENTENCES = 350  # of each emotion
FILES_PER_SPEAKER = SENTENCES * len(EMOTIONS)
FEMALE = frozenset((1, 2, 3, 7, 9, 15, 16, 17, 18, 19))  # by ear: the corpus itself does not say
SPEAKERS = 20


def matches(file: str) -> bool:
    """True where `file` is named as ESD names its files, whatever folders it lies in."""
    return NAME.search(file) is not None


def language(speaker: int) -> str | None:
    """The language of a speaker by number: "zh" for 1-10, "en" for 11-20, None for others."""
    return "zh" if 1 <= speaker <= 10 else "en" if speaker <= SPEAKERS else None


def official_split(sentence: int) -> str:
    """The part of the official, speaker-dependent split that holds a sentence (1-350), in every layout."""
    return "evaluation" if sentence <= 20 else "test" if sentence <= 50 else "train"


def index(root: Path, files: Sequence[str]) -> tuple[list[Utterance], list[Skipped], list[str]]:
    """The utterances among `files`, paths below `root`, in any of the layouts in which copies of ESD are found.

    The speaker is the four digits of the file's name, the emotion the nearest folder above it that names one. Both are
    checked against what the rest of the path says, and every disagreement is counted in the notes.

    Returns:
      utterances, what was skipped, and notes.
    """
    utterances, skipped, mislabelled, misplaced = [], [], [], []
    for file in files:
        match = NAME.search(file)
        number = int(match[2]) if match else 0
        if match is None or not 1 <= number <= FILES_PER_SPEAKER:
            skipped.append(
                Skipped(
                    file,
                    f"not named like a file of ESD, 0011_000001 to 0011_{FILES_PER_SPEAKER:06d}",
                )
            )
            continue
        folders = file.rpartition("/")[0]
        emotion = nearest_emotion(folders)
        speaker = match[1]
        if emotion is not None and emotion != EMOTIONS[(number - 1) // SENTENCES]:
            mislabelled.append(file)
        if any(
            len(part) == 4 and part.isdigit() and part != speaker for part in folders.split("/")
        ):
            misplaced.append(file)
        sentence = (number - 1) % SENTENCES + 1
        spoken = language(int(speaker))
        utterances.append(
            Utterance(
                file=file,
                path=f"{root}/{file}",
                emotion=emotion,
                speaker=speaker,
                language=spoken,
                gender=None if spoken is None else "female" if int(speaker) in FEMALE else "male",
                sentence=str(sentence),
                corpus="esd",
                split=official_split(sentence),
            )
        )
    return utterances, skipped, _disagreements(mislabelled, misplaced)


def _disagreements(mislabelled: Sequence[str], misplaced: Sequence[str]) -> list[str]:
    def examples(files: Sequence[str]) -> str:
        return f"{', '.join(files[:3])}{', ...' if len(files) > 3 else ''}"

    notes = []
    if mislabelled:
        notes.append(
            f"{len(mislabelled):,} files lie in the folder of another emotion than their number stands for; "
            f"the folder is believed: {examples(mislabelled)}"
        )
    if misplaced:
        notes.append(
            f"{len(misplaced):,} files lie in the folder of another speaker than their name says; "
            f"the name is believed: {examples(misplaced)}"
        )
    return notes


def missing(utterances: Sequence[Utterance]) -> list[str]:
    """Notes on what a copy of ESD lacks of the languages that it holds, one on speakers and one on files."""
    counts = Counter(
        int(u.speaker) for u in utterances if u.speaker is not None and u.speaker.isdigit()
    )
    expected = [
        s for s in range(1, SPEAKERS + 1) if language(s) in {language(held) for held in counts}
    ]
    absent = [f"{s:04d}" for s in expected if not counts[s]]
    short = [s for s in expected if 0 < counts[s] < FILES_PER_SPEAKER]
    notes = [f"speakers missing: {', '.join(absent)}"] if absent else []
    if short:
        held = (f"speaker {s:04d} has {counts[s]:,} of {FILES_PER_SPEAKER:,}" for s in short)
        notes.append(f"files missing: {', '.join(held)}")
    return notes


def read_transcripts(path: Path) -> dict[str, str]:
    """The texts of a speaker's transcript file, `0001/0001.txt`, whatever its encoding.

    Args:
      path: a file of lines `id TAB text TAB label`; some lines have spaces instead of tabs.

    Returns:
      Texts by the name of the audio file without its suffix. The speaker is taken from the transcript file's name, as
      the ids inside do not always agree with it. Empty where the file is missing: texts are a bonus.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return {}
    texts = {}
    for line in _decode(data, path.stem).splitlines():
        match = re.match(r"\s*\d{4}_(\d{6})\s+(.*\S)", line)
        if match:
            text, _, label = match[2].rpartition("\t" if "\t" in match[2] else " ")
            texts[f"{path.stem}_{match[1]}"] = text.strip() if canonical(label) else match[2]
    return texts


def _decode(data: bytes, speaker: str) -> str:
    """`data` as text: by its byte order mark, as UTF-16 where every other byte is zero, else the first that fits."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data:
        return data.decode(
            "utf-16-le" if data[1::2].count(0) > data[::2].count(0) else "utf-16-be",
            errors="replace",
        )
    # Typographic quotes of cp1252 are valid GB18030, so that the speaker's language decides which is tried first.
    eight_bit = (
        ("cp1252", "gb18030")
        if speaker.isdigit() and language(int(speaker)) == "en"
        else ("gb18030", "cp1252")
    )
    for encoding in ("utf-8-sig", *eight_bit):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", errors="replace")
