"""Databases in audformat: a folder with a header `db.yaml` and a csv file for each table.

The tables with a column `emotion` list the utterances. Speakers may stand in another table, and the
header may know the gender of each speaker and the language of the database.
Source: https://audeering.github.io/audformat, "Database on disk".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from jdann.corpora import manifest
from jdann.corpora.index import Corpus
from jdann.corpora.naming import AS_USUAL, Naming
from jdann.corpora.no_person import known
from jdann.corpora.tables import Table, read_cells, read_table
from jdann.errors import InputError
from jdann.terminal import listed

HEADER = "db.yaml"


def load_database(root: Path, naming: Naming = AS_USUAL) -> Corpus:
    """Reads a database.

    Args:
      root: the folder of its header.
      naming: what the labels mean.

    Returns:
      The utterances of all tables of emotions. One that is in several tables counts once; tables
      whose name contains "gold" come first.

    Raises:
      InputError: the header or a table cannot be read, or no table has emotions.
    """
    header = _read_header(root / HEADER)
    tables = {name: read_table(_path(root, name)) for name in header["tables"]}
    with_emotions = [name for name, table in tables.items() if "emotion" in table.columns]
    if not with_emotions:
        raise InputError(
            f"{root / HEADER}: no table has a column `emotion`; the tables are "
            f"{listed(list(tables)) or 'none'}; give a manifest (.csv)"
        )
    speakers = _speakers(tables)
    of_speaker = _labels(root, header, "speaker")
    language = _only_language(header)

    def complete(row: Mapping[str, str]) -> dict[str, str]:
        """The row with what other tables and the header know."""
        speaker = known(row.get("speaker", "")) or speakers.get(row["file"], "")
        facts = of_speaker.get(speaker, {})
        elsewhere = {
            "speaker": speaker,
            "gender": str(facts.get("gender") or ""),
            "language": str(facts.get("language") or language),
        }
        own = {column: known(row.get(column, "")) for column in elsewhere}
        return dict(row) | {column: own[column] or elsewhere[column] for column in elsewhere}

    completed = [
        (_path(root, name), tables[name]._replace(rows=tuple(map(complete, tables[name].rows))))
        for name in sorted(with_emotions, key=lambda name: "gold" not in name)
    ]
    corpus = manifest.make_corpus(root, completed, naming)
    return corpus._replace(description=f"{header.get('name') or root.name} (audformat)")


def _read_header(path: Path) -> Mapping[str, Any]:
    """The content of the header."""
    try:
        header = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())[:150]
        raise InputError(
            f"{path}: cannot be read as the header of a database in audformat ({problem})"
        ) from error
    if not isinstance(header, dict):
        raise InputError(f"{path}: is no header of a database in audformat; it names no tables")
    for part in ("tables", "misc_tables"):
        tables = header.setdefault(part, {})
        if not isinstance(tables, dict) or not all(isinstance(name, str) for name in tables):
            raise InputError(f"{path}: `{part}` does not name tables, as audformat does")
    return header


def _only_language(header: Mapping[str, Any]) -> str:
    """The language of a database in one language; "" if it has several, or names none."""
    languages = header.get("languages")
    if isinstance(languages, str):
        return languages
    if isinstance(languages, list) and len(languages) == 1:
        return str(languages[0])
    return ""


def _path(root: Path, name: str) -> Path:
    """The csv file of a table."""
    path = root / f"db.{name}.csv"
    if not path.is_file():
        suffixes = ("parquet", "pkl")
        others = [suffix for suffix in suffixes if path.with_suffix(f".{suffix}").is_file()]
        problem = f"is there only as .{others[0]}" if others else "is missing"
        raise InputError(
            f"{path}: {problem}; write the tables as csv, with audformat: "
            "database.save(folder, storage_format='csv')"
        )
    return path


def _speakers(tables: Mapping[str, Table]) -> dict[str, str]:
    """The speaker of each file, from the tables that have a column `speaker`."""
    return {
        row["file"]: row["speaker"]
        for table in tables.values()
        if "speaker" in table.columns
        for row in table.rows
    }


def _labels(root: Path, header: Mapping[str, Any], scheme: str) -> dict[str, Mapping[str, Any]]:
    """What is known about each label of a scheme, such as the gender of a speaker.

    It stands in the header, or in a table of its own that the header names.
    """
    schemes = header.get("schemes")
    entry = schemes.get(scheme) if isinstance(schemes, dict) else None
    labels = entry.get("labels") if isinstance(entry, dict) else None
    if isinstance(labels, str) and labels in header["misc_tables"]:
        names, _, rows = read_cells(_path(root, labels))
        return {row[0]: dict(zip(names, row, strict=True)) for row in rows}
    if not isinstance(labels, dict):
        return {}
    return {str(name): facts for name, facts in labels.items() if isinstance(facts, dict)}
