"""Tables in Markdown."""

from collections.abc import Sequence


def row(*cells: str) -> str:
    """One row of a table."""
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def header(columns: Sequence[str], alignments: Sequence[str]) -> str:
    """The two lines above the rows of a table.

    Args:
      columns: the name of each column.
      alignments: for each column, "---" (to the left) or "---:" (to the right).
    """
    if len(columns) != len(alignments):
        raise ValueError(f"{len(columns)} columns, but {len(alignments)} alignments")
    return f"{row(*columns)}\n|{'|'.join(alignments)}|"


def missing_row(name: str, columns: int) -> str:
    """The row of a peer that is not installed, in a table of `columns` columns."""
    return row(name, "not installed", *[""] * (columns - 2))
