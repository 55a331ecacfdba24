"""Tables of JSON lines, as EmoBox and many data sets have them: one object in each line."""

import json
from pathlib import Path
from typing import Any

from jdann.errors import InputError


class _Object:
    """A JSON object as it is written; a dict would keep the last of two values of one name."""

    def __init__(self, pairs: list[tuple[str, Any]]):
        self.pairs = pairs


def read(path: Path, text: str) -> tuple[list[str], list[int], list[list[str]]]:
    """Reads the objects of a text as a table.

    Values that are no text or number, such as a list, are left out.

    Args:
      path: of the table, for messages.
      text: its content. Blank lines are left out.

    Returns:
      The names of all objects in the order in which they first occur, the line of each object,
      and its cells: one for each name, "" where it has no value.

    Raises:
      InputError: a line is no JSON object; the message names the line.
    """
    objects: dict[int, dict[str, str]] = {}
    # Not `splitlines`: a text may contain other characters that Python takes for the end of a line.
    for line, line_text in enumerate(text.split("\n"), start=1):
        if line_text.strip():
            objects[line] = _cells(path, line, line_text)
    names = list(dict.fromkeys(name for cells in objects.values() for name in cells))
    rows = [[cells.get(name, "") for name in names] for cells in objects.values()]
    return names, list(objects), rows


def _cells(path: Path, line: int, text: str) -> dict[str, str]:
    """The texts and numbers of the object in a line."""
    try:
        value = json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: line {line} is not JSON ({str(error)[:80]}); expected an object in each "
            'line, like {"wav": "a.wav", "emo": "sad"}'
        ) from error
    if not isinstance(value, _Object):
        raise InputError(
            f"{path}: line {line} is JSON, but no object; expected one in each line, "
            'like {"wav": "a.wav", "emo": "sad"}'
        )
    names = [name.strip() for name, _ in value.pairs]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise InputError(f"{path}: line {line} has `{doubled[:40]}` twice; name each column once")
    return {
        name: str(cell).strip()
        for name, (_, cell) in zip(names, value.pairs, strict=True)
        if isinstance(cell, str | int | float)
    }
