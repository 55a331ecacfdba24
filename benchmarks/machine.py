"""What the tables say about the machine: its processor, its load, the versions of packages."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path


def versions(packages: Iterable[str]) -> str:
    """The packages with their versions, separated by commas."""
    return ", ".join(f"{package} {version(package)}" for package in packages)


def is_installed(module: str) -> bool:
    """Whether a module can be imported. The module is not loaded."""
    return find_spec(module) is not None


def load_average() -> float:
    """The number of processes that ran or waited for a CPU in the last minute, on average."""
    return os.getloadavg()[0]


def python_and_packages(packages: Iterable[str]) -> str:
    """The versions of Python and of packages."""
    return f"Python {platform.python_version()}, {versions(packages)}"


def cpus(unit: str = "CPUs") -> str:
    """The architecture and the number of CPUs."""
    return f"{platform.machine()}, {os.cpu_count()} {unit}"


def processor_name() -> str:
    """The name of the CPU, or of the GPU if JAX uses one."""
    # Only one script asks for this name. The others need no JAX for their description.
    import jax

    if jax.default_backend() != "cpu":
        return jax.devices()[0].device_kind
    return f"{os.cpu_count()} cores of {_cpu_name()}"


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return platform.machine()
    lines = information.read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
