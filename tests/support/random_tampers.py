"""Random changes of the files of a model: bytes, values of a JSON object, arrays."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jdann.inference import model
from tests.support.tampering import Arrays, edit_arrays

EXTREMES = (
    *(0, -1, 1, 2, 1e300, -1e300, 1e-320, 10**30, 10**400, float("nan"), float("inf")),
    *(True, None, "", "0", "\ud83d", "a\nb", "../x", [], {}, [[]], {"a": {}}, "x" * 10_000),
)


def change_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    """Flips, removes, doubles or overwrites some bytes of a file."""
    data, place = bytearray(content), int(rng.integers(len(content)))
    length = int(rng.integers(1, 64))
    match rng.integers(5):
        case 0:
            for i in rng.integers(len(data), size=rng.integers(1, 4)):
                data[i] ^= 1 << rng.integers(8)
        case 1:
            del data[place:]
        case 2:
            del data[place : place + length]
        case 3:
            data[place:place] = data[place : place + length]
        case _:
            data[place : place + length] = rng.bytes(len(data[place : place + length]))
    return bytes(data)


def change_json(rng: np.random.Generator, card: dict[str, Any]) -> None:
    """Removes, renames, retypes or replaces one value, or changes the order of one list."""
    places = list(_places(card))
    holder, key = places[rng.integers(len(places))]
    value = holder[key]
    match rng.integers(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[f"{key}_"] = holder.pop(key)
        case 2:
            holder[key] = str(value) if not isinstance(value, str) else [value]
        case 3:
            lists = [h[k] for h, k in places if isinstance(h[k], list) and len(h[k]) > 1]
            chosen = lists[rng.integers(len(lists))]
            chosen[:] = [chosen[i] for i in rng.integers(len(chosen), size=len(chosen))]
        case _:
            holder[key] = EXTREMES[rng.integers(len(EXTREMES))]


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Each value of nested objects and lists, as its holder and its key."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(items):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def change_arrays(rng: np.random.Generator, arrays: Arrays) -> None:
    """Removes, renames, exchanges, scales, permutes or retypes an array, or changes one value."""
    names = sorted(arrays)
    name, other = names[rng.integers(len(names))], names[rng.integers(len(names))]
    array = arrays[name]
    match rng.integers(8):
        case 0:
            del arrays[name]
        case 1:
            arrays[f"{name}/{rng.integers(9)}"] = arrays.pop(name)
        case 2:
            arrays[name], arrays[other] = arrays[other], array
        case 3:
            arrays[name] = (array * rng.choice([-1, 0, 1.001, 1e30])).astype(array.dtype)
        case 4:
            arrays[name] = rng.permutation(array.ravel()).reshape(array.shape)
        case 5:
            arrays[name] = array.astype(rng.choice(["float16", "float64", "int32", "uint8"]))
        case 6:
            arrays[name] = array[..., None] if rng.integers(2) else array.ravel()
        case _:
            changed = array.copy().ravel()
            changed[:1] = rng.choice([np.nan, np.inf, -1, 0, 1e30])
            arrays[name] = changed.reshape(array.shape)


def tamper(rng: np.random.Generator, folder: Path, other: Path) -> str:
    """Changes one of the two files of a model.

    Args:
      rng: chooses the change.
      folder: of the model.
      other: of another model, one of whose files may take the place of one of this model.

    Returns:
      The kind of the change.
    """
    kinds: tuple[Callable[[], str], ...] = (
        lambda: _in_bytes(rng, folder / model.WEIGHTS),
        lambda: _in_bytes(rng, folder / model.CARD),
        lambda: _in_card(rng, folder / model.CARD),
        lambda: _in_card(rng, folder / model.CARD),
        lambda: _in_arrays(rng, folder),
        lambda: _from_other(rng, folder, other),
    )
    return kinds[rng.choice(len(kinds), p=(0.2, 0.2, 0.2, 0.15, 0.2, 0.05))]()


def _in_bytes(rng: np.random.Generator, path: Path) -> str:
    path.write_bytes(change_bytes(rng, path.read_bytes()))
    return f"bytes of {path.name}"


def _in_card(rng: np.random.Generator, path: Path) -> str:
    card = json.loads(path.read_text(encoding="utf-8"))
    change_json(rng, card)
    path.write_text(json.dumps(card), encoding="utf-8")
    return f"values of {path.name}"


def _in_arrays(rng: np.random.Generator, folder: Path) -> str:
    edit_arrays(folder, lambda arrays: change_arrays(rng, arrays), with_new_digest=False)
    return "arrays"


def _from_other(rng: np.random.Generator, folder: Path, other: Path) -> str:
    name = (model.WEIGHTS, model.CARD)[rng.integers(2)]
    (folder / name).write_bytes((other / name).read_bytes())
    return f"{name} of another model"
