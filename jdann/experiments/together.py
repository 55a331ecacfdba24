"""A run of several processes: they do the same work, and process 0 writes the work directory."""

import time
from pathlib import Path
from typing import Any

import jax

from jdann import __version__, configuration
from jdann.cluster import processes
from jdann.errors import InputError
from jdann.experiments import workdir

_APPEARS_S = 30.0  # a shared folder may show the files of another machine so much later


def check_same_run(config: Any, path: Path, **options: bool) -> None:
    """Refuses a run that was not started alike by all processes.

    Args:
      config: of the run.
      path: the work directory.
      options: of the command line, by name.

    Raises:
      InputError: names the keys that differ.
    """
    versions = {"the version of jdann": __version__, "the version of jax": jax.__version__}
    values = _flat("config", configuration.to_dict(config))
    options_by_name = {f"--{name}": value for name, value in options.items()}
    processes.check_same(
        {**versions, **values, **options_by_name, "--workdir": str(path.absolute())},
        "start all processes with the same jdann and the same command",
    )


def check_shared(path: Path) -> None:
    """Refuses a work directory that only process 0 sees.

    Raises:
      InputError: this process cannot read the config that process 0 has written.
    """
    file = path / workdir.CONFIG
    end = time.monotonic() + _APPEARS_S
    while not file.exists():
        if time.monotonic() > end:
            raise InputError(
                f"{path}: process {processes.index()} does not see what process 0 writes there; "
                "give a --workdir in a folder that all machines share"
            )
        time.sleep(0.2)


def _flat(name: str, value: Any) -> dict[str, Any]:
    """The values of nested dicts, by dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(f"{name}.{key}", inner)
    return flat
