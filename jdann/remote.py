"""Files at URLs such as s3://bucket/clip.wav, by fsspec: fetched one by one, and removed after use.

`file://` is no such URL: it names a file of this machine.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from jdann.errors import InputError

_URL = re.compile(r"(?!file://)([a-z][a-z0-9+.-]*://)(.*)", re.IGNORECASE | re.DOTALL)
# What changes when a file changes, as different stores call it
_CHANGES = (
    "ETag",
    "etag",
    "md5Hash",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
    "created",
)


class RemoteError(Exception):
    """A file cannot be fetched. The message says why."""


def is_url(text: object) -> bool:
    """Whether a name is a URL of a file that lies elsewhere."""
    return isinstance(text, str) and _URL.match(text) is not None


def join(folder: str, name: str) -> str:
    """The URL of a file by a path relative to the URL of a folder, or by a URL of its own."""
    if is_url(name):
        return name
    match = _URL.fullmatch(folder)
    assert match is not None
    return match[1] + posixpath.normpath(posixpath.join(match[2], name))


def parent(url: str) -> str:
    """The URL of the folder of a file."""
    return url.rpartition("/")[0]


@contextmanager
def local_copy(url: str) -> Iterator[Path]:
    """A copy of a file on this machine, which is removed at the end.

    An InputError about the copy is raised again as one about the URL.

    Raises:
      RemoteError: the file cannot be fetched.
      InputError: a package for this kind of URL is missing.
    """
    system, path = _system(url)
    with TemporaryDirectory(prefix="jdann-") as folder:
        copy = Path(folder) / (PurePosixPath(path).name or "file")
        try:
            system.get_file(path, str(copy))
        except FileNotFoundError as error:
            raise RemoteError("file not found") from error
        except Exception as error:  # each store raises errors of its own types
            raise RemoteError(f"cannot be fetched ({_line(error)})") from error
        try:
            yield copy
        except InputError as error:
            raise InputError(str(error).replace(str(copy), url)) from error


def states(urls: Iterable[str]) -> dict[str, str]:
    """For each URL a text that changes when the file changes; "absent" if there is no such file.

    Each folder is listed once, because asking for every file would take long.
    """
    names: dict[str, list[str]] = defaultdict(list)
    for url in urls:
        names[parent(url)].append(url)
    state_of: dict[str, str] = {}
    for folder, of_folder in names.items():
        system, path = _system(folder)
        try:
            system.invalidate_cache(path)
            listed = system.ls(path, detail=True)
        except Exception:  # each store raises errors of its own types; reading says what is wrong
            listed = []
        by_name = {PurePosixPath(entry["name"]).name: entry for entry in listed}
        for url in of_folder:
            entry = by_name.get(PurePosixPath(url).name)
            state_of[url] = "absent" if entry is None else _state(entry)
    return state_of


def _state(entry: dict[str, Any]) -> str:
    changed = next((entry[name] for name in _CHANGES if entry.get(name)), "")
    return f"{entry.get('size')}|{changed}"


def _system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    try:
        from fsspec.core import url_to_fs  # here, because only URLs need it
    except ImportError as error:
        raise InputError(f'{url}: a URL needs fsspec: pip install "jdann[cluster]"') from error
    try:
        return url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"{url}: cannot be opened ({_line(error)})") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
