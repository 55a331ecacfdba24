"""The CASIA Chinese emotional corpus: four Mandarin speakers in `speaker/emotion/sentence.wav`."""

from collections.abc import Sequence
from pathlib import Path

from jdann.corpora.index import Listing, Skipped, Utterance
from jdann.corpora.labels import nearest_emotion

GENDERS = {
    "liuchanhg": "female",
    "wangzhe": "male",
    "zhaoquanyin": "female",
    "zhaozuoxiang": "male",
}


def _speaker(file: str) -> str | None:
    return next((part for part in file.split("/")[:-1] if part.lower() in GENDERS), None)


def recognise(files: Sequence[str]) -> bool:
    """Whether at least half of the files are below a folder named after one of the speakers."""
    return 2 * sum(_speaker(file) is not None for file in files) >= len(files)


def read(root: Path, files: Sequence[str]) -> Listing:
    """Lists the utterances of CASIA.

    Args:
      root: the folder of the corpus.
      files: paths below `root`.
    """
    utterances, skipped = [], []
    for file in files:
        speaker = _speaker(file)
        if speaker is None:
            reason = f"below no folder of a speaker of CASIA ({', '.join(GENDERS)})"
            skipped.append(Skipped(file, reason))
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
    return Listing(utterances, skipped, [])
