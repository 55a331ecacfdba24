"""One run at a time in a work directory."""

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jdann.errors import InputError

LOCK = "running.lock"  # in the work directory, while a run works there
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)  # of file systems that have none


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Makes a work directory, and keeps other runs out of it.

    The operating system gives the lock back when its owner dies, however that happens. Where a file
    system or an operating system knows no such lock, nothing is kept out.

    Args:
      path: the work directory; it may be missing.

    Raises:
      InputError: another run works there, or `path` is a file.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; --workdir expects a folder")
    path.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(path / LOCK)
    if descriptor is None:
        yield
        return
    owner = {"process": os.getpid(), "machine": socket.gethostname(), "since": time.time()}
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps(owner).encode())
    try:
        yield
    finally:
        (path / LOCK).unlink(missing_ok=True)  # before others may lock the file
        os.close(descriptor)


def _lock(file: Path) -> int | None:
    """A descriptor of the locked file; None if there are no locks here."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return None
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                return None
            if not isinstance(error, BlockingIOError):
                raise
            raise InputError(f"{file.parent}: {_describe(file)}") from None
        # The owner before may have removed the file after it was opened here.
        with suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == file.stat().st_ino:
                return descriptor
        os.close(descriptor)


def _describe(file: Path) -> str:
    """Who works in the directory, and what to do."""
    who = "another run"
    with suppress(OSError, ValueError, KeyError, TypeError):
        owner = json.loads(file.read_text(encoding="utf-8"))
        minutes = max(0.0, time.time() - owner["since"]) / 60
        who += f" (process {owner['process']} on {owner['machine']}, for {minutes:.0f} min)"
    return f"{who} uses this folder; wait until it ends, or give another --workdir"
