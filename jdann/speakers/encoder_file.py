"""Where the weights of the speaker encoder are, and how they get there."""

from pathlib import Path

from jdann.features.voice_encoder import WHEEL
from jdann.pretrained import wheels

_WHEEL = wheels.Wheel(WHEEL, "Resemblyzer==0.1.4", "the speaker encoder", megabytes=16)


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
    return wheels.find_or_fetch(_WHEEL, data_dir / "jdann" / "speaker_encoder")
