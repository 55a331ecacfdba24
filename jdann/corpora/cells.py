"""Reads cells of tables: times and paths, in the ways in which people and programs write them."""

import os
import re
from functools import lru_cache
from urllib.parse import unquote

from jdann import remote

_CLOCK = re.compile(r"(?:(\d+) days?,? )?(?:(\d+):)?(\d+):([0-5]?\d(?:\.\d*)?)")
_SECONDS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)? ?(?:s|sec|seconds?)?", re.IGNORECASE)

_FOLDERS_ABOVE = 3  # in which a file is looked for: EmoBox keeps its tables three folders down


def parse_seconds(text: str) -> float | None:
    """Seconds, 0 or more, from `1.25`, `0,5`, `1.5 s`, `01:02:03.5`, `2:03` or `0 days 00:00:01.5`.

    Returns:
      None if the text is no time.
    """
    text = text.strip()
    if text.count(",") == 1 and "." not in text and "day" not in text:
        text = text.replace(",", ".")
    if match := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (float(value or 0) for value in match.groups())
        return ((24 * days + hours) * 60 + minutes) * 60 + seconds
    if _SECONDS.fullmatch(text):
        return float(re.sub(r" ?[a-z]*$", "", text, flags=re.IGNORECASE))
    return None


def audio_path(folder: str, cell: str) -> str:
    """The path of an audio file that a cell names.

    The cell is a path relative to `folder`, an absolute path, or a URL. If no
    such file exists, `\\` between folders and another case of the suffix are tried, then the three
    folders above `folder` if the cell names a folder and not only a file.

    Args:
      folder: of the table, absolute, or a URL.
      cell: as written.
    """
    if remote.is_url(cell) or remote.is_url(folder):
        return remote.join(folder, cell)
    text = unquote(cell.removeprefix("file://")) if cell.startswith("file://") else cell
    path = _existing(folder, text)
    if os.path.isfile(path) or not os.path.dirname(text):  # noqa: PTH113, PTH120
        return path
    above = folder
    for _ in range(_FOLDERS_ABOVE):
        above = os.path.dirname(above)  # noqa: PTH120
        if os.path.isfile(_joined(above, text)):  # noqa: PTH113
            return _joined(above, text)
    return path


def _existing(folder: str, text: str) -> str:
    """The path of a file, which need not exist, with other slashes or suffix if that one exists."""
    path = _joined(folder, text)
    if os.path.isfile(path):  # noqa: PTH113
        return path
    if "\\" in text:
        path = _joined(folder, text.replace("\\", "/"))
    if not os.path.isfile(path):  # noqa: PTH113
        parent, name = os.path.split(path)
        if os.path.isdir(parent):  # noqa: PTH112
            names = _by_lower_suffix(parent, os.stat(parent).st_mtime_ns)  # noqa: PTH116
            path = os.path.join(parent, names.get(_lower_suffix(name), name))  # noqa: PTH118
    return path


def _joined(folder: str, text: str) -> str:
    # Strings, not a Path for each row: a Path is slow for manifests of many thousand rows.
    return os.path.normpath(os.path.join(folder, os.path.expanduser(text)))  # noqa: PTH111, PTH118


def _lower_suffix(name: str) -> str:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122
    return stem + suffix.lower()


@lru_cache(maxsize=64)
def _by_lower_suffix(folder: str, changed_ns: int) -> dict[str, str]:
    """The names of the files in a folder, by their name with a suffix in lower case.

    Args:
      folder: that exists.
      changed_ns: when it was changed, so that a changed folder is listed again.
    """
    del changed_ns
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:  # nobody may list it
        return {}
    return {_lower_suffix(name): name for name in names}
