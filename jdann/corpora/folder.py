"""A folder of audio as a corpus.

The audio files are listed, known corpora are recognised, and labels are read from folder names.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jdann import ffmpeg
from jdann.corpora import casia, demo, esd, name_schemes, ravdess
from jdann.corpora.index import Corpus, Listing, Skipped, Utterance
from jdann.corpora.naming import AS_USUAL, AUTO, PLAIN, Naming
from jdann.corpora.no_person import names_no_person
from jdann.corpora.suffixes import AUDIO, OTHER_AUDIO
from jdann.corpora.tables import SUFFIXES
from jdann.errors import InputError
from jdann.terminal import counted


class Layout(NamedTuple):
    """How the files of a known corpus are recognised and read.

    Files are paths below the folder, with `/` between folders.
    """

    is_file: Callable[[str], bool]  # whether a file is of this corpus
    read: Callable[[Path, Sequence[str]], Listing]  # from the folder and its files, sorted


# The key is the name of the corpus in titles. A file belongs to the first layout that fits.
LAYOUTS: dict[str, Layout] = {
    "ESD": Layout(esd.is_file, esd.read),
    "RAVDESS": Layout(ravdess.is_file, ravdess.read),
    "CASIA": Layout(casia.is_file, casia.read),
    **{
        scheme.title: Layout(
            lambda file, scheme=scheme: scheme.match(file) is not None,
            partial(name_schemes.read, scheme),
        )
        for scheme in name_schemes.SCHEMES
    },
}
# A layout that fits fewer files than both of these is taken for chance.
_LEAST_SHARE, _LEAST_FILES = 0.1, 20
_FEW = 0.2  # a smaller share of files in no layout is skipped, a larger one is read as it is


def load_folder(root: Path, naming: Naming = AS_USUAL) -> Corpus:
    """Lists the audio files below a folder and what the path of each tells about it.

    Args:
      root: the folder. Its own name is not read as a label.
      naming: its layout is a name in LAYOUTS in any case, PLAIN, or AUTO: recognise it by the names
        of the files. Its words are used for the part in no known layout.

    Returns:
      All utterances, sorted by path, whatever their emotion. No audio is decoded.

    Raises:
      InputError: the folder does not exist, cannot be read, or contains no audio; the layout is
        unknown, or no file is in it.
    """
    files, skipped = list_audio(root)
    parts = _with_layout(root, files, naming)
    listings = {
        name: read_plain(root, own, naming) if name == PLAIN else LAYOUTS[name].read(root, own)
        for name, own in parts.items()
    }
    utterances = [u for listing in listings.values() for u in listing.utterances]
    utterances.sort(key=lambda utterance: utterance.file)
    left_out = [clip for listing in listings.values() for clip in listing.skipped]
    names = [f"folder {root.name}" if name == PLAIN else name for name in parts]
    description = " and ".join(names)
    synthetic = (root / demo.MARKER).is_file()
    if synthetic:
        utterances = [utterance._replace(corpus="demo") for utterance in utterances]
        description = "demo corpus (synthesised speech)"
    notes = [note for listing in listings.values() for note in listing.notes]
    option = naming.layout_option
    if any(clip.reason.startswith(name_schemes.NOT_NAMED_LIKE) for clip in left_out):
        notes.append(
            f"{option}={PLAIN} also reads files that are not named like those of the corpus; then "
            "emotions come from the names of folders only"
        )
    if not notes and list(parts) == [PLAIN] and not any(u.emotion for u in utterances):
        notes.append(_no_labels(root, option))
    if len(parts) > 1:
        counts = [
            f"{counted(len(own), 'file')} {'in no known layout' if name == PLAIN else f'of {name}'}"
            for name, own in parts.items()
        ]
        notes.insert(0, f"understood as {' and '.join(counts)}; {option} chooses one layout")
    return Corpus(
        name=root.name,
        description=description,
        synthetic=synthetic,
        utterances=tuple(utterances),
        skipped=(*skipped, *left_out),
        notes=tuple(notes),
    )


def _no_labels(root: Path, option: str) -> str:
    """A note on a folder in which nothing is labelled, and where its labels may be."""
    tables = sorted(path.name for path in root.iterdir() if path.suffix.lower() in SUFFIXES)
    remedy = f"if there are labels, give a table of them, or choose a layout by {option}"
    if tables:
        remedy = f"if a table in the folder has the labels, give that: {_examples(tables)}"
    return (
        "nothing is labelled, because no folder is named like an emotion, and the names of the "
        f"files are those of no known corpus; {remedy}"
    )


def check_layout(naming: Naming) -> str:
    """The title of the layout that a user names: a key of LAYOUTS, AUTO or PLAIN.

    Raises:
      InputError: there is no such layout.
    """
    titles = {AUTO: AUTO, PLAIN: PLAIN} | {name.lower(): name for name in LAYOUTS}
    title = titles.get(naming.layout.lower())
    if title is None:
        raise InputError(
            f"{naming.layout_option}={naming.layout}: no such layout; expected {', '.join(titles)}"
        )
    return title


def _with_layout(root: Path, files: Sequence[str], naming: Naming) -> dict[str, Sequence[str]]:
    """The files of each layout; see `load_folder`."""
    name = check_layout(naming)
    if name == AUTO:
        return assign_layouts(files)
    if name != PLAIN and not any(LAYOUTS[name].is_file(file) for file in files):
        raise InputError(
            f"{root}: no file is named as in {name}; the first is {files[0]}; "
            f"{naming.layout_option}={PLAIN} takes any name, and {AUTO} recognises the layout"
        )
    return {name: files}


def assign_layouts(files: Sequence[str]) -> dict[str, Sequence[str]]:
    """The files of each layout that a folder holds, the largest part first.

    A folder has known layouts if they fit at least half of its files. A layout that fits few of
    them does so by chance. Files in no layout are a part of their own, PLAIN, unless they are few:
    then they belong to the largest part, whose reader says why it skips them.

    Args:
      files: paths below the folder.
    """
    known: dict[str, list[str]] = {name: [] for name in LAYOUTS}
    plain: list[str] = []
    for file in files:
        fitting = (name for name, layout in LAYOUTS.items() if layout.is_file(file))
        known.get(next(fitting, ""), plain).append(file)
    least = min(_LEAST_SHARE * len(files), _LEAST_FILES)
    for name in [name for name, own in known.items() if len(own) < max(least, 1)]:
        plain += known.pop(name)
    if 2 * sum(map(len, known.values())) < len(files):
        return {PLAIN: files}
    largest = max(known, key=lambda name: len(known[name]))
    if len(plain) > _FEW * len(files):
        known[PLAIN] = sorted(plain)
    else:
        known[largest] = sorted(known[largest] + plain)
    return dict(sorted(known.items(), key=lambda item: -len(item[1])))


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
            if suffix in AUDIO or (suffix in OTHER_AUDIO and ffmpeg.find() is not None):
                files.append(prefix + name)
            elif suffix in OTHER_AUDIO:
                reason = (
                    f"{suffix} needs ffmpeg, which is not installed: pip install 'jdann[formats]', "
                    "or convert it to .wav or .flac"
                )
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


def read_plain(root: Path, files: Sequence[str], naming: Naming = AS_USUAL) -> Listing:
    """Lists the utterances of a folder in no known layout.

    The nearest folder that names an emotion gives the label, unless most of the folders beside it
    name none: then it is the name of a person or of a thing. In `speaker/emotion/file` the folder
    above the emotion is the speaker, if there are at least two such folders.

    Args:
      root: the folder.
      files: paths below `root`.
      naming: which names mean an emotion.
    """
    folders_by_file = {file: file.rpartition("/")[0] for file in files}
    all_folders = set(folders_by_file.values())
    no_emotions = _folders_among_others(all_folders, naming)
    emotions: dict[str, str | None] = {}
    speakers: dict[str, str | None] = {}
    for folders in all_folders:
        emotions[folders], speakers[folders] = _read_path(folders.split("/"), no_emotions, naming)
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
    notes = []
    if no_emotions:
        notes.append(
            "these folders are named like emotions, but most folders beside them are not, so they "
            f"are no labels: {_examples(sorted(no_emotions))}"
        )
    unlabelled = Counter(
        folders or "the folder itself"
        for folders in folders_by_file.values()
        if emotions[folders] is None
    )
    if unlabelled and len(unlabelled) < len(emotions):
        notes.append(
            "unlabelled, because no folder above them names an emotion: "
            f"{counted(unlabelled.total(), 'file')} in "
            f"{_examples([folder for folder, _ in unlabelled.most_common()])}"
        )
    return Listing(utterances, [], notes)


def _examples(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def _folders_among_others(all_folders: Iterable[str], naming: Naming) -> set[str]:
    """The paths of folders that are named like emotions, unlike most of those beside them."""
    names_in: dict[str, set[str]] = {}
    for folders in all_folders:
        parts = folders.split("/") if folders else []
        for level, name in enumerate(parts):
            names_in.setdefault("/".join(parts[:level]), set()).add(name)
    unlike: set[str] = set()
    for parent, names in names_in.items():
        like = {name for name in names if naming.emotion(name) is not None}
        others = {name for name in names - like if not names_no_person(name)}
        if len(like) < len(others):
            unlike |= {f"{parent}/{name}" if parent else name for name in like}
    return unlike


def _read_path(
    folders: Sequence[str], no_emotions: Collection[str], naming: Naming
) -> tuple[str | None, str | None]:
    """The emotion of the innermost folder that names one, and the speaker: the folder above it."""
    for level in range(len(folders) - 1, -1, -1):
        emotion = naming.emotion(folders[level])
        if emotion is not None and "/".join(folders[: level + 1]) not in no_emotions:
            above = [name for name in folders[:level] if not names_no_person(name)]
            return emotion, above[-1] if above else None
    return None, None
