"""Copies of one file in several folders of a corpus."""

from collections.abc import Sequence

from jdann.corpora.index import Skipped


def without_copies(files: Sequence[str]) -> tuple[list[str], list[Skipped]]:
    """Keeps the first of the files that have the same name.

    This is for corpora whose file names are unique: two files with one name are two copies of one
    utterance, as in a mirror of RAVDESS that contains everything twice.

    Args:
      files: paths with `/` between folders.

    Returns:
      The files that are kept, in their order, and the copies. Suffixes do not count.
    """
    first: dict[str, str] = {}
    for file in files:
        first.setdefault(_stem(file), file)
    kept = set(first.values())
    copies = [
        Skipped(file, f"a copy of {first[_stem(file)]}") for file in files if file not in kept
    ]
    return [file for file in files if file in kept], copies


def _stem(file: str) -> str:
    """The name of a file without its folders and its suffix."""
    return file.rpartition("/")[2].rpartition(".")[0]
