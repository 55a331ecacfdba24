"""The CASIA Chinese emotional corpus: four Mandarin speakers in `speaker/emotion/sentence.wav`."""

from collections.abc import Sequence
from pathlib import Path

from jdann.corpora.index import Listing, Skipped, Utterance
from jdann.corpora.labels import nearest_emotion
from jdann.corpora.name_schemes import not_named_like

GENDERS = {
    "liuchanhg": "female",
    "wangzhe": "male",
    "zhaoquanyin": "female",
    "zhaozuoxiang": "male",
}


def _speaker(file: str) -> str | None:
    return next((part for part in file.split("/")[:-1] if part.lower() in GENDERS), None)


def is_file(file: str) -> bool:
    """Whether a path is below a folder named after one of the speakers."""
    return _speaker(file) is not None


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
            skipped.append(Skipped(file, not_named_like("CASIA", "wangzhe/angry/201.wav")))
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
