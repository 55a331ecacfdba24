"""Folders that are never half written: one process writes each, and the others wait for it.

A folder is written beside its place, then renamed into it. Where there are no locks, each process
writes a folder of its own, and the first to finish gives the result.
"""

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jdann import locks

_UNFINISHED = ".unfinished-"
_EARLIER = ".partial-"  # of earlier versions; their lock stands in the folder itself
_STALE_S = 24 * 3600


@contextmanager
def unfinished(
    parent: Path, name: str, subject: str, work: str, *, continued: bool = False
) -> Iterator[Path]:
    """A folder in which no other process writes, beside the folder that it will become.

    While another process writes a folder of this name, this one waits. The caller should then look
    whether the other has finished the work. What is left of the folder at the end is removed.

    Args:
      parent: the folder in which the finished folder will stand; it is made if it is missing.
      name: of the finished folder.
      subject: what is waited for, as for `locks.wait_and_hold`.
      work: what the other process has done, as for `locks.wait_and_hold`.
      continued: keep the folder after an error, and begin with the folder that another process left
        at its error or kill. False: begin with an empty folder.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with locks.wait_and_hold(_lock_file(parent, name), subject, work) as alone:
        own = "" if alone else f"-{secrets.token_hex(4)}"
        folder = parent / f"{_UNFINISHED}{name}{own}"
        if not continued or not folder.is_dir():
            remove(folder)
        folder.mkdir(exist_ok=True)
        try:
            yield folder
        except BaseException:
            if not continued:
                remove(folder)
            raise
        remove(folder)


def put_in_place(finished: Path, target: Path) -> None:
    """Renames a finished folder to its place, and removes what stood there.

    A process that has files of the old folder open goes on reading them.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    old = target.with_name(f"{_UNFINISHED}{target.name}-{secrets.token_hex(4)}")
    with suppress(FileNotFoundError):
        target.rename(old)
    try:
        finished.rename(target)
    except OSError:
        if not target.exists():
            with suppress(FileNotFoundError):
                old.rename(target)
            raise
        # Without locks, another process can have put the same folder here just now.
    remove(old)


def remove_stale(parent: Path) -> None:
    """Removes unfinished folders that nobody has written to for a day and no process holds.

    Where there are no locks, the time alone decides.
    """
    for folder in [*parent.glob(f"{_UNFINISHED}*"), *parent.glob(f"{_EARLIER}*")]:
        try:
            written = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if time.time() - written <= _STALE_S:
                continue
            if folder.name.startswith(_EARLIER):
                lock = folder / "lock"
            else:
                lock = _lock_file(parent, folder.name.removeprefix(_UNFINISHED))
            with locks.hold(lock):
                remove(folder)
        except (OSError, locks.BusyError):  # another process removed it, or writes to it
            continue


def _lock_file(parent: Path, name: str) -> Path:
    return parent / f".{name}.lock"


def remove(path: Path) -> None:
    """Removes a folder or a file, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
