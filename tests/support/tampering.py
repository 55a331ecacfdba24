"""Changes the files of a model, with digests that fit again or with those that were written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from jdann.inference import model
from jdann.inference.card import with_digest

Arrays = dict[str, np.ndarray]


def edit_card(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes model.json; `change` edits the card, or returns another value."""
    path = folder / model.CARD
    card = json.loads(path.read_text(encoding="utf-8"))
    changed = change(card)
    path.write_text(json.dumps(card if changed is None else changed), encoding="utf-8")


def edit_arrays(folder: Path, change: Callable[[Arrays], Any], with_new_digest: bool) -> None:
    """Changes model.safetensors, as a faulty run would (with a new digest), or as a user would."""
    path = folder / model.WEIGHTS
    arrays = dict(load(path.read_bytes()))
    change(arrays)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    path.write_bytes(save(arrays, {"schema": "5"}))
    if with_new_digest:
        write_digest(folder)


def write_digest(folder: Path) -> None:
    """Makes the digests those of the files as they are."""
    content = (folder / model.WEIGHTS).read_bytes()
    edit_card(folder, lambda card: with_digest(card, model._KIND, content))


def as_earlier(folder: Path, schema: int) -> None:
    """Makes a model one of an earlier schema, which had no digest."""

    def change(card: dict[str, Any]) -> None:
        card["schema"] = schema
        del card["digest"]

    edit_card(folder, change)
