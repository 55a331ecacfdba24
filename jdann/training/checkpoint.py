"""Checkpoints by Orbax: each is written whole or not at all; the newest readable one is used."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

_KEPT = 2  # the newest, and one in reserve should the newest be damaged
log = logging.getLogger("jdann")


class Checkpoints:
    """The checkpoints of one training, numbered by the epochs that are done."""

    def __init__(self, manager: ocp.CheckpointManager):
        self._manager = manager

    def save(self, epochs_done: int, items: dict[str, Any]) -> None:
        """Writes named trees of arrays, and waits until they are on disk.

        Raises:
          OSError: with the number ENOSPC, the disk is full.
        """
        saved = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        try:
            self._manager.save(epochs_done, args=ocp.args.Composite(**saved))
            self._manager.wait_until_finished()
        except Exception as error:
            # TensorStore reports a full disk by an error without a number.
            if "No space left on device" not in str(error):
                raise
            place = str(self._manager.directory)
            raise OSError(errno.ENOSPC, "No space left on device", place) from error

    def tidy(self, epochs_done: int) -> None:
        """Removes what a training that goes on after `epochs_done` does not need.

        These are later checkpoints, which could not be read and are about to be written again, and
        old ones that a killed run was about to remove.
        """
        kept = sorted(n for n in self._manager.all_steps() if n <= epochs_done)[-_KEPT:]
        for number in set(self._manager.all_steps()) - set(kept):
            self._manager.delete(number)

    def restore(self, template: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """Reads the newest checkpoint that can be read.

        Args:
          template: the named trees wanted, all or some of those saved, with the shapes and dtypes
            of what was saved.

        Returns:
          Epochs done and the trees by name, or None where there is no checkpoint. A damaged
          checkpoint is named in the log, and the one before it is tried.
        """
        wanted = {name: ocp.args.StandardRestore(tree) for name, tree in template.items()}
        for epochs_done in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self._manager.restore(epochs_done, args=ocp.args.Composite(**wanted))
                return epochs_done, {name: restored[name] for name in template}
            except MemoryError:
                raise
            # A damaged file makes Orbax raise errors of many types.
            except Exception as error:
                if "RESOURCE_EXHAUSTED" in str(error):  # XLA has no type of its own for this
                    raise
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                place = f"{self._manager.directory}/{epochs_done}"
                log.warning(
                    "checkpoint %s cannot be read (%s); trying an earlier one", place, reason
                )
        return None


@contextmanager
def open_checkpoints(folder: Path) -> Iterator[Checkpoints]:
    """Opens the folder of one training's checkpoints, and makes it where it is missing."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    options = ocp.CheckpointManagerOptions(
        max_to_keep=_KEPT, create=True, enable_async_checkpointing=False
    )
    with ocp.CheckpointManager(folder.absolute(), options=options) as manager:
        yield Checkpoints(manager)
