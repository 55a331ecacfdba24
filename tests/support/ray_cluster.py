"""A Ray cluster of several nodes on this machine, commands that use it, and its workers' deaths."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_STORE_BYTES = 100 * 2**20


@contextmanager
def nodes(count: int) -> Iterator[Any]:
    """A cluster of nodes with one CPU each; the first of them is the head."""
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "object_store_memory": _STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    try:
        for _ in range(count - 1):
            cluster.add_node(**options)
        yield cluster
    finally:
        cluster.shutdown()


def command(code: str, *words: object) -> subprocess.Popen[str]:
    """Starts the command line; `code` runs before it, in the same module."""
    program = f"{code}\nfrom jdann.cli import run_program\nrun_program()"
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def workers(cluster: Any) -> list[int]:
    """The processes of the cluster that hold an actor of Ray Data."""
    raylets = {
        info.process.pid
        for node in cluster.list_all_nodes()
        for info in node.all_processes.get("raylet", [])
    }
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            title = (folder / "cmdline").read_bytes()
        except (OSError, ValueError):  # it has ended meanwhile
            continue
        if parent in raylets and b"MapWorker" in title:
            found.append(int(folder.name))
    return sorted(found)


def kill(pid: int) -> None:
    """Ends a process of the cluster at once."""
    with suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(pid, signal.SIGKILL)
