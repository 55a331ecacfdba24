"""Tables on the terminal."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment

from jdann.report.table import render
from jdann.terminal import visible

_PLAIN_WIDTH = 160  # columns if the output is not a terminal


def print_results(results: Mapping[str, Any]) -> None:
    """Prints the scores that results.json holds."""
    print_table(render(results))


def print_table(renderable: Any) -> None:
    """Prints anything that rich can render. Names in it are neither markup nor commands."""
    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    console.print(_Visible(renderable))


class _Visible:
    """A renderable whose control characters are shown as escapes."""

    def __init__(self, renderable: Any):
        self.renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The same segments with visible text."""
        for segment in console.render(self.renderable, options):
            yield Segment(visible(segment.text), segment.style, segment.control)
