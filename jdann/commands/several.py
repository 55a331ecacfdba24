"""The processes of one training, as the flags or a scheduler name them."""

import logging
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from jdann.cluster import processes
from jdann.cluster.places import find_place
from jdann.progress import silenced

log = logging.getLogger("jdann")


@contextmanager
def joined(arguments: Namespace) -> Iterator[bool]:
    """Connects this process with the others of its training, if there are any.

    Yields whether this process prints: the others print warnings only.
    """
    place = find_place(
        arguments.coordinator, arguments.processes, arguments.process_id, arguments.wait_s
    )
    if place is None:
        yield True
        return
    processes.join(place, arguments.wait_s)
    with processes.together(), ExitStack() as stack:
        if not processes.is_first():
            stack.enter_context(silenced())
            log.setLevel(logging.WARNING)
        yield processes.is_first()
    processes.leave()
