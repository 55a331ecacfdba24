"""ESD, the Emotional Speech Dataset: ten Mandarin and ten English speakers, in five emotions.

Each speaker says 350 sentences in each emotion. Source: Zhou, Sisman, Liu and Li, "Seen and unseen
emotional style transfer for voice conversion with a new emotional speech dataset", ICASSP 2021.

The number in a file's name tells the emotion, so a list of files in order of their names is sorted
by emotion. Shuffle it before you split it, and do not give file names to a model.
"""

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jdann.corpora.copies import without_copies
from jdann.corpora.index import Listing, Skipped, Utterance
from jdann.corpora.labels import canonical, nearest_emotion
from jdann.corpora.name_schemes import not_named_like

NAME = re.compile(r"(?:^|/)(\d{4})_(\d{6})\.\w+$")  # speaker _ number of the file
EMOTIONS = ("neutral", "angry", "happy", "sad", "surprise")  # numbers 1-350, 351-700, ...
SENTENCES = 350  # per emotion
FILES_PER_SPEAKER = SENTENCES * len(EMOTIONS)
# We listened to the speakers: the corpus does not say who is female.
FEMALE = frozenset((1, 2, 3, 7, 9, 15, 16, 17, 18, 19))
SPEAKERS = 20


def is_file(file: str) -> bool:
    """Whether a path has a name as in ESD, in any folder, with values that occur there."""
    match = NAME.search(file)
    if match is None:
        return False
    return 1 <= int(match[1]) <= SPEAKERS and 1 <= int(match[2]) <= FILES_PER_SPEAKER


def language(speaker: int) -> str | None:
    """The language of a speaker: "zh" for 1-10, "en" for 11-20, None for other numbers."""
    return "zh" if 1 <= speaker <= 10 else "en" if 11 <= speaker <= SPEAKERS else None


def official_split(sentence: int) -> str:
    """The part of the official split to which a sentence (1-350) belongs, for every speaker."""
    return "evaluation" if sentence <= 20 else "test" if sentence <= 50 else "train"


def read(root: Path, files: Sequence[str]) -> Listing:
    """Lists the utterances of ESD, in any of the layouts in which copies of it are found.

    The first four digits of the file's name are the speaker. The nearest folder that names an
    emotion gives the emotion. Without such a folder the utterance is unlabelled. The notes count
    the files where another part of the path disagrees.

    Args:
      root: the folder of the corpus.
      files: paths below `root`.
    """
    files, skipped = without_copies(files)
    utterances, wrong_emotion, wrong_speaker = [], [], []
    for file in files:
        match = NAME.search(file)
        if match is None or not is_file(file):
            skipped.append(Skipped(file, not_named_like("ESD", "0011_000351.wav")))
            continue
        number = int(match[2])
        folders = file.rpartition("/")[0]
        emotion = nearest_emotion(folders)
        speaker = match[1]
        if emotion is not None and emotion != EMOTIONS[(number - 1) // SENTENCES]:
            wrong_emotion.append(file)
        speaker_folders = {p for p in folders.split("/") if len(p) == 4 and p.isdigit()}
        if speaker_folders - {speaker}:
            wrong_speaker.append(file)
        sentence = (number - 1) % SENTENCES + 1
        utterances.append(
            Utterance(
                file=file,
                path=f"{root}/{file}",
                emotion=emotion,
                speaker=speaker,
                language=language(int(speaker)),
                gender="female" if int(speaker) in FEMALE else "male",
                sentence=str(sentence),
                corpus="esd",
                split=official_split(sentence),
            )
        )
    return Listing(utterances, skipped, _disagreements(wrong_emotion, wrong_speaker))


def _disagreements(wrong_emotion: Sequence[str], wrong_speaker: Sequence[str]) -> list[str]:
    """Returns notes on files whose name and folder disagree on the emotion or the speaker."""

    def examples(files: Sequence[str]) -> str:
        return f"{', '.join(files[:3])}{', ...' if len(files) > 3 else ''}"

    notes = []
    if wrong_emotion:
        notes.append(
            f"{len(wrong_emotion):,} files lie in a folder whose emotion differs from that of "
            f"their number; we use the folder's emotion: {examples(wrong_emotion)}"
        )
    if wrong_speaker:
        notes.append(
            f"{len(wrong_speaker):,} files lie in a folder whose speaker differs from that in "
            f"their name; we use the name: {examples(wrong_speaker)}"
        )
    return notes


def missing(utterances: Sequence[Utterance]) -> list[str]:
    """Notes on the speakers and the files that a copy of ESD lacks.

    If a copy has one language only, the other language is not reported as missing.
    """
    counts = Counter(
        int(u.speaker) for u in utterances if u.speaker is not None and u.speaker.isdigit()
    )
    languages = {language(speaker) for speaker in counts}
    expected = [s for s in range(1, SPEAKERS + 1) if language(s) in languages]
    absent = [f"{s:04d}" for s in expected if not counts[s]]
    incomplete = [s for s in expected if 0 < counts[s] < FILES_PER_SPEAKER]
    notes = [f"speakers missing: {', '.join(absent)}"] if absent else []
    if incomplete:
        numbers = (
            f"speaker {s:04d} has {counts[s]:,} of {FILES_PER_SPEAKER:,}" for s in incomplete
        )
        notes.append(f"files missing: {', '.join(numbers)}")
    return notes


def read_transcripts(path: Path) -> dict[str, str]:
    """The texts of a speaker's transcript file, `0001/0001.txt`, in any encoding.

    Args:
      path: a file of lines `id TAB text TAB label`; some lines have spaces instead of tabs.

    Returns:
      Maps the name of each audio file without its suffix to the text. The speaker is taken from
      the name of the transcript file, because the ids inside are sometimes those of another
      speaker. Empty if the file is missing: nothing but the texts depends on it.
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
    """Decodes a transcript whose encoding is unknown.

    UTF-16 is recognised by its byte order mark or by its zero bytes. Otherwise the first encoding
    that fits is taken.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data:
        is_little_endian = data[1::2].count(0) > data[::2].count(0)
        return data.decode("utf-16-le" if is_little_endian else "utf-16-be", errors="replace")
    # The typographic quotes of cp1252 are valid GB18030 too. So the speaker's language decides
    # which of the two is tried first.
    is_english = speaker.isdigit() and language(int(speaker)) == "en"
    one_byte_first = ("cp1252", "gb18030") if is_english else ("gb18030", "cp1252")
    for encoding in ("utf-8-sig", *one_byte_first):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", errors="replace")
