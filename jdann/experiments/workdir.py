"""What a run leaves in its work directory. Each file is written whole or not at all."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ml_collections import FrozenConfigDict

from jdann import configuration
from jdann.errors import InputError
from jdann.experiments.corpus_paths import absolute_values
from jdann.experiments.owner import LOCK
from jdann.files import PARTIAL, write_bytes, write_csv, write_json
from jdann.inference import model
from jdann.inference.pretrained import LAYERS

if TYPE_CHECKING:  # the features, which these import, stay unloaded
    from jdann.data.pairs import Direction, Domain

log = logging.getLogger("jdann")

SCHEMA = 1  # of results.json
CONFIG = "config.json"
RESULTS = "results.json"
CHECKPOINTS = "checkpoints"  # a folder for each training
FIGURES = "figures"
PREDICTIONS = "predictions.csv"
STUDY = "tune.db"  # of `jdann tune`, unless --storage names another database
EVALUATION = "evaluation"  # a folder for each corpus of `jdann evaluate --target`
LOG = "log.txt"
SKIPPED = "skipped.csv"
REPLACED = "replaced"  # the run that `--overwrite` replaces, until the new one is finished
# Everything that train, sweep, tune, evaluate and report write, except for the files that a new
# run has already written when it begins: the config, the log and the list of skipped files.
WRITTEN = (
    CHECKPOINTS,
    RESULTS,
    FIGURES,
    EVALUATION,
    model.FOLDER,
    "best.json",
    "best-*.json",
    "history.csv",
    "normalisation-*.npz",
    PREDICTIONS,
    "report.html",
    "sweep.csv",
    "tensorboard",
    "trials.csv",
    f"{STUDY}*",  # SQLite may keep a journal beside the database
    "worker-*.log",
)

_CONFIG_KEYS = {"source": str, "target": str, "emotions": list}
# Those that readers need, whichever command wrote the file.
_RESULT_KEYS = {"schema": int, "emotions": list, "directions": list, "protocol": str}


def check(path: Path, config: Any, resume: bool, overwrite: bool) -> None:
    """Refuses a work directory that holds something else than a run of a config. Changes nothing.

    Args:
      path: the work directory; it may be missing.
      config: of the run that is to begin or to continue.
      resume: whether a run of the same config may be continued.
      overwrite: whether any run may be replaced.

    Raises:
      InputError: the directory holds the run of another config, or something that is not a run, or
        a run of this config while neither `resume` nor `overwrite` is set.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; --workdir expects a folder")
    if path.exists() and not (path / CONFIG).exists() and any(map(_is_foreign, path.iterdir())):
        raise InputError(f"{path}: is not empty and holds no run of jdann; give another --workdir")
    finished = (path / RESULTS).exists()
    nothing_to_lose = not finished and not (path / CHECKPOINTS).exists()
    if overwrite or nothing_to_lose:
        return
    before = read_json(path / CONFIG)
    if isinstance(before, dict):  # earlier versions wrote relative paths
        before = absolute_values(before)
    wanted = absolute_values(configuration.to_dict(config))
    if before != wanted:
        raise InputError(
            f"{path}: holds a run of another config ({_difference(before, wanted)}); give another "
            "--workdir, or replace the run by --overwrite"
        )
    if not resume:
        state = "a finished" if finished else "an unfinished"
        raise InputError(
            f"{path}: holds {state} run of this config; continue it by --resume, or replace it by "
            "--overwrite"
        )


def begin(path: Path, config: Any) -> None:
    """Writes the config into a checked work directory.

    Args:
      path: the work directory, which exists.
      config: of the run.
    """
    write_json(path / CONFIG, absolute_values(configuration.to_dict(config)))
    (path / FIGURES).mkdir(exist_ok=True)


@contextmanager
def log_to(path: Path, name: str = LOG) -> Iterator[None]:
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


def _is_foreign(path: Path) -> bool:
    """Whether a file is none of those that a run writes before its config."""
    return path.name not in (LOG, SKIPPED, LAYERS, LOCK, REPLACED) and path.suffix != PARTIAL


def read_config(path: Path) -> FrozenConfigDict:
    """The config of the run in a work directory.

    Raises:
      InputError: there is no run.
    """
    if not (path / CONFIG).exists():
        raise InputError(f"{path}: no run of jdann here; expected a work directory with a {CONFIG}")
    config = read_json(path / CONFIG)
    _check_content(path / CONFIG, config, _CONFIG_KEYS, "the config of a run")
    return FrozenConfigDict(configuration.tuples(config))


def read_results(path: Path) -> dict[str, Any]:
    """The content of results.json of a finished run.

    Raises:
      InputError: the run is not finished, the file is damaged or by another version of jdann, or
        the folder is that of a sweep or a study.
    """
    results = read_json(path / RESULTS)
    _check_content(path / RESULTS, results, _RESULT_KEYS, "the outcome of a run")
    if results["schema"] != SCHEMA:
        raise InputError(
            f"{path / RESULTS}: has the form {results['schema']}, and this version of jdann knows "
            f"the form {SCHEMA}; read it by the version that wrote it, or write it anew by "
            "--resume"
        )
    check_kind(path, results)
    return results


def _check_content(file: Path, content: Any, kinds: dict[str, type], expected: str) -> None:
    """Raises InputError if a file of a run does not hold what every run writes."""
    remedy = "write it anew by --resume" if file.name == RESULTS else "train again by --overwrite"
    if not isinstance(content, dict):
        raise InputError(f"{file}: is not {expected}; {remedy}")
    for key, kind in kinds.items():
        if not isinstance(content.get(key), kind) or content[key] == []:
            problem = f"holds something else as {key}" if key in content else f"lacks {key}"
            raise InputError(
                f"{file}: is not {expected}, or another version of jdann wrote it ({problem}); "
                f"{remedy}"
            )


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
    """Refuses the work directory of `jdann sweep` or `jdann tune` where a trained run is wanted.

    Raises:
      InputError: names the command, and what can be trained.
    """
    kind = results.get("kind", "train")
    if kind != "train":
        raise InputError(
            f"{path}: was left by jdann {kind}; train what it chose by jdann train "
            f"--config {path}/best*.json, and give that run's work directory"
        )


def write_skipped(path: Path, domains: Sequence[Domain]) -> None:
    """Writes skipped.csv: every file that could not be used, and why."""
    rows = [
        (domain.corpus.name, skipped.file, skipped.reason)
        for domain in domains
        for skipped in domain.features.skipped
    ]
    write_csv(path / SKIPPED, ("corpus", "file", "reason"), rows)


def write_history(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes history.csv with the columns of all methods; a cell is empty where a method has none.

    Args:
      path: the file.
      rows: one dict per method, fold, seed and epoch.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_csv(path, columns, ([row.get(name) for name in columns] for row in rows))


def save_statistics(path: Path, directions: Sequence[Direction]) -> None:
    """Writes how both domains of each direction are normalised, to a file per direction.

    Args:
      path: the work directory. A file holds the groups, and the mean and deviation of each bin.
      directions: of the run.
    """
    for i, direction in enumerate(directions):
        arrays: dict[str, np.ndarray] = {}
        for domain, statistics in zip(("source", "target"), direction.statistics, strict=True):
            arrays[f"{domain}_groups"] = np.array(statistics.groups)
            arrays[f"{domain}_mean"], arrays[f"{domain}_std"] = statistics.mean, statistics.std
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        write_bytes(_statistics_file(path, i), buffer.getvalue())


def check_groups(path: Path, directions: Sequence[Direction]) -> None:
    """Refuses to go on with a run whose corpora would now be normalised in other groups.

    Args:
      path: the work directory; a direction whose file is missing is not checked.
      directions: of the same run, opened again.

    Raises:
      InputError: the groups differ. For example, the speaker encoder was there and is not now.
    """
    for i, direction in enumerate(directions):
        file = _statistics_file(path, i)
        if not file.exists():
            continue
        groups = _read_groups(file)
        for domain, before, now in zip(
            ("source", "target"), groups, direction.statistics, strict=True
        ):
            if before != now.groups:
                raise InputError(
                    f"{path}: the {domain} is normalised in other groups than when the run "
                    "began; is the speaker encoder in another place, or were speakers changed? "
                    "Train again by --overwrite"
                )


def _read_groups(file: Path) -> list[tuple[Any, ...]]:
    """The groups of source and target that a run began with."""
    try:
        # Opened here, because NumPy leaves a damaged file open.
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as saved:
            return [tuple(saved[f"{domain}_groups"]) for domain in ("source", "target")]
    except Exception as error:  # a foreign file makes NumPy raise errors of many types
        raise InputError(
            f"{file}: is damaged, so it is not known in which groups the run is normalised; "
            "train again by --overwrite"
        ) from error


def _statistics_file(path: Path, direction: int) -> Path:
    return path / f"normalisation-{direction}.npz"


def _difference(before: Any, wanted: Any, key: str = "config") -> str:
    """Names the first key at which two configs differ, and both values."""
    if isinstance(before, dict) and isinstance(wanted, dict):
        for name in (*wanted, *before):
            if before.get(name) != wanted.get(name):
                return _difference(before.get(name), wanted.get(name), f"{key}.{name}")
    return f"{key} is {before!r} there and {wanted!r} here"
