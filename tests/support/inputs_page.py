"""Tables of docs/inputs.md that are measured: files are written, and jdann reads them.

    python -m tests.support.inputs_page

writes them anew. A test fails if the page differs from what jdann does.
"""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.support import inputs_dialects, inputs_formats, inputs_names

PAGE = Path(__file__).parents[2] / "docs" / "inputs.md"
# From the name of a table in the page to what draws it in an empty folder.
TABLES: dict[str, Callable[[Path], str]] = {
    "names": inputs_names.draw,
    "dialects": inputs_dialects.draw_dialects,
    "times": inputs_dialects.draw_times,
    "formats": inputs_formats.draw_formats,
    "ffmpeg": inputs_formats.draw_ffmpeg,
    "no audio": inputs_formats.draw_no_audio,
}


def table_in(page: str, name: str) -> str:
    """The table of a name in the text of the page."""
    match = _place(name).search(page)
    if match is None:
        raise ValueError(f"{PAGE.name} lacks the marks of the table {name!r}")
    return match[2]


def with_table(page: str, name: str, table: str) -> str:
    """The text of the page with another table."""
    return _place(name).sub(lambda match: match[1] + table + match[3], page)


def draw(name: str) -> str:
    """The table, measured now."""
    with tempfile.TemporaryDirectory() as folder:
        return TABLES[name](Path(folder))


def _place(name: str) -> re.Pattern[str]:
    mark = re.escape(name)
    return re.compile(rf"(<!-- measured: {mark} -->\n)(.*?)(<!-- end: {mark} -->)", re.DOTALL)


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    for table_name in TABLES:
        text = with_table(text, table_name, draw(table_name))
    PAGE.write_text(text, encoding="utf-8")
