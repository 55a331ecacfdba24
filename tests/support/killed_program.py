"""The command line, in a process that logs its writes and kills itself inside a chosen one.

It runs as `python -m tests.support.killed_program ARGUMENTS`, with a plan in the environment.
`tests/support/kills.py` makes the plan and starts it.
"""

import json
import os
import random
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

# JSON: `roots`, folders whose writes are logged; `log`, the file; and for a kill `pattern` of the
# lines of the log, `number` of the matching line, `moment`, and `seed`.
PLAN = "JDANN_TEST_KILL"
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# event of an audit hook: the places of the path and of its folder's descriptor in the arguments
_PLACES: dict[str, tuple[int, int | None]] = {
    "open": (0, None),
    "os.mkdir": (0, 2),
    "os.remove": (0, 1),
    "os.rename": (1, 3),
    "os.rmdir": (0, 1),
    "os.truncate": (0, None),
    "sqlite3.connect": (0, None),
}
_NATIVE_S = 0.05  # a write outside Python is hit within this time


class Killer:
    """Logs each write below some folders, and kills the process at one of them.

    Moments of a kill: "before" the write; "during", with a part of the file on the disk; or "soon",
    for files that a library writes outside Python.
    """

    def __init__(self, plan: dict[str, Any]):
        self.plan, self.chance = plan, random.Random(plan.get("seed"))
        self.roots = [Path(root).resolve() for root in plan["roots"]]
        self.log = os.open(plan["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.pattern = re.compile(plan.get("pattern", "(?!)"))
        self.left = plan.get("number", 0)
        self.cut: tuple[Path, int] | None = None  # a file to cut, and its size before the write

    def on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook of Python, called before each write."""
        place, folder = _PLACES.get(event, (None, None))
        if place is None or (event == "open" and not arguments[2] & _WRITES):
            return
        name = path_of(arguments[place])
        descriptor = -1 if folder is None else arguments[folder]
        if descriptor >= 0:  # the name is relative to this folder
            name = path_of(descriptor) / name
        self.on_write(event.removeprefix("os."), name)

    def on_write(self, event: str, path: Path) -> None:
        """Logs a write, and kills if it is the chosen one."""
        path = path.absolute()
        root = next((root for root in self.roots if path.is_relative_to(root)), None)
        if root is None or path == root:
            return
        if self.cut is not None:
            self.kill_after_a_part()
        line = f"{event} {path.relative_to(root)}"
        os.write(self.log, f"{line}\n".encode())
        if not self.pattern.search(line):
            return
        self.left -= 1
        if self.left:
            return
        if self.plan["moment"] == "before":
            kill()
        elif self.plan["moment"] == "soon":
            threading.Thread(target=self.kill_soon, daemon=True).start()
        else:
            # What is renamed into its place is on the disk already, so it is not cut.
            is_whole = event in ("rename", "replace")
            size = path.stat().st_size if path.is_file() else 0
            self.cut = path, sys.maxsize if is_whole else size
            if event == "fsync":
                self.kill_after_a_part()

    def kill_after_a_part(self) -> NoReturn:
        """Leaves a part of what was written to the file; of a folder, the whole."""
        assert self.cut is not None
        (path, before), self.cut = self.cut, None
        if path.is_file():
            size = path.stat().st_size
            os.truncate(path, self.chance.randint(min(before, size), size))
        kill()

    def kill_soon(self) -> None:
        time.sleep(self.chance.uniform(0, _NATIVE_S))
        kill()


def path_of(file: Any) -> Path:
    """The path of a file that is given by its path or its descriptor."""
    return (
        Path(f"/proc/self/fd/{file}").readlink()
        if isinstance(file, int)
        else Path(os.fsdecode(file))
    )


def kill() -> NoReturn:
    """Ends this process as a power cut or the system's lack of memory would."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    raise AssertionError


def main() -> None:
    killer = Killer(json.loads(os.environ.pop(PLAN)))
    sync = os.fsync

    def fsync(descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        killer.on_write("fsync", path_of(number))
        sync(descriptor)

    os.fsync = fsync
    sys.addaudithook(killer.on_event)
    # A small training saves a checkpoint twice; here it saves one after each epoch, so that old
    # ones are removed, too.
    from jdann.training import loop

    loop._CHECKPOINT_SHARE = 0
    from jdann.cli import run_program

    try:
        run_program()
    finally:
        if killer.cut is not None:  # no write has followed
            kill()


if __name__ == "__main__":
    main()
