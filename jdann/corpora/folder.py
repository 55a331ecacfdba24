"""A folder of audio as a corpus: lists the files, recognises known corpora, reads labels off the folders' names."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from jdann.corpora import casia, demo, esd, ravdess
from jdann.corpora.index import Corpus, Skipped, Utterance
from jdann.corpora.labels import canonical, nearest_emotion
from jdann.errors import InputError

AUDIO = {
    ".wav",
    ".flac",
    ".mp3",
    ".ogg",
    ".oga",
    ".opus",
    ".aif",
    ".aiff",
    ".au",
    ".caf",
    ".w64",
}  # libsndfile's
OTHER_AUDIO = {".m4a", ".aac", ".wma", ".mp4", ".m4b", ".amr", ".3gp", ".webm", ".ape"}
SPLITS = {
    "train",
    "training",
    "test",
    "testing",
    "evaluation",
    "eval",
    "val",
    "valid",
    "validation",
    "dev",
}


class Layout(NamedTuple):
    """How the files of one corpus are named, and what their paths say."""

    description: str
    matches: Callable[[str], bool]  # of a path below the corpus's folder
    index: Callable[[Path, Sequence[str]], tuple[list[Utterance], list[Skipped], list[str]]]
    names_are_unique: bool  # two files of one name are two copies of one utterance


# Tried in this order; the first that fits at least half of the files is taken, else the folder is a plain one.
LAYOUTS = (
    Layout("ESD", esd.matches, esd.index, names_are_unique=True),
    Layout("RAVDESS", ravdess.matches, ravdess.index, names_are_unique=True),
    Layout("CASIA", casia.matches, casia.index, names_are_unique=False),
)


def load(root: Path) -> Corpus:
    """Lists the audio files below a folder and says of each what its path tells.

    Args:
      root: the folder; its own name tells nothing.

    Returns:
      All utterances, sorted by path, whatever their emotion. Nothing is decoded.

    Raises:
      InputError: where there is no such folder, where it cannot be read, or where it holds no audio.
    """
    files, skipped = list_audio(root)
    layout = recognise(files)
    if layout is None:
        utterances, more, notes = plain(root, files)
    else:
        if layout.names_are_unique:
            files, copies = _without_copies(files)
            skipped += copies
        utterances, more, notes = layout.index(root, files)
    synthetic = (root / demo.MARKER).is_file()
    if synthetic:
        utterances = [utterance._replace(corpus="demo") for utterance in utterances]
    return Corpus(
        name=root.name,
        description=_description(root, layout, synthetic),
        synthetic=synthetic,
        utterances=tuple(utterances),
        skipped=(*skipped, *more),
        notes=tuple(notes),
    )


def _description(root: Path, layout: Layout | None, synthetic: bool) -> str:
    if synthetic:
        return "demo corpus (synthesised speech)"
    return f"folder {root.name}" if layout is None else layout.description


def list_audio(root: Path) -> tuple[list[str], list[Skipped]]:
    """The audio files below `root`, hidden ones and `__MACOSX` left out, links followed.

    Returns:
      Sorted paths below `root` with `/` between folders, and what looks like audio and cannot be read.

    Raises:
      InputError: see `load`.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; check the path, or give a manifest (.csv)")
    files: list[str] = []
    skipped: list[Skipped] = []
    seen: set[tuple[int, int]] = set()
    base = str(root)

    def unreadable(error: OSError) -> None:
        if error.filename == base:
            raise InputError(
                f"{root}: cannot be read ({error.strerror}); check who may read the folder"
            ) from error
        skipped.append(
            Skipped(
                os.path.relpath(error.filename, base), f"folder cannot be read ({error.strerror})"
            )
        )

    for folder, folders, names in os.walk(base, onerror=unreadable, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder already walked
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name != "__MACOSX"
        )
        below = "" if folder == base else os.path.relpath(folder, base).replace(os.sep, "/") + "/"
        for name in names:
            suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path for each of 35,000 files is slow
            if name.startswith("."):
                continue
            if suffix in AUDIO:
                files.append(below + name)
            elif suffix in OTHER_AUDIO:
                skipped.append(
                    Skipped(below + name, f"{suffix} cannot be read; convert it to .wav or .flac")
                )
    if not files:
        others = (
            f", only {len(skipped):,} that cannot be read, such as {skipped[0].file}"
            if skipped
            else ""
        )
        expected = ", ".join(sorted(AUDIO))
        raise InputError(
            f"{root}: no audio in this folder{others}; expected {expected} files in it or below"
        )
    return sorted(files), skipped


def recognise(files: Sequence[str]) -> Layout | None:
    """The first of `LAYOUTS` that fits at least half of the files, None where none does."""
    return next(
        (layout for layout in LAYOUTS if 2 * sum(map(layout.matches, files)) >= len(files)), None
    )


def _without_copies(files: Sequence[str]) -> tuple[list[str], list[Skipped]]:
    first: dict[str, str] = {}
    for file in files:
        first.setdefault(_stem(file), file)
    kept = set(first.values())
    copies = [
        Skipped(file, f"a copy of {first[_stem(file)]}") for file in files if file not in kept
    ]
    return [file for file in files if file in kept], copies


def _stem(file: str) -> str:
    return file.rpartition("/")[2].rpartition(".")[0]


def plain(root: Path, files: Sequence[str]) -> tuple[list[Utterance], list[Skipped], list[str]]:
    """The utterances of a folder in no known layout.

    The nearest folder that names an emotion gives the label. In `speaker/emotion/file` the folder above it is the
    speaker, if there are at least two such folders.

    Returns:
      utterances, what was skipped (nothing), and notes.
    """
    emotions, speakers = {}, {}
    folders_of = {file: file.rpartition("/")[0] for file in files}
    for folders in set(folders_of.values()):
        emotions[folders] = nearest_emotion(folders)
        speakers[folders] = _speaker_above_emotion(folders.split("/"))
    several = len({speaker for speaker in speakers.values() if speaker}) >= 2
    utterances = [
        Utterance(
            file=file,
            path=f"{root}/{file}",
            emotion=emotions[folders],
            speaker=speakers[folders] if several else None,
        )
        for file, folders in folders_of.items()
    ]
    unlabelled = Counter(
        folders or "the folder itself"
        for folders in folders_of.values()
        if emotions[folders] is None
    )
    if not unlabelled or len(unlabelled) == len(emotions):
        return utterances, [], []
    where = ", ".join(folder for folder, _ in unlabelled.most_common(3))
    note = f"{unlabelled.total():,} files lie in folders that name no emotion and are unlabelled: {where}"
    return utterances, [], [note + (", ..." if len(unlabelled) > 3 else "")]


def _speaker_above_emotion(folders: Sequence[str]) -> str | None:
    named = [part for part in folders if part.lower() not in SPLITS]
    for level in range(len(named) - 1, 0, -1):
        if canonical(named[level]) is not None:
            return named[level - 1]
    return None
