"""A folder of audio as a corpus.

The audio files are listed, known corpora are recognised, and labels are read from folder names.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from jdann.corpora import casia, demo, esd, ravdess
from jdann.corpora.index import Corpus, Listing, Skipped, Utterance
from jdann.corpora.labels import canonical, nearest_emotion
from jdann.errors import InputError

# The suffixes of files that libsndfile reads.
AUDIO = {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".au", ".caf", ".w64"}
OTHER_AUDIO = {".m4a", ".aac", ".wma", ".mp4", ".m4b", ".amr", ".3gp", ".webm", ".ape"}
# Folders with these names are parts of a corpus, not speakers.
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
    """How the files of a known corpus are recognised and read.

    Both functions take the audio files of a folder as sorted paths below it, with `/` between
    folders.
    """

    recognise: Callable[[Sequence[str]], bool]  # whether the files are of this corpus
    read: Callable[[Path, Sequence[str]], Listing]  # from the folder and its files


# The key is the name of the corpus in titles. The layouts are tried in this order.
LAYOUTS: dict[str, Layout] = {
    "ESD": Layout(esd.recognise, esd.read),
    "RAVDESS": Layout(ravdess.recognise, ravdess.read),
    "CASIA": Layout(casia.recognise, casia.read),
}


def load_folder(root: Path) -> Corpus:
    """Lists the audio files below a folder and what the path of each tells about it.

    Args:
      root: the folder. Its own name is not read as a label.

    Returns:
      All utterances, sorted by path, whatever their emotion. No audio is decoded.

    Raises:
      InputError: the folder does not exist, cannot be read, or contains no audio.
    """
    files, skipped = list_audio(root)
    name = recognise_layout(files)
    listing = read_plain(root, files) if name is None else LAYOUTS[name].read(root, files)
    utterances = listing.utterances
    description = f"folder {root.name}" if name is None else name
    synthetic = (root / demo.MARKER).is_file()
    if synthetic:
        utterances = [utterance._replace(corpus="demo") for utterance in utterances]
        description = "demo corpus (synthesised speech)"
    return Corpus(
        name=root.name,
        description=description,
        synthetic=synthetic,
        utterances=tuple(utterances),
        skipped=(*skipped, *listing.skipped),
        notes=tuple(listing.notes),
    )


def recognise_layout(files: Sequence[str]) -> str | None:
    """The name of the first of `LAYOUTS` that recognises the files; None: a plain folder."""
    return next((name for name, layout in LAYOUTS.items() if layout.recognise(files)), None)


def list_audio(root: Path) -> tuple[list[str], list[Skipped]]:
    """Lists the audio files below a folder. Hidden files and `__MACOSX` are left out.

    Links to folders are followed.

    Returns:
      Sorted paths below `root` with `/` between folders; and the audio files of other formats and
      the folders that cannot be read.

    Raises:
      InputError: the folder does not exist, cannot be read, or contains no audio.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; check the path, or give a manifest (.csv)")
    files: list[str] = []
    skipped: list[Skipped] = []
    visited: set[tuple[int, int]] = set()
    base = str(root)

    def unreadable(error: OSError) -> None:
        if error.filename == base:
            raise InputError(
                f"{root}: cannot be read ({error.strerror}); check who may read the folder"
            ) from error
        reason = f"folder cannot be read ({error.strerror})"
        skipped.append(Skipped(os.path.relpath(error.filename, base), reason))

    for folder, folders, names in os.walk(base, onerror=unreadable, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:  # a link to a folder that was already listed
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name != "__MACOSX"
        )
        prefix = "" if folder == base else os.path.relpath(folder, base).replace(os.sep, "/") + "/"
        for name in names:
            # A string operation, because a Path for each of 35,000 files is slow.
            suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
            if name.startswith("."):
                continue
            if suffix in AUDIO:
                files.append(prefix + name)
            elif suffix in OTHER_AUDIO:
                reason = f"{suffix} cannot be read; convert it to .wav or .flac"
                skipped.append(Skipped(prefix + name, reason))
    if not files:
        raise InputError(_no_audio(root, skipped))
    return sorted(files), skipped


def _no_audio(root: Path, skipped: Sequence[Skipped]) -> str:
    """The message for a folder without audio."""
    expected = f"expected {', '.join(sorted(AUDIO))} files in it or below"
    if not skipped:
        return f"{root}: no audio in this folder; {expected}"
    unreadable = f"only {len(skipped):,} that cannot be read, such as {skipped[0].file}"
    return f"{root}: no audio in this folder, {unreadable}; {expected}"


def read_plain(root: Path, files: Sequence[str]) -> Listing:
    """Lists the utterances of a folder in no known layout.

    The nearest folder that names an emotion gives the label. In `speaker/emotion/file` the folder
    above the emotion is the speaker, if there are at least two such folders.

    Args:
      root: the folder.
      files: paths below `root`.
    """
    folders_by_file = {file: file.rpartition("/")[0] for file in files}
    all_folders = set(folders_by_file.values())
    emotions = {folders: nearest_emotion(folders) for folders in all_folders}
    speakers = {folders: _speaker_above_emotion(folders.split("/")) for folders in all_folders}
    has_speakers = len({speaker for speaker in speakers.values() if speaker}) >= 2
    utterances = [
        Utterance(
            file=file,
            path=f"{root}/{file}",
            emotion=emotions[folders],
            speaker=speakers[folders] if has_speakers else None,
        )
        for file, folders in folders_by_file.items()
    ]
    unlabelled = Counter(
        folders or "the folder itself"
        for folders in folders_by_file.values()
        if emotions[folders] is None
    )
    if not unlabelled or len(unlabelled) == len(emotions):
        return Listing(utterances, [], [])
    examples = ", ".join(folder for folder, _ in unlabelled.most_common(3))
    note = (
        f"{unlabelled.total():,} files lie in folders that name no emotion and are unlabelled: "
        f"{examples}{', ...' if len(unlabelled) > 3 else ''}"
    )
    return Listing(utterances, [], [note])


def _speaker_above_emotion(folders: Sequence[str]) -> str | None:
    """The name of the folder above the innermost one that names an emotion."""
    names = [part for part in folders if part.lower() not in SPLITS]
    for level in range(len(names) - 1, 0, -1):
        if canonical(names[level]) is not None:
            return names[level - 1]
    return None
