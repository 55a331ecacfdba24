"""One run at a time in a work directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jdann import locks
from jdann.errors import InputError
from jdann.files import PARTIAL

LOCK = "running.lock"  # in the work directory, while a run works there


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Makes a work directory, and keeps other runs out of it as long as the run lives.

    Args:
      path: the work directory; it may be missing.

    Raises:
      InputError: another run works there, or `path` is a file.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; --workdir expects a folder")
    path.mkdir(parents=True, exist_ok=True)

    def refuse() -> None:
        name, age = locks.owner_of(path / LOCK)
        who = f"another run ({name}, for {age})" if age else "another run"
        raise InputError(
            f"{path}: {who} uses this folder; wait until it ends, or give another --workdir"
        )

    with locks.hold(path / LOCK, refuse):
        # Killed runs left these; nobody else writes here now.
        for file in path.rglob(f"*{PARTIAL}"):
            if file.is_file():
                file.unlink()
        yield
