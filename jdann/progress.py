"""Progress of anything slower than two seconds: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
_LINE_EVERY_S = 10.0
_silent = ContextVar("silent", default=False)


@contextmanager
def silenced() -> Iterator[None]:
    """Keeps `track` quiet: inside something larger whose own progress is shown."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def track(
    items: Iterable[T], description: str, total: int | None = None, unit: str = "items"
) -> Iterator[T]:
    """Yields `items` and shows how far the caller is.

    Args:
      items: what is worked through.
      description: what is being done, e.g. "Features of esd:en".
      total: number of items, needed where `items` has no length.
      unit: what one item is, in the plural.

    On a terminal a bar on standard error; elsewhere a plain line every ten seconds and one at the end, and no line at all
    for work that took less than two seconds.
    """
    if _silent.get():
        yield from items
        return
    if total is None:
        total = len(items) if hasattr(items, "__len__") else None  # pyright: ignore[reportArgumentType]
    if sys.stderr.isatty():
        yield from _bar(items, description, total, unit)
    else:
        yield from _lines(items, description, total, unit)


def _bar(items: Iterable[T], description: str, total: int | None, unit: str) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, total=total, description=description)


def _lines(items: Iterable[T], description: str, total: int | None, unit: str) -> Iterator[T]:
    begun = said = time.monotonic()
    done = 0
    of = "" if total is None else f"/{total}"
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - said >= _LINE_EVERY_S and done != total:
            said = now
            print(
                f"{description}: {done}{of} {unit}, {now - begun:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    seconds = time.monotonic() - begun
    if seconds >= 2:
        print(f"{description}: {done}{of} {unit}, {seconds:.0f} s", file=sys.stderr, flush=True)
