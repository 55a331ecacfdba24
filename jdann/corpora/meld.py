"""The tables of MELD: each row names a dialogue and an utterance, and no file.

The clip of dialogue 3 and utterance 5 is `dia3_utt5.mp4`, or the same name with another suffix. The
columns StartTime and EndTime are times in the episode, not in the clip, so they are not used.
Source: Poria et al., "MELD: A Multimodal Multi-Party Dataset for Emotion Recognition in
Conversations", ACL 2019.
"""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from jdann.corpora.suffixes import AUDIO, OTHER_AUDIO
from jdann.errors import InputError

_DIALOGUE, _UTTERANCE = "dialogue_id", "utterance_id"
_CLIP = re.compile(r"(dia\d+_utt\d+)(\.\w+)")
_NOT_USED = ("starttime", "endtime")


def is_table(names: Sequence[str]) -> bool:
    """Whether the columns are those of MELD, without a column for files."""
    folded = {name.casefold() for name in names}
    return {_DIALOGUE, _UTTERANCE} <= folded and "file" not in folded


def with_files(
    path: Path, names: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """The table with a column `file`, whose clips lie somewhere below the folder of the table.

    MELD has clips of the same name in its three parts. The clip counts whose folder is named
    like the table: `train_sent_emo.csv` and `train_splits/`.

    Args:
      path: of the table.
      names: of its columns.
      rows: their cells.

    Returns:
      The names and the cells, without the columns that are not used.

    Raises:
      InputError: no clip is there.
    """
    folded = [name.casefold() for name in names]
    dialogue, utterance = folded.index(_DIALOGUE), folded.index(_UTTERANCE)
    kept = [i for i, name in enumerate(folded) if name not in _NOT_USED]
    clips = _clips(path)
    files = []
    for row in rows:
        name = f"dia{row[dialogue]}_utt{row[utterance]}"
        files.append(clips.get(name, f"{name}.wav"))
    return (
        ["file", *(names[i] for i in kept)],
        [[file, *(row[i] for i in kept)] for file, row in zip(files, rows, strict=True)],
    )


def _clips(path: Path) -> dict[str, str]:
    """The clips by their names without a suffix, as paths relative to the folder of the table."""
    paths: dict[str, list[str]] = defaultdict(list)
    folder = path.absolute().parent
    for current, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            match = _CLIP.fullmatch(file)
            if match and match[2].lower() in AUDIO | OTHER_AUDIO:
                paths[match[1]].append(os.path.relpath(f"{current}/{file}", folder))
    if not paths:
        raise InputError(
            f"{path}: is a table of MELD, but no clip like dia0_utt0.wav lies in {folder} or "
            "below; move the table to the clips, or add a column `file`"
        )
    part = path.stem.casefold().split("_")[0]  # train, dev or test
    return {name: _of_part(files, part) for name, files in paths.items()}


def _of_part(files: Sequence[str], part: str) -> str:
    """The file whose folder names the part, else the first one; .wav before other suffixes."""
    files = sorted(files, key=lambda file: not file.lower().endswith(".wav"))
    return next(
        (file for file in files if part in Path(file).parent.as_posix().casefold()), files[0]
    )
