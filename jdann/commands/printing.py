"""Tables on the terminal."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from jdann.report.table import render

_PLAIN_WIDTH = 160  # columns if the output is not a terminal


def print_results(results: Mapping[str, Any]) -> None:
    """Prints the scores that results.json holds."""
    print_table(render(results))


def print_table(renderable: Any) -> None:
    """Prints anything that rich can render."""
    Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(renderable)
