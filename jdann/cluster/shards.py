"""Shards: parts of about equal size of a list of clips, which processes work through on their own.

A shard is a run of clips that follow each other. So the results of all shards, one after the other,
are in the order of the clips.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from jdann.errors import InputError
from jdann.files import PARTIAL
from jdann.terminal import listed

_FORM = re.compile(r"(\d+)/(\d+)")
_NAME = re.compile(r"(\d+)-of-(\d+)")
# A worker takes some seconds for a shard. Smaller ones leave more batches that are not full.
_CLIPS_PER_SHARD = 1000
_MOST = 100_000  # shards: each is a folder or a file


class Shard(NamedTuple):
    """One of several parts of a list."""

    number: int  # from 1
    count: int  # of all shards

    def rows(self, total: int) -> range:
        """The positions, in a list of `total` clips, that belong to this shard."""
        before, after = self.number - 1, self.number
        return range(total * before // self.count, total * after // self.count)

    @property
    def name(self) -> str:
        """For files and folders; they sort in the order of the shards: "02-of-16"."""
        return f"{self.number:0{len(str(self.count))}d}-of-{self.count}"

    def __str__(self) -> str:
        """As in the option `--shard`: "2/16"."""
        return f"{self.number}/{self.count}"


def parse_shard(text: str) -> Shard:
    """The shard that the option `--shard` names.

    Args:
      text: number and count, as in "2/16". The first shard is 1.

    Raises:
      InputError: it is something else.
    """
    match = _FORM.fullmatch(text)
    if match is None or len(text) > 20:
        raise InputError(f"--shard {text[:40]}: expected number/count, such as 1/4 and 2/4")
    shard = Shard(int(match[1]), int(match[2]))
    check_count(shard.count, f"--shard {text}")
    if not 1 <= shard.number <= shard.count:
        raise InputError(f"--shard {text}: expected a number from 1 to {shard.count} before the /")
    return shard


def check_count(count: int, option: str) -> None:
    """Raises an InputError, which names the option, for a number of shards that cannot be."""
    if not 1 <= count <= _MOST:
        raise InputError(f"{option}: expected 1 to {_MOST:,} shards")


def all_shards(count: int) -> list[Shard]:
    """The shards of a list, in order."""
    return [Shard(number, count) for number in range(1, count + 1)]


def finished_shards(folder: Path) -> set[Shard]:
    """The shards whose results stand in a folder, which may be missing.

    Their files or folders have the names of the shards, with any suffix.
    """
    if not folder.is_dir():
        return set()
    names = (path.name for path in folder.iterdir() if path.suffix != PARTIAL)
    matches = (_NAME.fullmatch(name.partition(".")[0]) for name in names)
    shards = {Shard(int(match[1]), int(match[2])) for match in matches if match}
    return {shard for shard in shards if 1 <= shard.number <= shard.count}


def count_of_shards(folder: Path, clips: int) -> int:
    """How many shards of a list of clips there are in a folder, or should be.

    It does not depend on the size of a cluster.
    """
    present = finished_shards(folder)
    return min(present).count if present else max(1, -(-clips // _CLIPS_PER_SHARD))


def check_same_count(present: Iterable[Shard], count: int, folder: Path) -> None:
    """Refuses to mix shards of another number with those in a folder.

    Raises:
      InputError: says how many there are.
    """
    others = sorted({shard.count for shard in present} - {count})
    if others:
        raise InputError(
            f"{folder}: holds shards of {others[0]}, not of {count}; go on with {others[0]}, or "
            "remove this folder"
        )


def numbers(shards: Iterable[Shard]) -> str:
    """The numbers of shards as text, such as "1, 3 to 7 and 9 more"."""
    ordered = sorted(shard.number for shard in shards)
    spans: list[list[int]] = []
    for number in ordered:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    texts = [
        str(first)
        if first == last
        else f"{first}, {last}"
        if last == first + 1
        else f"{first} to {last}"
        for first, last in spans
    ]
    return listed(texts)
