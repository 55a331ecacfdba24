"""A connection with a Ray cluster, for the option `--on ray`."""

import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jdann.errors import InputError

_WAIT_S = 10.0  # for a cluster to answer
_PLACE = re.compile(r"(?:ray://)?\[?([^/\]]+?)\]?:(\d+)")  # host and port in an address


def parse_address(on: str) -> str | None:
    """The address in the option `--on`: "ray:ADDRESS"; None: "ray", the cluster of this machine.

    Raises:
      InputError: it is something else.
    """
    if on == "ray":
        return None
    engine, _, address = on.partition(":")
    if engine != "ray" or not address:
        raise InputError(
            f"--on {on}: expected ray, or ray: and the address of a cluster, such as "
            "ray:10.0.0.1:6379"
        )
    return on if address.startswith("//") else address  # ray://HOST:PORT is one address


@contextmanager
def connected(address: str | None, log_to_driver: bool = False) -> Iterator[Any]:
    """The module `ray`, connected to a cluster.

    Args:
      address: of the cluster; None: that of $RAY_ADDRESS, or one that runs on this machine, or a
        new one of this machine alone.
      log_to_driver: whether what the workers print is printed here.

    Raises:
      InputError: Ray is not installed, or there is no such cluster.
    """
    try:
        import ray  # here, because it takes a second to import and most people have no cluster
        import ray.data
    except ImportError as error:
        raise InputError(
            '--on ray needs Ray, which is not installed: pip install "jdann[cluster]"'
        ) from error
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or None
    try:
        _reach(address)
        ray.init(address=address, log_to_driver=log_to_driver, logging_level=logging.WARNING)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"--on ray{f':{address}' if address else ''}: no cluster answers ({reason}); start one "
            "by `ray start --head`, or correct the address"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str | None) -> None:
    """Raises an OSError if nobody listens at an address, for which Ray would wait very long."""
    match = _PLACE.fullmatch(address or "")
    if match is not None:
        socket.create_connection((match[1], int(match[2])), timeout=_WAIT_S).close()
