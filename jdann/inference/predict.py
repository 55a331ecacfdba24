"""`jdann predict`: files in, a row of probabilities for each out."""

import csv
import glob
import io
import json
import logging
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from jdann import files
from jdann.errors import InputError
from jdann.inference.recogniser import Part, Recogniser, audio_files
from jdann.progress import track

log = logging.getLogger("jdann")


class Item(NamedTuple):
    """Something to recognise, and the columns that its row begins with."""

    columns: dict[str, str]
    part: Part


class Options(NamedTuple):
    """What the command line says."""

    timeline: bool = False
    window_s: float = 3.0
    hop_s: float = 1.0
    abstain: float = 0.0  # where no emotion is as probable as this, none is named
    adapt: bool = False  # to each speaker's audio


def run(
    load: Callable[[], Recogniser],
    names: Sequence[str],
    options: Options,
    path: Path | None = None,
    as_json: bool = False,
) -> int:
    """The whole command.

    Args:
      load: gives the recogniser, once the names are known to stand for something.
      names: see `find_items`.
      options: what to do.
      path: of the csv to write; None: none.
      as_json: print JSON.

    Returns:
      The exit status: 0, or 1 where some files were left out.

    Raises:
      InputError: nothing can be recognised.
    """
    if not 0 <= options.abstain <= 1:
        raise InputError(f"--abstain {options.abstain}: expected a probability, 0 to 1")
    if path is not None and path.is_dir():
        raise InputError(f"--csv {path}: is a folder; give a file")
    items = find_items(names)
    if not items:
        raise InputError(f"{names[0]}: names no file; give audio files, or a csv with rows")
    rows, bad = predict(load(), items, options)
    if not rows:
        file, reason = bad[0]
        raise InputError(
            f"none of {len(bad)} files can be used, the first being {file} ({reason}); expected wav, flac, mp3 or ogg"
        )
    write(rows, path, as_json)
    return report(rows, bad)


def find_items(names: Sequence[str]) -> list[Item]:
    """What files, folders, patterns and csv files name, in order.

    A csv needs the column `file`, relative to the csv's folder, and may have `start` and `end` in s; all of its columns
    are kept.

    Raises:
      InputError: a name stands for nothing, or a csv has no column `file`.
    """
    items: list[Item] = []
    for name in names:
        path = Path(name)
        if path.suffix.lower() == ".csv" and path.is_file():
            items += _from_csv(path)
        elif path.is_dir():
            items += [Item({"file": os.fspath(file)}, Part(file)) for file in audio_files(path)]
        elif not path.exists() and glob.has_magic(name):
            found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207
            if not found:
                raise InputError(
                    f"{name}: matches no file; check the pattern and the working directory"
                )
            items += [Item({"file": file}, Part(file)) for file in found]
        else:
            items.append(Item({"file": name}, Part(name)))
    return items


def predict(
    recogniser: Recogniser, items: Sequence[Item], options: Options
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Recognises every item.

    Returns:
      Rows in the items' order: their columns, with a timeline `start` and `end` of each window, then `predicted` (empty
      where the recogniser abstains or nothing is heard), `confidence` and `p_<label>`; and the items that could not be
      used, file and reason.
    """
    bad: list[tuple[str, str]] = []
    rows: dict[int, list[dict[str, Any]]] = {}
    speakers: dict[str, list[int]] = {"": list(range(len(items)))}
    if options.adapt:
        speakers = {}
        for i, item in enumerate(items):
            speakers.setdefault(item.columns.get("speaker", ""), []).append(i)
    done = track(_all(recogniser, items, speakers, options, bad), "Recognising", _expected(items, options),
                 "windows" if options.timeline else "files")  # fmt: skip
    for i, more, probability in done:
        rows.setdefault(i, []).append(
            {**items[i].columns, **more, **_answer(recogniser.labels, probability, options.abstain)}
        )
    return [row for i in sorted(rows) for row in rows[i]], bad


def _all(
    recogniser: Recogniser,
    items: Sequence[Item],
    speakers: dict[str, list[int]],
    options: Options,
    bad: list[tuple[str, str]],
) -> Iterator[tuple[int, dict[str, Any], np.ndarray]]:
    """(item, further columns, probabilities) of all that can be used; the rest goes to `bad`."""
    for members in speakers.values():
        of_speaker = recogniser
        if options.adapt:
            usable = [
                items[i].part
                for i, row in recogniser.each(items[i].part for i in members)
                if not isinstance(row, str)
            ]
            if usable:
                of_speaker = recogniser.adapt(usable)
        if options.timeline:
            yield from _timelines(of_speaker, items, members, options, bad)
            continue
        for place, row in of_speaker.each(items[i].part for i in members):
            i = members[place]
            if isinstance(row, str):
                bad.append((items[i].columns["file"], row))
            else:
                yield i, {}, row


def _timelines(
    recogniser: Recogniser,
    items: Sequence[Item],
    members: list[int],
    options: Options,
    bad: list[tuple[str, str]],
) -> Iterator[tuple[int, dict[str, Any], np.ndarray]]:
    for i in members:
        item = items[i]
        if item.part.start_s or item.part.end_s is not None:
            raise InputError(
                f"{item.columns['file']}: a timeline is of whole files; leave out the columns start and end"
            )
        try:
            for start_s, end_s, row in recogniser.windows(
                item.part.path, options.window_s, options.hop_s
            ):
                yield i, {"start": f"{start_s:.3f}", "end": f"{end_s:.3f}"}, row
        except InputError as error:
            bad.append((item.columns["file"], str(error).removeprefix(f"{item.part.path}: ")))


def _answer(labels: tuple[str, ...], probability: np.ndarray, abstain: float) -> dict[str, Any]:
    if np.isnan(probability).any():
        return {
            "predicted": "",
            "confidence": "",
            **dict.fromkeys((f"p_{label}" for label in labels), ""),
        }
    best = int(probability.argmax())
    named = labels[best] if probability[best] >= abstain else ""
    chances = {f"p_{label}": float(p) for label, p in zip(labels, probability, strict=True)}
    return {"predicted": named, "confidence": float(probability[best]), **chances}


def write(rows: Sequence[dict[str, Any]], path: Path | None, as_json: bool) -> None:
    """Writes rows: as a csv to `path`, as JSON one object a line, or as a table to standard output."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_csv(path, columns, cells)
    if as_json:
        for row in rows:
            print(
                json.dumps(
                    {name: None if value == "" else value for name, value in row.items()},
                    ensure_ascii=False,
                )
            )
    elif path is None:
        shown = [[name.removeprefix("p_") for name in columns], *cells]
        width = [max(len(line[i]) for line in shown) for i in range(len(columns))]
        for line in shown:
            print("  ".join(text.ljust(width[i]) for i, text in enumerate(line)).rstrip())
    sys.stdout.flush()


def report(rows: Sequence[dict[str, Any]], bad: Sequence[tuple[str, str]]) -> int:
    """Says on standard error what could not be used; returns the exit status: 0, 1 where something was left out."""
    for file, reason in bad:
        print(f"left out: {file}: {reason}", file=sys.stderr)
    if bad:
        print(
            f"{len(bad)} of {len({row['file'] for row in rows}) + len(bad)} files were left out",
            file=sys.stderr,
        )
    if rows:
        counts = Counter(str(row["predicted"]) or "none" for row in rows)
        log.info(
            "%d rows: %s",
            len(rows),
            ", ".join(f"{name} {count}" for name, count in counts.most_common()),
        )
    return 1 if bad else 0


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _expected(items: Sequence[Item], options: Options) -> int | None:
    if not options.timeline:
        return len(items)
    total = 0
    for item in items:
        try:
            total += max(
                1,
                1
                + math.ceil(
                    (soundfile.info(os.fspath(item.part.path)).duration - options.window_s)
                    / options.hop_s
                ),
            )
        except (soundfile.SoundFileError, TypeError, OSError):
            continue
    return total


def _from_csv(path: Path) -> list[Item]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected a csv in UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if "file" not in (reader.fieldnames or ()):
        raise InputError(
            f"{path}: has no column file; found {', '.join(reader.fieldnames or ()) or 'none'}"
        )
    items = []
    for number, row in enumerate(reader, start=2):
        columns = {name: value or "" for name, value in row.items() if name is not None}
        try:
            start_s, end_s = (
                float(columns.get("start") or 0),
                float(columns["end"]) if columns.get("end") else None,
            )
        except ValueError:
            raise InputError(
                f"{path}, line {number}: start and end are not numbers; expected seconds"
            ) from None
        items.append(Item(columns, Part(path.parent / columns["file"], start_s, end_s)))
    return items
