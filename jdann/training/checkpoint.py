"""Checkpoints by Orbax: each is written whole or not at all, and the newest readable one is found again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_KEPT = 2  # the newest, and one in reserve should the newest be damaged
log = logging.getLogger("jdann")


class Checkpoints:
    """The checkpoints of one training, numbered by epochs done."""

    def __init__(self, manager: Any):
        self._manager = manager

    def save(self, epochs_done: int, items: dict[str, Any]) -> None:
        """Writes named pytrees of arrays; blocks until they are on disk."""
        import orbax.checkpoint as ocp

        saved = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        self._manager.save(epochs_done, args=ocp.args.Composite(**saved))
        self._manager.wait_until_finished()

    def drop_after(self, epochs_done: int) -> None:
        """Removes checkpoints of later epochs, which could not be read: their numbers are about to be written again."""
        for later in [number for number in self._manager.all_steps() if number > epochs_done]:
            self._manager.delete(later)

    def restore(self, template: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """The newest checkpoint that can be read.

        Args:
          template: the named pytrees wanted, all or some of those saved, with the shapes and dtypes of what was saved.

        Returns:
          Epochs done and the pytrees by name, or None where there is no checkpoint. A damaged one is named in the log, and the one
          before it is taken.
        """
        import orbax.checkpoint as ocp

        for epochs_done in sorted(self._manager.all_steps(), reverse=True):
            try:
                wanted = ocp.args.Composite(
                    **{name: ocp.args.StandardRestore(tree) for name, tree in template.items()}
                )
                restored = self._manager.restore(epochs_done, args=wanted)
                return epochs_done, {name: restored[name] for name in template}
            except MemoryError:
                raise
            except Exception as error:  # whatever a damaged file makes Orbax raise
                if "RESOURCE_EXHAUSTED" in str(error):
                    raise
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                log.warning(
                    "checkpoint %s/%d cannot be read (%s); looking for an earlier one",
                    self._manager.directory,
                    epochs_done,
                    reason,
                )
        return None


@contextmanager
def open_checkpoints(folder: Path) -> Iterator[Checkpoints]:
    """Opens, and makes where missing, the folder of one training's checkpoints."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(
        max_to_keep=_KEPT, create=True, enable_async_checkpointing=False
    )
    with ocp.CheckpointManager(folder.absolute(), options=options) as manager:
        yield Checkpoints(manager)
