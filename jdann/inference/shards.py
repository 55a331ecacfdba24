"""Batch prediction: the rows of a long list of clips as one file per shard.

Each clip is in exactly one file. A file appears complete or not at all, and one that is there is
not computed again. The files have the same columns, in the same order.
"""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jdann import files, folders, locks
from jdann.cluster.ray_pool import work_through
from jdann.cluster.shards import (
    Shard,
    all_shards,
    check_same_count,
    finished_shards,
    numbers,
)
from jdann.errors import InputError
from jdann.inference.items import Item
from jdann.inference.options import Options
from jdann.inference.predict import predict
from jdann.inference.recogniser import Recogniser
from jdann.inference.rows import csv_cell, row_columns

LEFT_OUT = "left_out"  # the column that says why a clip could not be used
FORMATS = ("csv", "parquet")
_TASK = "task.json"  # what the files of a folder are about


class Batch(NamedTuple):
    """Clips to recognise in shards, and where their rows go."""

    items: Sequence[Item]
    options: Options
    folder: Path
    format: str  # one of FORMATS
    count: int  # of shards


class Part(NamedTuple):
    """The clips of one shard."""

    items: Sequence[Item]
    item_columns: tuple[str, ...]  # of all clips
    options: Options
    path: Path  # the file of its rows
    name: str  # for messages


def check_options(options: Options) -> None:
    """Refuses options by which the rows of a clip would depend on clips of other shards.

    Raises:
      InputError: names such an option.
    """
    if options.adapt or options.speakers_per_recording is not None:
        raise InputError(
            "--out: clips are recognised one by one; leave out --adapt, --one-speaker, "
            "--speaker-pattern and --speakers-per-recording"
        )


def begin(batch: Batch, recogniser: Recogniser) -> None:
    """Makes the folder, or finds that it is about the same clips, model and options.

    Raises:
      InputError: it holds the rows of something else, or of another number of shards.
    """
    batch.folder.mkdir(parents=True, exist_ok=True)
    check_same_count(finished_shards(batch.folder), batch.count, batch.folder)
    task = {
        "number of clips": len(batch.items),
        "format": batch.format,
        "model": _digest([recogniser.card.get("digest") or recogniser.card, recogniser.labels]),
        "list of clips": _digest(
            [[item.columns, list(map(str, item.part))] for item in batch.items]
        ),
        "options": _digest(batch.options._replace(data_dir=Path())),
        "number of shards": batch.count,
    }
    path = batch.folder / _TASK
    with locks.wait_and_hold(batch.folder / f".{_TASK}.lock", str(batch.folder), "begun it"):
        if not path.exists():
            files.write_json(path, task)
            return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        different = [name for name in task if before.get(name) != task[name]]
    except (OSError, ValueError, AttributeError):
        raise InputError(f"{path}: is damaged; choose another --out") from None
    if different:
        raise InputError(
            f"{batch.folder}: holds rows for another {', '.join(different)}; choose another --out, "
            "or remove this folder"
        )


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def part_of(batch: Batch, shard: Shard) -> Part:
    """What is recognised for a shard."""
    rows = shard.rows(len(batch.items))
    return Part(
        items=batch.items[rows.start : rows.stop],
        item_columns=tuple(dict.fromkeys(name for item in batch.items for name in item.columns)),
        options=batch.options,
        path=file_of(batch, shard),
        name=f"shard {shard}",
    )


def file_of(batch: Batch, shard: Shard) -> Path:
    """The file of a shard's rows."""
    return batch.folder / f"{shard.name}.{batch.format}"


def missing_shards(batch: Batch) -> list[Shard]:
    """The shards whose file is missing, in order."""
    return [shard for shard in all_shards(batch.count) if not file_of(batch, shard).exists()]


def predict_part(load: Callable[[], Recogniser], part: Part) -> None:
    """Writes the rows of a shard, if they are missing.

    While another process writes the same rows, this one waits.

    Args:
      load: returns the recogniser, which is not needed if the file is there.
      part: the clips.
    """
    lock = part.path.with_name(f".{part.path.name}.lock")
    with locks.wait_and_hold(lock, part.name, "recognised these clips") as alone:
        if part.path.exists():
            return
        for unfinished in part.path.parent.glob(f"{part.path.name}.*{files.PARTIAL}"):
            if alone:  # nobody else writes them, so a killed process has left them
                folders.remove(unfinished)
        recogniser = load()
        own = [*row_columns(recogniser.labels, part.options), LEFT_OUT]
        rows = _rows(recogniser, part, own)
        columns = list(dict.fromkeys([*part.item_columns, *own]))
        if part.path.suffix == ".parquet":
            _write_parquet(part.path, columns, rows, recogniser.labels)
        else:
            _write_csv(part.path, columns, rows)


def _rows(recogniser: Recogniser, part: Part, own: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of all clips in order; in that of a bad clip, `own` columns hold only the reason."""
    rows, bad = predict(recogniser, part.items, part.options)
    for clip in bad:
        left_out = part.items[clip.item].columns | dict.fromkeys(own, "")
        rows.setdefault(clip.item, []).append(left_out | {LEFT_OUT: clip.reason})
    return [{**row, LEFT_OUT: row.get(LEFT_OUT, "")} for i in sorted(rows) for row in rows[i]]


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    cells = [[csv_cell(row.get(name)) for name in columns] for row in rows]
    files.write_csv(path, columns, cells)


def _write_parquet(
    path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]], labels: Sequence[str]
) -> None:
    """Writes probabilities as numbers and everything else as text; an empty cell is null."""
    arrow, parquet = import_arrow()
    is_number = {"confidence", *(f"p_{label}" for label in labels)}
    arrays = {}
    for name in columns:
        values = (row.get(name) for row in rows)
        cells = [None if value is None or value == "" else value for value in values]
        if name in is_number:
            arrays[name] = arrow.array(cells, arrow.float32())
        else:
            texts = [None if cell is None else str(cell) for cell in cells]
            arrays[name] = arrow.array(texts, arrow.string())
    content = io.BytesIO()
    parquet.write_table(arrow.table(arrays), content)
    files.write_bytes(path, content.getvalue())


def import_arrow() -> tuple[Any, Any]:
    """The modules `pyarrow` and `pyarrow.parquet`.

    Raises:
      InputError: they are not installed.
    """
    try:
        import pyarrow  # here, because only this format needs it
        from pyarrow import parquet
    except ImportError as error:
        raise InputError('--format parquet needs: pip install "jdann[cluster]"') from error
    return pyarrow, parquet


def predict_on_ray(address: str | None, load: Callable[[], Recogniser], batch: Batch) -> None:
    """Writes the rows of all shards by the workers of a Ray cluster.

    Args:
      address: as for `jdann.cluster.ray_pool.work_through`.
      load: returns the recogniser, also in a worker; it can be pickled.
      batch: the clips, of which all paths are absolute.

    Raises:
      InputError: some shards could not be written.
    """

    def find_missing() -> list[Part]:
        return [part_of(batch, shard) for shard in missing_shards(batch)]

    reason = work_through(address, _Predictor(load), find_missing, "Recognising", "shards")
    if reason:
        missing = missing_shards(batch)
        raise InputError(
            f"{batch.folder}: {len(missing)} of {batch.count} shards are missing: "
            f"{numbers(missing)} ({reason}); the same command computes only these"
        )


class _Predictor:
    """Writes the rows of shards in a worker, which loads the recogniser once."""

    def __init__(self, load: Callable[[], Recogniser]):
        self._load = load
        self._recogniser: Recogniser | None = None

    def __call__(self, part: Part) -> None:
        predict_part(self._get, part)

    def _get(self) -> Recogniser:
        if self._recogniser is None:
            self._recogniser = self._load()
        return self._recogniser


def count_left_out(batch: Batch, shards: Sequence[Shard]) -> int:
    """How many clips of these shards could not be used, by their files."""
    count = 0
    for shard in shards:
        path = file_of(batch, shard)
        if batch.format == "parquet":
            column = import_arrow()[1].read_table(path, columns=[LEFT_OUT])[LEFT_OUT]
            count += len(column) - column.null_count
        else:
            with path.open(newline="", encoding="utf-8") as file:
                count += sum(bool(row[LEFT_OUT]) for row in csv.DictReader(file))
    return count
