"""Tables of JSON lines, as EmoBox and many data sets have them: one object in each line."""

import json
from pathlib import Path

from jdann.errors import InputError


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
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: line {line} is not JSON ({str(error)[:80]}); expected an object in each "
            'line, like {"wav": "a.wav", "emo": "sad"}'
        ) from error
    if not isinstance(value, dict):
        raise InputError(
            f"{path}: line {line} is JSON, but no object; expected one in each line, "
            'like {"wav": "a.wav", "emo": "sad"}'
        )
    return {
        name.strip(): str(cell).strip()
        for name, cell in value.items()
        if isinstance(cell, str | int | float)
    }
