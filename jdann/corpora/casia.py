"""CASIA Chinese emotional corpus: four Mandarin speakers in `speaker/emotion/sentence.wav`."""

from collections.abc import Sequence
from pathlib import Path

from jdann.corpora.index import Skipped, Utterance
from jdann.corpora.labels import nearest_emotion

GENDERS = {
    "liuchanhg": "female",
    "wangzhe": "male",
    "zhaoquanyin": "female",
    "zhaozuoxiang": "male",
}


def _speaker(file: str) -> str | None:
    return next((part for part in file.split("/")[:-1] if part.lower() in GENDERS), None)


def matches(file: str) -> bool:
    """True where `file` lies below a folder named after one of the four speakers."""
    return _speaker(file) is not None


def index(root: Path, files: Sequence[str]) -> tuple[list[Utterance], list[Skipped], list[str]]:
    """The utterances among `files`, paths below `root`.

    Returns:
      utterances, what was skipped, and notes.
    """
    utterances, skipped = [], []
    for file in files:
        speaker = _speaker(file)
        if speaker is None:
            skipped.append(
                Skipped(file, f"below no folder of a speaker of CASIA ({', '.join(GENDERS)})")
            )
            continue
        folders, _, name = file.rpartition("/")
        utterances.append(
            Utterance(
                file=file,
                path=f"{root}/{file}",
                emotion=nearest_emotion(folders),
                speaker=speaker,
                language="zh",
                gender=GENDERS[speaker.lower()],
                sentence=name.rpartition(".")[0],
                corpus="casia",
            )
        )
    return utterances, skipped, []
