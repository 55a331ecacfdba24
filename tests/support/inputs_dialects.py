"""The tables of dialects: how tables are written, and how times and missing values are."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

from jdann.corpora.cells import parse_seconds
from jdann.corpora.manifest import load_manifest
from jdann.corpora.no_person import is_missing
from jdann.corpora.tables import ALIASES, COLUMNS
from jdann.errors import InputError
from tests.support.markdown import code, table

_TEXT = "file,emotion,speaker,start,end\nclips/a.wav,Wut,anna,0.25,0.75\n"
_EXPECTED = ("clips/a.wav", "angry", "anna", 0.25, 0.75)
_JSON = '{"wav": "clips/a.wav", "emo": "Wut", "spk": "anna", "start": 0.25, "end": 0.75}\n'


def _variant(*changes: str) -> bytes:
    """The table with some texts replaced by others: "from", "to", "from", "to"."""
    text = _TEXT
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        text = text.replace(old, new)
    return text.encode()


# For each row of the table: variants by their name, each with the end of the file's name.
VARIANTS: dict[str, dict[str, tuple[str, bytes]]] = {
    "form": {
        ".csv": (".csv", _variant()),
        ".tsv": (".tsv", _variant(",", "\t")),
        ".jsonl with an object in each line": (".jsonl", _JSON.encode()),
        "a spreadsheet (.xlsx)": (".csv", b"PK\x03\x04" + bytes(40)),
    },
    "separator": {
        "comma": (".csv", _variant()),
        "semicolon": (".csv", _variant(",", ";")),
        "tab": (".csv", _variant(",", "\t")),
        "Excel's line `sep=;`": (".csv", b"sep=;\n" + _variant(",", ";")),
        "vertical bar": (".csv", _variant(",", "|")),
    },
    "encoding": {
        "UTF-8": (".csv", _variant()),
        "UTF-8 with a byte order mark": (".csv", b"\xef\xbb\xbf" + _variant()),
        "UTF-16 with a byte order mark": (".csv", _TEXT.encode("utf-16")),
        "UTF-16 without one": (".csv", _TEXT.encode("utf-16-le")),
        "Latin-1": (".csv", _TEXT.replace("anna", "käthe").encode("latin-1")),
    },
    "lines": {
        "`\\n` or `\\r\\n` at their ends": (".csv", _variant("\n", "\r\n")),
        "blank ones": (".csv", b"\n \n" + _variant("\n", "\n\n")),
        "cells in double quotes": (".csv", _variant("anna", '"anna"')),
        "spaces around cells": (".csv", _variant("anna", " anna ")),
        "more cells than columns": (".csv", _variant("0.75", "0.75,1")),
        "a double quote without its partner": (".csv", _variant("anna", '"anna')),
    },
    "header": {
        "capital letters": (".csv", _variant("file,emotion", "File,EMOTION")),
        "columns in another order": (
            ".csv",
            b"speaker,end,file,start,emotion\nanna,0.75,clips/a.wav,0.25,Wut\n",
        ),
        "a column `file` missing": (".csv", _variant("file,", "clip,")),
        "a column twice": (".csv", _variant("emotion,speaker", "emotion,emotion")),
    },
    "paths": {
        "relative to the table": (".csv", _variant()),
        "with `\\`": (".csv", _variant("clips/", "clips\\")),
        "with another case of the suffix": (".csv", _variant("a.wav", "a.WAV")),
        "of a file that is missing": (".csv", _variant("a.wav", "b.wav")),
    },
    "labels": {
        "English and other languages": (".csv", _variant()),
        "capital letters, spaces": (".csv", _variant("Wut", " ANGRY")),
        "an unknown word": (".csv", _variant("Wut", "angyr")),
    },
}
TIMES = (
    *("1.25", "1", "0,5", "1.5 s", "1.5 seconds", "2e-1", "2:03", "01:02:03.5"),
    *("0 days 00:00:01.5", "1 day, 0:00:01", "00:00:01,500"),
    *("-1", "1.5 ms", "1:75", "1.2.3", "1,234.5", "ten"),
)
MISSING = ("", "nan", "None", "NULL", "N/A", "unknown", "missing", "-", "?", "0", "none of these")


def draw_dialects(folder: Path) -> str:
    """Draws the table of dialects."""
    (folder / "clips").mkdir()
    soundfile.write(folder / "clips" / "a.wav", np.zeros(16000), 16000)
    rows = []
    for title, variants in VARIANTS.items():
        outcomes = {
            name: _outcome(folder / f"t{suffix}", data) for name, (suffix, data) in variants.items()
        }
        rows.append((title, *_divided(outcomes)))
    return table(("what", "read", "refused, and why"), rows)


def _outcome(path: Path, data: bytes) -> str:
    """Why a table is refused; "" if it is read with all its values."""
    path.write_bytes(data)
    try:
        (utterance,) = load_manifest(path).utterances
    except InputError as error:
        return _first_clause(str(error).removeprefix(f"{path}: "), path.parent)
    values = (*utterance[:1], *utterance[2:4], utterance.start_s, utterance.end_s)
    same = (values[0].replace("\\", "/").lower(), *values[1:])
    return "" if same == _EXPECTED else f"read otherwise: {values}"


def _first_clause(message: str, folder: Path) -> str:
    """What is wrong, without what to do, and without the folder of the test."""
    return message.split("; ")[0].replace(f"{folder}/", "").strip()


def _divided(outcomes: Mapping[str, str]) -> tuple[str, str]:
    """What is read, and what is refused with the reason."""
    refused = [f"{name}: “{reason}”" for name, reason in outcomes.items() if reason]
    return ", ".join(name for name, reason in outcomes.items() if not reason), "; ".join(refused)


def draw_times(folder: Path) -> str:
    """Draws the table of times, of missing values and of names of columns."""
    del folder
    seconds = {text: parse_seconds(text) for text in TIMES}
    names: dict[str, list[str]] = {}
    for alias, column in ALIASES.items():
        names.setdefault(column, []).append(alias)
    rows = [
        (
            "a time, in seconds",
            ", ".join(f"{code(t)} = {s:g}" for t, s in seconds.items() if s is not None),
            ", ".join(code(t) for t, s in seconds.items() if s is None),
        ),
        (
            "a missing value",
            ", ".join(code(t) if t else "blank" for t in MISSING if is_missing(t)),
            ", ".join(code(t) for t in MISSING if not is_missing(t)),
        ),
        *(
            (
                f"the column {code(column)}",
                ", ".join(map(code, (column, *names.get(column, ())))),
                "",
            )
            for column in COLUMNS
            if column in names
        ),
    ]
    return table(("what", "is written", "but not"), rows)
