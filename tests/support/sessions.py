"""What the processes of one test session make together."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock


@contextlib.contextmanager
def once(folder: Path) -> Iterator[bool]:
    """Lets one test process make a folder while the others wait.

    Args:
      folder: what is made. A file beside it tells that it is complete.

    Yields:
      True in the process that has to make it; False if it is complete.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    complete = folder.with_name(f"{folder.name}.complete")
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        missing = not complete.exists()
        if missing:
            shutil.rmtree(folder, ignore_errors=True)  # half made by a process that failed
        yield missing
        complete.touch()
