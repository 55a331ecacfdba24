"""Keeps a run that is overwritten until the new one is finished, so that no failure loses both."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jdann.experiments import workdir
from jdann.experiments.owner import owned
from jdann.experiments.workdir import CHECKPOINTS, CONFIG, REPLACED, RESULTS, SKIPPED, WRITTEN
from jdann.files import PARTIAL

_MOVING = REPLACED + PARTIAL  # the folder's name until all files have been moved into it
log = logging.getLogger("jdann")


@contextmanager
def working_in(path: Path, config: Any, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Owns a work directory for a run, writes its log there, and keeps what it replaces.

    Args:
      path: the work directory; it may be missing.
      config: of the run.
      resume: whether the run in `path` is continued.
      overwrite: whether it is replaced.

    Raises:
      InputError: another run works in `path`, or what is there is in the way.
    """
    with owned(path):
        put_back(path)
        workdir.check(path, config, resume, overwrite)
        with workdir.log_to(path), replacing(path, overwrite):
            yield


def put_back(path: Path) -> None:
    """Puts a run back that was moved aside for a run which then wrote no checkpoint.

    Args:
      path: the work directory; this process owns it.
    """
    aside, moving = path / REPLACED, path / _MOVING
    # Orbax writes a checkpoint under another name, then renames it to its number.
    saved = any(entry.name.isdigit() for entry in path.glob(f"{CHECKPOINTS}/*/*"))
    if aside.is_dir() and not saved and not (path / RESULTS).exists():
        _remove_run(path)
        aside.rename(moving)
    if moving.is_dir():
        _move(list(moving.iterdir()), path)
        moving.rmdir()


@contextmanager
def replacing(path: Path, overwrite: bool) -> Iterator[None]:
    """Moves the run in a work directory aside, and removes it when the new run is finished.

    If the new run fails before its first checkpoint, the old run is put back. If it fails later,
    the new run can be continued, and the old one stays in the folder `replaced`.

    Args:
      path: the work directory; this process owns it.
      overwrite: whether the run is to be replaced. False: an earlier `--overwrite` is continued.
    """
    try:
        if overwrite:
            _set_aside(path)
        yield
    except BaseException:
        with suppress(OSError):  # the first error tells the user more
            put_back(path)
        raise
    shutil.rmtree(path / REPLACED, ignore_errors=True)


def _set_aside(path: Path) -> None:
    aside, moving = path / REPLACED, path / _MOVING
    if aside.is_dir():
        if not (path / RESULTS).exists():  # what is replaced now was never finished
            _remove_run(path)
            return
        shutil.rmtree(aside)
    files = _run_files(path)
    if not files:
        return
    moving.mkdir()
    _move(files, moving)
    moving.rename(aside)
    log.info("the run before is kept in %s until this one is finished", aside)


def _run_files(path: Path) -> list[Path]:
    """The files and folders of a run, except for its log, which the new run continues."""
    patterns = (*WRITTEN, CONFIG, SKIPPED, f"*{PARTIAL}")
    files = dict.fromkeys(file for pattern in patterns for file in path.glob(pattern))
    return [file for file in files if file.name != _MOVING]


def _move(files: list[Path], folder: Path) -> None:
    for file in files:
        file.rename(folder / file.name)


def _remove_run(path: Path) -> None:
    for file in _run_files(path):
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)
