"""Locks between processes: one process holds a file, the others wait for it or are refused.

The operating system gives a lock back when its owner dies, however that happens. The file tells
the others who the owner is. Some file systems and some operating systems know no such lock. There
nobody is kept out, so what a lock protects must stay correct without it.
"""

import errno
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)  # of file systems
_POLL_S = 0.2
log = logging.getLogger("jdann")


class BusyError(Exception):
    """Another process holds the lock. The message says which, as `owner_of` does."""


@contextmanager
def hold(file: Path, on_busy: Callable[[], None] | None = None) -> Iterator[bool]:
    """Holds the lock of a file, which is made here and removed at the end.

    Args:
      file: the file; its folder must exist.
      on_busy: is called while another process holds the lock, again and again; None: raise
        BusyError.

    Yields:
      Whether this process alone holds the lock. False: there are no locks here.
    """
    descriptor = _lock(file, on_busy)
    if descriptor is None:
        yield False
        return
    owner = {
        "process": os.getpid(),
        "machine": socket.gethostname(),
        "since": time.time(),
        "uptime": time.monotonic(),
    }
    try:
        with suppress(OSError):  # a full disk: the lock holds, but nobody knows whose it is
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(owner).encode())
        yield True
    finally:
        file.unlink(missing_ok=True)  # before others may lock the file
        os.close(descriptor)


@contextmanager
def wait_and_hold(file: Path, subject: str, work: str) -> Iterator[bool]:
    """As `hold`, but waits for another owner, and says so in one line.

    Args:
      file: the file; its folder must exist.
      subject: what is waited for, at the beginning of the line, e.g. the name of a corpus.
      work: what the other process has done, e.g. "computed these features".
    """
    begun, named = time.monotonic(), ""

    def wait() -> None:
        nonlocal named
        # An owner writes its name just after it got the lock, so the name is read after a while.
        name, age = owner_of(file)
        if time.monotonic() - begun > _POLL_S and name != named:
            duration = f" for {age}" if age else ""
            log.warning("%s: waits for %s, which has %s%s", subject, name, work, duration)
            named = name
        time.sleep(_POLL_S)

    with hold(file, wait) as alone:
        yield alone


def owner_of(file: Path) -> tuple[str, str]:
    """The name of a lock's owner, e.g. "process 12 on host", and its age, "" if it is unknown."""
    try:
        owner = json.loads(file.read_text(encoding="utf-8"))
        name = f"process {int(owner['process'])} on {owner['machine']}"
        if owner["machine"] == socket.gethostname():  # so the clock may have been set since then
            age_s = time.monotonic() - owner["uptime"]
        else:
            age_s = time.time() - owner["since"]
        return name, _duration(max(0.0, age_s))
    except (OSError, ValueError, KeyError, TypeError):  # not written yet, or by another version
        return "another process", ""


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _lock(file: Path, on_busy: Callable[[], None] | None) -> int | None:
    """A descriptor of the locked file; None if there are no locks here."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return None
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            if on_busy is None:
                raise BusyError(owner_of(file)[0]) from None
            on_busy()
            continue
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                file.unlink(missing_ok=True)
                return None
            raise
        # The owner before may have removed the file after it was opened here.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                return descriptor
        os.close(descriptor)
