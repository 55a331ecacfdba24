"""The clips to recognise, as files, folders, patterns and csv files name them."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jdann import remote
from jdann.corpora.cells import audio_path
from jdann.corpora.folder import list_audio
from jdann.corpora.manifest import read_span
from jdann.corpora.tables import SUFFIXES, read_table
from jdann.errors import InputError
from jdann.inference.clips import Part


class Item(NamedTuple):
    """A clip to recognise, and the first columns of its row."""

    columns: dict[str, str]
    part: Part

    @property
    def is_whole_file(self) -> bool:
        """Whether the clip is a file, not a part of one."""
        return self.part == Part(self.part.path)


class Bad(NamedTuple):
    """A clip that cannot be used."""

    item: int  # position among the items
    file: str
    reason: str


def find_some_items(names: Sequence[str]) -> list[Item]:
    """As `find_items`, but an empty list is refused.

    Raises:
      InputError: nothing is named.
    """
    items = find_items(names)
    if not items:
        raise InputError(f"{names[0]}: names no file; give audio files, or a csv with rows")
    return items


def find_items(names: Sequence[str]) -> list[Item]:
    """Finds the clips that are named by files, folders, patterns and csv files, in order.

    A csv needs the column `file`, a path relative to the csv's folder, or a URL. It may have the
    columns `start` and `end`, in s. All of its columns are kept. A file or a csv may be a URL.

    Raises:
      InputError: a pattern matches no file, or a csv is not a table of clips.
    """
    items: list[Item] = []
    for name in names:
        path = Path(name)
        if remote.is_url(name):
            items += _from_url(name)
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            items += _from_csv(path)
        elif path.is_dir():
            files, skipped = list_audio(path)
            # What nobody can read is tried too, so that the table says what was left out, and why.
            below = sorted([*files, *(file.file for file in skipped)])
            items += [Item({"file": os.fspath(path / file)}, Part(path / file)) for file in below]
        elif not path.exists() and glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207
            if not matches:
                raise InputError(
                    f"{name}: matches no file; check the pattern and the working directory"
                )
            items += [Item({"file": file}, Part(file)) for file in matches]
        else:
            items.append(Item({"file": name}, Part(name)))
    return items


def _from_url(url: str) -> list[Item]:
    if Path(url).suffix.lower() not in SUFFIXES:
        return [Item({"file": url}, Part(url))]
    try:
        with remote.local_copy(url) as copy:
            return _from_csv(copy, remote.parent(url))
    except remote.RemoteError as error:
        raise InputError(f"{url}: {error}; expected a csv with a column named file") from error


def _from_csv(path: Path, folder: str | None = None) -> list[Item]:
    """The clips of a table, whose paths are relative to a folder or URL, by default its own."""
    folder = folder or os.path.abspath(path.parent)  # noqa: PTH100
    table = read_table(path)
    items = []
    for line, row in zip(table.lines, table.rows, strict=True):
        start_s, end_s = read_span(path, line, row)
        audio = audio_path(folder, row["file"])
        path_or_url = audio if remote.is_url(audio) else Path(audio)
        items.append(Item(row, Part(path_or_url, start_s, end_s)))
    return items


def count_items(items: Sequence[Item]) -> str:
    """The number of clips as text; they are called files if all of them are whole files."""
    return f"{len(items)} {'files' if all(item.is_whole_file for item in items) else 'clips'}"
