"""The files of a pretrained encoder inside the folder of a model, where they may be.

Otherwise they are beside it: the model's card names the encoder and the digest of its weights.
"""

import shutil
from pathlib import Path
from typing import Any

from jdann import folders
from jdann.errors import InputError
from jdann.pretrained import PRETRAINED_RECIPES

ENCODER = "encoder"  # the folder in that of a model
_PATTERNS = ("*.json", "*.safetensors", "*.whl", "*.onnx")


def files_in(folder: Path) -> Path | None:
    """The encoder's files in the folder of a model; None if they are not there."""
    inside = folder / ENCODER
    if not inside.is_dir():
        return None
    files = [path for pattern in ("*.whl", "*.onnx") for path in inside.glob(pattern)]
    return files[0] if files else inside


def copy_files(features: Any, folder: Path) -> None:
    """Copies the files of the encoder of a model into its folder.

    Args:
      features: `config.features` of the model.
      folder: of the model; it is made if it does not exist.

    Raises:
      InputError: the features are from no pretrained encoder, or its files are not found.
    """
    if features.recipe not in PRETRAINED_RECIPES:
        raise InputError(
            f"with_encoder=True: the features are {features.recipe!r}, which need no pretrained "
            "encoder; leave it out"
        )
    from jdann.pretrained.load import find_encoder  # it imports Flax, which takes long

    source, inside = find_encoder(features.encoder), folder / ENCODER
    if source.is_dir() and inside.exists() and source.samefile(inside):
        return
    folders.remove(inside)
    inside.mkdir(parents=True)
    files = [source] if source.is_file() else [p for q in _PATTERNS for p in source.glob(q)]
    for file in files:  # the Hub's cache holds links
        shutil.copyfile(file, inside / file.name)
