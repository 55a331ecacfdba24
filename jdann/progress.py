"""Shows the progress of slow work: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from jdann.terminal import visible

T = TypeVar("T")
_LINE_EVERY_S = 10.0
_SHORT_S = 2.0  # work that takes less prints no line
_silent = ContextVar("silent", default=False)


@contextmanager
def silenced() -> Iterator[None]:
    """Keeps `track` quiet, for work inside larger work that shows its progress already."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def shows_bars() -> bool:
    """Whether slow work may draw a bar: on a terminal, unless it is silenced."""
    return sys.stderr.isatty() and not _silent.get()


def track(
    items: Iterable[T], description: str, total: int | None = None, unit: str = "items"
) -> Iterator[T]:
    """Yields `items` and shows on standard error how many the caller has worked through.

    A terminal shows a bar. Elsewhere there is a plain line every ten seconds and one at the end;
    work of less than two seconds prints no line.

    Args:
      items: what the caller works through.
      description: the work, e.g. "Features of esd:en".
      total: number of items; needed if `items` has no length.
      unit: what the items are, in the plural.
    """
    if _silent.get():
        yield from items
        return
    if total is None:
        total = len(items) if hasattr(items, "__len__") else None  # pyright: ignore[reportArgumentType]
    description = visible(description)
    if sys.stderr.isatty():
        yield from _bar(items, description, total, unit)
    else:
        yield from _lines(items, description, total, unit)


def _bar(items: Iterable[T], description: str, total: int | None, unit: str) -> Iterator[T]:
    # Rich is loaded only if there is a terminal to draw on: it is slow to import.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, total=total, description=description)


def _lines(items: Iterable[T], description: str, total: int | None, unit: str) -> Iterator[T]:
    start = last_line = time.monotonic()
    done = 0
    end = "" if total is None else f"/{total}"
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last_line >= _LINE_EVERY_S and done != total:
            last_line = now
            text = f"{description}: {done}{end} {unit}, {now - start:.0f} s"
            print(text, file=sys.stderr, flush=True)
    duration_s = time.monotonic() - start
    if duration_s >= _SHORT_S:
        text = f"{description}: {done}{end} {unit}, {duration_s:.0f} s"
        print(text, file=sys.stderr, flush=True)
