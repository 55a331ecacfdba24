"""Where `jdann launch` starts a command, and how often.

`jdann train` and `jdann sweep` are one training of several processes, which need each other. All
other commands are independent: the words `{i}` and `{n}` tell the copies of a command apart.
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

from jdann.cluster.ray_cluster import parse_address
from jdann.errors import InputError

TOGETHER = ("train", "sweep")  # commands whose processes work on one training
_FORMS = "local:N for N processes on this machine, slurm, ray, or ray:ADDRESS"
_NUMBER, _COUNT = "{i}", "{n}"  # of a copy, from 1, and of all copies


class Destination(NamedTuple):
    """Where a command is started."""

    kind: str  # "local", "slurm" or "ray"
    processes: int = 1  # local only
    address: str | None = None  # ray only; None: the cluster of this machine


def parse_destination(text: str) -> Destination:
    """The destination that `--on` names.

    Raises:
      InputError: it is of another form.
    """
    kind, _, rest = text.partition(":")
    if text == "slurm":
        return Destination("slurm")
    if kind == "ray" and (rest or text == "ray"):
        return Destination("ray", address=parse_address(text))
    if kind == "local" and rest.isdecimal() and int(rest) > 0:
        return Destination("local", int(rest))
    raise InputError(f"--on {text}: expected {_FORMS}")


def make_copies(words: Sequence[str], count: int) -> list[list[str]]:
    """The words of each copy of an independent command.

    Args:
      words: of the command, without "jdann"; `{i}` is the number of a copy, from 1, and `{n}` the
        number of copies.
      count: how many copies.

    Raises:
      InputError: all copies would do the same work.
    """
    if count > 1 and not any(_NUMBER in word for word in words):
        raise InputError(
            f"all {count} copies of this command would do the same; write {{i}} where they differ, "
            f"which becomes 1 to {count}, for example: prepare a.csv --shard {{i}}/{{n}}, or "
            "tune --storage shared/tune.journal --workdir runs/worker-{i}"
        )
    return [
        [word.replace(_NUMBER, str(i)).replace(_COUNT, str(count)) for word in words]
        for i in range(1, count + 1)
    ]


def program(words: Sequence[str]) -> list[str]:
    """The command line that starts a jdann command by this Python."""
    return [sys.executable, "-m", "jdann", *words]
