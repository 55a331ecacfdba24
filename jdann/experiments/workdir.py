"""What a run leaves in its work directory. Every file appears whole or not at all."""

from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jdann import configuration
from jdann.errors import InputError
from jdann.files import PARTIAL, write_bytes, write_csv, write_json

if TYPE_CHECKING:  # else writing a csv would import the features
    from jdann.data.pairs import Direction, Domain

_LEFT = ("checkpoints", "results.json", "predictions.csv", "history.csv", "figures", "tensorboard", "evaluation",
         "report.html", "sweep.csv", "best-*.json", "normalisation-*.npz")  # fmt: skip
log = logging.getLogger("jdann")
tuples = configuration.tuples


def check(path: Path, config: Any, resume: bool, overwrite: bool) -> None:
    """Refuses a work directory that holds something else than a config's run. Changes nothing.

    Raises:
      InputError: the directory holds another config's run, or a run of this one and neither `resume` nor `overwrite` is
        given, or something that is no run.
    """
    mine = configuration.to_dict(config)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; --workdir expects a folder")
    if (
        path.exists()
        and not (path / "config.json").exists()
        and any(_foreign(p) for p in path.iterdir())
    ):
        raise InputError(f"{path}: is not empty and holds no run of jdann; give another --workdir")
    if overwrite:
        return
    if (path / "checkpoints").exists() or (
        path / "results.json"
    ).exists():  # else there is nothing to lose
        theirs = read_json(path / "config.json")
        if theirs != mine:
            raise InputError(
                f"{path}: holds a run of another config ({_difference(theirs, mine)}); give another --workdir, or replace the "
                "run by --overwrite"
            )
        if not resume:
            state = "a finished" if (path / "results.json").exists() else "an unfinished"
            raise InputError(
                f"{path}: holds {state} run of this config; continue it by --resume, or replace it by --overwrite"
            )


def begin(path: Path, config: Any, overwrite: bool) -> None:
    """Marks a checked work directory as a config's own; `overwrite` removes what an earlier run left."""
    for part in (p for name in _LEFT for p in path.glob(name)) if overwrite else ():
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
    write_json(path / "config.json", configuration.to_dict(config))
    (path / "figures").mkdir(exist_ok=True)


@contextmanager
def log_to(path: Path, name: str = "log.txt") -> Iterator[None]:
    """Makes a work directory and appends what is logged to a file in it."""
    path.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(path / name, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(file)
    try:
        yield
    finally:
        log.removeHandler(file)
        file.close()


def _foreign(path: Path) -> bool:
    """True for what no run of jdann leaves before its config.json."""
    return path.name not in ("log.txt", "skipped.csv") and path.suffix != PARTIAL


def read_config(path: Path) -> Any:
    """The config of the run in a work directory.

    Raises:
      InputError: there is no run there.
    """
    from ml_collections import FrozenConfigDict

    if not (path / "config.json").exists():
        raise InputError(
            f"{path}: no run of jdann here; expected a work directory with a config.json"
        )
    return FrozenConfigDict(tuples(read_json(path / "config.json")))


def read_json(path: Path) -> Any:
    """Reads a JSON file of a run.

    Raises:
      InputError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path}: is missing; run the training first, or continue it by --resume"
        ) from None
    except ValueError as error:
        raise InputError(
            f"{path}: is damaged ({error}); run the training again by --overwrite"
        ) from None


def check_kind(path: Path, results: dict[str, Any]) -> None:
    """Refuses what `jdann sweep` or `jdann tune` left where a trained run is wanted.

    Raises:
      InputError: names the command, and what can be trained.
    """
    kind = results.get("kind", "train")
    if kind != "train":
        raise InputError(
            f"{path}: was left by jdann {kind}; train what it chose by jdann train --config {path}/best*.json, and give that"
        )


def write_skipped(path: Path, domains: Sequence[Domain]) -> None:
    """Writes skipped.csv: every file that could not be used, and why."""
    rows = [
        (domain.corpus.name, s.file, s.reason)
        for domain in domains
        for s in domain.features.skipped
    ]
    write_csv(path / "skipped.csv", ("corpus", "file", "reason"), rows)


def write_history(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes history.csv: the columns of all methods, empty where one has no such value."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_csv(path, columns, ([row.get(name) for name in columns] for row in rows))


def save_statistics(path: Path, direction: Direction) -> None:
    """Writes the normalisation of both domains: groups, and mean and standard deviation of every bin."""
    arrays: dict[str, np.ndarray] = {}
    for domain, statistics in zip(("source", "target"), direction.statistics, strict=True):
        arrays[f"{domain}_groups"] = np.array(statistics.groups)
        arrays[f"{domain}_mean"], arrays[f"{domain}_std"] = statistics.mean, statistics.std
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())


def _difference(theirs: Any, mine: Any, key: str = "config") -> str:
    if isinstance(theirs, dict) and isinstance(mine, dict):
        for name in (*mine, *theirs):
            if theirs.get(name) != mine.get(name):
                return _difference(theirs.get(name), mine.get(name), f"{key}.{name}")
    return f"{key} is {theirs!r} there and {mine!r} here"
