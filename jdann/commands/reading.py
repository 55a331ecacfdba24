"""What several commands read from their arguments."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from jdann.errors import InputError
from jdann.files import default_data_dir

CONFIG_PREFIX = "--config."
# An option that was not given is None.
_Path = TypeVar("_Path", Path, None)


def expanded(path: _Path) -> _Path:
    """A path with `~` replaced by the home folder.

    Raises:
      InputError: there is no such user.
    """
    if path is None:
        return path
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: {error}") from error


def data_dir(arguments: Namespace) -> Path:
    """The folder of prepared corpora and cached features: that of TFDS where none is given."""
    return expanded(arguments.data_dir) or default_data_dir()


def overrides(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Key and value of each `--config.KEY=VALUE`.

    Raises:
      InputError: something else is among them.
    """
    pairs = []
    for argument in arguments:
        if not argument.startswith(CONFIG_PREFIX):
            raise InputError(
                f"{argument}: unknown option; keys of the config are set by --config.KEY=VALUE"
            )
        key, _, value = argument.removeprefix(CONFIG_PREFIX).partition("=")
        pairs.append((key, value))
    return pairs
