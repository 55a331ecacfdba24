"""Where a model finds the files of its pretrained encoder.

They may be in the model's folder. Otherwise the card of the model names the encoder and the digest
of its weights.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from jdann import folders
from jdann.errors import InputError
from jdann.pretrained import PRETRAINED_RECIPES

ENCODER = "encoder"  # the folder in that of a model
LAYERS = "layers.json"  # in a work directory: encoder, digest and layer of each direction
_PATTERNS = ("*.json", "*.safetensors", "*.whl", "*.onnx")


def files_in(folder: Path) -> Path | None:
    """The encoder's files in the folder of a model, or where its run has found them; else None."""
    inside = (folder / ENCODER).absolute()
    if inside.is_dir():
        files = [path for pattern in ("*.whl", "*.onnx") for path in inside.glob(pattern)]
        return files[0] if files else inside
    try:  # of the work directory RUN, whose models are RUN/recogniser/MODEL
        kept = json.loads((folder.absolute().parents[1] / LAYERS).read_text("utf-8"))
        place = Path(next(iter(kept.values()))["encoder"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return None
    return place if place.exists() else None


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
    if inside.exists() and inside.samefile(source if source.is_dir() else source.parent):
        return
    unfinished = folder / f".{ENCODER}.partial"
    folders.remove(unfinished)
    unfinished.mkdir(parents=True)
    files = [source] if source.is_file() else [p for q in _PATTERNS for p in source.glob(q)]
    for file in files:  # the Hub's cache holds links
        shutil.copyfile(file, unfinished / file.name)
    folders.remove(inside)
    unfinished.rename(inside)


def remove_files(features: Any, folder: Path) -> None:
    """Removes the encoder's files of a model that is replaced, unless the new model uses them.

    Args:
      features: `config.features` of the new model.
      folder: of both.
    """
    inside = folder / ENCODER
    used = Path(features.get("encoder", ""))
    if not used.is_relative_to(inside.absolute()):
        folders.remove(inside)
