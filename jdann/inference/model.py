"""A trained recogniser at rest: parameters as safetensors, everything else as JSON. Reading it executes nothing.

A run writes one folder for each direction, encoder and method, `recogniser/0-conv1d-dann/`, of two files:
`model.safetensors` (parameters and running statistics of every member, and the target's normalisation) and `model.json`
(labels, the whole config, versions, calibration). No corpus is needed to use them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jdann.errors import InputError
from jdann.files import write_bytes, write_text

FOLDER = "recogniser"  # in a work directory
SCHEMA = 2
WEIGHTS, CARD = "model.safetensors", "model.json"
_UNADAPTED = ("source_only", "supervised")


class Normaliser(NamedTuple):
    """What features are normalised by: by several, one for each place of a voice, or by one."""

    mean: (
        np.ndarray
    )  # [places, values] float32; a value is a bin, or an entry of an utterance's vector
    std: np.ndarray  # [places, values] float32, positive
    voice: np.ndarray  # [places, 0, 1 or 2] float32, from `jdann.speakers.similar_voices.position_grid`; of no axis where there is one place


class Model(NamedTuple):
    """What a recogniser is made of. A member is one seed, or one seed of one fold."""

    variables: dict[
        str, Any
    ]  # {"encoder": {"params", "batch_stats"}, "classifier"}, each array [members, ...]
    normaliser: Normaliser  # of the target's features
    card: dict[
        str, Any
    ]  # labels, config, versions, names of source and target, method, encoder, members, calibration


def save(folder: Path, model: Model) -> None:
    """Writes the two files; each appears whole or not at all."""
    from safetensors.numpy import save as serialise

    folder.mkdir(parents=True, exist_ok=True)
    arrays = _flat(model.variables) | {
        f"normalisation/{name}": x for name, x in model.normaliser._asdict().items()
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_bytes(folder / WEIGHTS, serialise(arrays, {"format": "jdann", "schema": str(SCHEMA)}))
    text = json.dumps({"schema": SCHEMA, **model.card}, indent=1, ensure_ascii=False) + "\n"
    write_text(folder / CARD, text)


def load(folder: Path) -> Model:
    """Reads what `save` wrote.

    Raises:
      InputError: a file is missing, damaged, or of a later version of jdann.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if not isinstance(card, dict) or "labels" not in card:
            raise ValueError("it holds no labels")
        if card["schema"] != SCHEMA:
            later = card["schema"] > SCHEMA
            hint = (
                "install the jdann it names" if later else "write it again by --resume of the run"
            )
            raise InputError(
                f"{folder / CARD}: has schema {card['schema']}, this jdann reads {SCHEMA}; {hint}"
            )
        arrays = load_file(folder / WEIGHTS)
        normaliser = Normaliser(
            *(arrays.pop(f"normalisation/{name}") for name in Normaliser._fields)
        )
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename or folder / WEIGHTS}: is missing; write it again by --resume of the run"
        ) from None
    except (ValueError, KeyError, SafetensorError) as error:
        raise InputError(
            f"{folder}: is damaged ({error}); write it again by --resume of the run"
        ) from None
    return Model(_nested(arrays), normaliser, card)


def find(
    path: Path, method: str | None = None, encoder: str | None = None, direction: int = 0
) -> Path:
    """The folder of one model in a work directory.

    Args:
      path: a work directory, or a model's own folder.
      method: None: the last method of the run's config that adapts to the target, else its last one.
      encoder: None: the last one of the run's config.
      direction: 0, or 1 for the way back of a run in both directions.

    Raises:
      InputError: there is none; the message lists those that there are.
    """
    if (path / CARD).exists():
        return path
    if not (path / FOLDER).is_dir():
        what = "no such folder" if not path.exists() else "holds no recogniser"
        hint = (
            "; continue the run by --resume, which writes one"
            if (path / "config.json").exists()
            else ""
        )
        raise InputError(
            f"{path}: {what}; expected the work directory of a finished run, or a folder with {CARD}{hint}"
        )
    found = [
        (folder.parent, _read_names(folder)) for folder in sorted((path / FOLDER).glob(f"*/{CARD}"))
    ]
    wanted = [
        (folder, names)
        for folder, names in found
        if names["direction"] == direction
        and method in (None, names["method"])
        and encoder in (None, names["encoder"])
    ]
    if not wanted:
        known = (
            ", ".join(
                f"{n['method']} with {n['encoder']}, direction {n['direction']}" for _, n in found
            )
            or "none"
        )
        asked = " ".join(
            str(x) for x in (method, encoder and f"with {encoder}", f"direction {direction}") if x
        )
        raise InputError(f"{path}: holds no recogniser of {asked}; there are: {known}")

    def rank(entry: tuple[Path, dict[str, Any]]) -> tuple[bool, int]:
        return not entry[1]["method"].startswith(_UNADAPTED), entry[1]["order"]

    return max(wanted, key=rank)[0]


def _read_names(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return {name: card[name] for name in ("method", "encoder", "direction", "order")}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is damaged ({error}); write it again by --resume of the run"
        ) from None


def _flat(tree: Mapping[str, Any], path: str = "") -> dict[str, np.ndarray]:
    """{"a/b": array} of a tree of dicts."""
    flat: dict[str, np.ndarray] = {}
    for name, value in tree.items():
        where = f"{path}/{name}" if path else name
        flat |= _flat(value, where) if isinstance(value, Mapping) else {where: np.asarray(value)}
    return flat


def _nested(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, name = path.split("/")
        inner = tree
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = value
    return tree
