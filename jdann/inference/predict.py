"""`jdann predict`: computes a row of probabilities for each audio file."""

import glob
import json
import logging
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jdann import audio, files, remote
from jdann.audio import AudioError, NoSpeech, Rejected
from jdann.corpora.cells import audio_path
from jdann.corpora.folder import list_audio
from jdann.corpora.manifest import read_span
from jdann.corpora.no_person import known
from jdann.corpora.tables import SUFFIXES, read_table
from jdann.errors import InputError
from jdann.inference.answers import Answer
from jdann.inference.batches import ClipFeatures
from jdann.inference.clip_speakers import read_speakers
from jdann.inference.clips import Clip, Part
from jdann.inference.recogniser import Recogniser
from jdann.progress import track
from jdann.selection.prediction_sets import make_sets

log = logging.getLogger("jdann")
_NO_SPEECH = "no speech"  # shown for a clip that holds none; its cells in a csv are empty


class Item(NamedTuple):
    """A clip to recognise, and the first columns of its row."""

    columns: dict[str, str]
    part: Part

    @property
    def is_whole_file(self) -> bool:
        """Whether the clip is a file, not a part of one."""
        return self.part == Part(self.part.path)


class Bad(NamedTuple):
    """A clip that cannot be used."""

    item: int  # position among the items
    file: str
    reason: str


class ItemAnswer(NamedTuple):
    """The answer for an item, or for a window of it."""

    item: int  # position among the items
    columns: dict[str, str]  # start and end of a window
    answer: Answer


class Options(NamedTuple):
    """The options of the command line."""

    timeline: bool = False
    window_s: float = 3.0
    hop_s: float = 1.0
    abstain: float = 0.0  # if no emotion has at least this probability, none is named
    adapt: bool = False  # to each speaker
    one_speaker: bool = False  # with `adapt`: all clips are of one person
    speaker_pattern: str = ""  # with `adapt`: finds the speaker in the name of a file
    # With a timeline: number of people in each recording at most; None: do not tell people apart
    speakers_per_recording: int | None = None
    data_dir: Path = Path()  # where the speaker encoder is kept
    # Total probability of the emotions in the column `plausible`; None: there is no such column
    set_level: float | None = None


def run(
    load: Callable[[], Recogniser],
    names: Sequence[str],
    options: Options,
    path: Path | None = None,
    as_json: bool = False,
) -> int:
    """Runs the whole command.

    Args:
      load: returns the recogniser; it is called after the names have been checked.
      names: those of the command line, for `find_items`.
      options: those of the command line.
      path: the csv to write; None: none.
      as_json: whether to print JSON.

    Returns:
      The exit status: 0, or 1 if some clips were left out.

    Raises:
      InputError: nothing can be recognised.
    """
    check(options)
    if path is not None and path.is_dir():
        raise InputError(f"--csv {path}: is a folder; give a file")
    items = find_some_items(names)
    rows_of_item, bad = predict(load(), items, options)
    rows = [row for i in sorted(rows_of_item) for row in rows_of_item[i]]
    if not rows:
        raise InputError(
            f"none of {_count(items)} can be used, the first being {bad[0].file} "
            f"({bad[0].reason}); expected wav, flac, mp3 or ogg"
        )
    write(rows, path, as_json)
    return report(rows, bad, items)


def check(options: Options) -> None:
    """Refuses options of which a value cannot be.

    Raises:
      InputError: names the option.
    """
    if not 0 <= options.abstain <= 1:
        raise InputError(f"--abstain {options.abstain}: expected a probability, 0 to 1")
    if options.set_level is not None and not 0 < options.set_level <= 1:
        raise InputError(f"--sets {options.set_level}: expected a probability above 0, at most 1")
    if options.speakers_per_recording is not None and not options.timeline:
        raise InputError("--speakers-per-recording is for long recordings; add --timeline")


def find_some_items(names: Sequence[str]) -> list[Item]:
    """As `find_items`, but an empty list is refused.

    Raises:
      InputError: nothing is named.
    """
    items = find_items(names)
    if not items:
        raise InputError(f"{names[0]}: names no file; give audio files, or a csv with rows")
    return items


def find_items(names: Sequence[str]) -> list[Item]:
    """Finds the clips that are named by files, folders, patterns and csv files, in order.

    A csv needs the column `file`, a path relative to the csv's folder, or a URL. It may have the
    columns `start` and `end`, in s. All of its columns are kept. A file or a csv may be a URL.

    Raises:
      InputError: a pattern matches no file, or a csv is not a table of clips.
    """
    items: list[Item] = []
    for name in names:
        path = Path(name)
        if remote.is_url(name):
            items += _from_url(name)
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            items += _from_csv(path)
        elif path.is_dir():
            files, skipped = list_audio(path)
            # What nobody can read is tried too, so that the table says what was left out, and why.
            below = sorted([*files, *(file.file for file in skipped)])
            items += [Item({"file": os.fspath(path / file)}, Part(path / file)) for file in below]
        elif not path.exists() and glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207
            if not matches:
                raise InputError(
                    f"{name}: matches no file; check the pattern and the working directory"
                )
            items += [Item({"file": file}, Part(file)) for file in matches]
        else:
            items.append(Item({"file": name}, Part(name)))
    return items


def predict(
    recogniser: Recogniser, items: Sequence[Item], options: Options
) -> tuple[dict[int, list[dict[str, Any]]], list[Bad]]:
    """Recognises every item.

    Returns:
      The rows of each item, and the items that could not be used. A row has the item's
      columns; with a timeline, `start` and `end` of each window; then `predicted` (empty where the
      recogniser abstains or a clip holds no speech), `confidence`, `plausible` if it is wanted (the
      emotions of the set, the most probable one first), `p_<label>`, and `doubt` (a short reason to
      doubt the answer, or nothing). Without speech, all of these are empty.
    """
    bad: list[Bad] = []
    rows: dict[int, list[dict[str, Any]]] = {}
    answers = _answers(recogniser, items, options, bad)
    unit = "windows" if options.timeline else "files"
    for i, columns, answer in track(answers, "Recognising", _expected_rows(items, options), unit):
        row = _row(recogniser.labels, answer, options)
        rows.setdefault(i, []).append({**items[i].columns, **columns} | row)
    return rows, bad


def _answers(
    recogniser: Recogniser, items: Sequence[Item], options: Options, bad: list[Bad]
) -> Iterator[ItemAnswer]:
    """The answers for all items that can be used; the others are added to `bad`."""
    if options.speakers_per_recording is not None:
        yield from _recordings(recogniser, items, options, bad)
        return
    speakers = _speakers(recogniser, items, options) if options.adapt else {}
    adapted_items = {i for indices in speakers.values() for i in indices}
    others = [i for i in range(len(items)) if i not in adapted_items]
    if options.adapt and others:
        log.info(
            "%d of %d clips have no speaker in a column speaker or in their names; "
            "they are recognised as without --adapt",
            len(others),
            len(items),
        )
    if options.timeline:
        yield from _timelines(recogniser, items, others, options, bad)
    else:
        yield from _recognise(recogniser, items, {i: items[i].part for i in others}, bad)
    # Co-training learns from all speakers together. Without it, only one speaker's features are in
    # memory at a time.
    groups = list(speakers.values())
    for group in [groups] if recogniser.co_trains else [[indices] for indices in groups]:
        yield from _adapted(recogniser, items, group, options, bad)


def _adapted(
    recogniser: Recogniser,
    items: Sequence[Item],
    speakers: Sequence[Sequence[int]],
    options: Options,
    bad: list[Bad],
) -> Iterator[ItemAnswer]:
    """The answers for the items of each speaker, adapted to these speakers."""
    # The features of a clip serve for the speaker's statistics and for its answer.
    features: list[dict[int, ClipFeatures]] = [{} for _ in speakers]
    order = [(clips, i) for clips, own in zip(features, speakers, strict=True) for i in own]
    prepared = recogniser.prepare(items[i].part for _, i in order)
    if len(speakers) > 1:
        prepared = track(prepared, "Listening", len(order), "files")
    for (clips, i), clip in zip(order, prepared, strict=True):
        if not isinstance(clip, Rejected):
            clips[i] = recogniser.features(clip)
        elif options.timeline:  # it reads the whole file, and says why it cannot be used
            continue
        elif clip.no_speech:
            yield ItemAnswer(i, {}, recogniser.no_speech)
        else:
            bad.append(Bad(i, items[i].columns["file"], clip.reason))
    usable = [list(clips.values()) for clips in features if clips]
    recognisers = iter(recogniser.adapt_to_features(usable) if usable else ())
    for clips, indices in zip(features, speakers, strict=True):
        adapted = next(recognisers) if clips else recogniser
        if options.timeline:  # features are those of the beginning of a file only
            yield from _timelines(adapted, items, indices, options, bad)
            continue
        for i, clip_features in clips.items():
            yield ItemAnswer(i, {}, adapted.classify(clip_features))


def _speakers(
    recogniser: Recogniser, items: Sequence[Item], options: Options
) -> dict[str, list[int]]:
    """The positions of each speaker's items; items without a speaker are left out.

    Speakers are read from the column `speaker` or, if it is empty in all rows, from the file names.
    """
    if options.one_speaker:
        return {"": list(range(len(items)))}
    names: list[str | None] = [known(item.columns.get("speaker", "")) for item in items]
    if options.speaker_pattern or not any(names):
        parts = [item.part for item in items]
        files = [item.columns["file"] for item in items]
        names = read_speakers(recogniser, files, parts, options.speaker_pattern)
    speakers: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        if name:
            speakers.setdefault(name, []).append(i)
    return speakers


def _recognise(
    recogniser: Recogniser, items: Sequence[Item], clips: Mapping[int, Clip], bad: list[Bad]
) -> Iterator[ItemAnswer]:
    """The answers for clips, which are given by the position of their item."""
    indices = list(clips)
    for position, answer in recogniser.answers(clips.values()):
        i = indices[position]
        if isinstance(answer, Rejected):
            bad.append(Bad(i, items[i].columns["file"], answer.reason))
        else:
            yield ItemAnswer(i, {}, answer)


def _timelines(
    recogniser: Recogniser,
    items: Sequence[Item],
    indices: Sequence[int],
    options: Options,
    bad: list[Bad],
) -> Iterator[ItemAnswer]:
    """The answers for each window of the items at `indices`."""
    for i in indices:
        file, path = items[i].columns["file"], items[i].part.path
        _check_whole(items[i])
        try:
            windows = recogniser.window_answers(path, options.window_s, options.hop_s)
            for start_s, end_s, answer in windows:
                yield ItemAnswer(i, {"start": f"{start_s:.3f}", "end": f"{end_s:.3f}"}, answer)
        except InputError as error:
            bad.append(Bad(i, file, str(error).removeprefix(f"{path}: ")))


def _recordings(
    recogniser: Recogniser, items: Sequence[Item], options: Options, bad: list[Bad]
) -> Iterator[ItemAnswer]:
    """The answers for each utterance of long recordings, with the person who speaks."""
    # These import scikit-learn and, for the speaker encoder, Flax, which takes long.
    from jdann.inference.recordings import find_voice_reader, recognise
    from jdann.speakers.recordings import read_recording

    speakers, longest_s = options.speakers_per_recording, recogniser.audio_settings.max_duration_s
    assert speakers is not None
    voices = find_voice_reader(speakers, options.data_dir)
    for i, item in enumerate(items):
        _check_whole(item)
        try:
            recording = read_recording(Path(item.part.path), longest_s, speakers, voices)
            for prediction in recognise(recogniser, recording, "all" if options.adapt else "no"):
                columns = {
                    "speaker": prediction.speaker,
                    "start": f"{prediction.start_s:.2f}",
                    "end": f"{prediction.end_s:.2f}",
                }
                yield ItemAnswer(i, columns, prediction.answer)
        except NoSpeech:
            yield ItemAnswer(i, {"speaker": "", "start": "", "end": ""}, recogniser.no_speech)
        except AudioError as error:
            bad.append(Bad(i, item.columns["file"], str(error)))


def _check_whole(item: Item) -> None:
    if not item.is_whole_file:
        raise InputError(
            f"{item.columns['file']}: a timeline is of whole files; leave out the columns start "
            "and end"
        )


def row_columns(labels: tuple[str, ...], options: Options) -> list[str]:
    """The columns of a row after those of its item."""
    times = ["start", "end"] if options.timeline else []
    return [*times, *_answer_columns(labels, options)]


def _answer_columns(labels: tuple[str, ...], options: Options) -> list[str]:
    plausible = [] if options.set_level is None else ["plausible"]
    return ["predicted", "confidence", *plausible, *(f"p_{label}" for label in labels), "doubt"]


def _row(labels: tuple[str, ...], answer: Answer, options: Options) -> dict[str, Any]:
    """The columns of one answer; all of them are empty if there are no probabilities."""
    probabilities = answer.probabilities
    if np.isnan(probabilities).any():
        return dict.fromkeys(_answer_columns(labels, options), "")
    order = np.argsort(-probabilities, kind="stable")
    best = int(order[0])
    row: dict[str, Any] = {
        "predicted": labels[best] if probabilities[best] >= options.abstain else "",
        "confidence": float(probabilities[best]),
    }
    if options.set_level is not None:
        (chosen,) = make_sets(probabilities[None], options.set_level)
        row["plausible"] = " ".join(labels[i] for i in order if chosen[i])
    row |= {f"p_{label}": float(p) for label, p in zip(labels, probabilities, strict=True)}
    return row | {"doubt": answer.doubt}


def write(rows: Sequence[dict[str, Any]], path: Path | None, as_json: bool) -> None:
    """Writes rows as a csv to `path`, and prints them as JSON or, without a path, as a table."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[csv_cell(row.get(name)) for name in columns] for row in rows]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_csv(path, columns, cells)
    if as_json:
        for row in rows:
            values = {name: None if value == "" else value for name, value in row.items()}
            print(json.dumps(values, ensure_ascii=False))
    elif path is None:
        shown = [
            [
                _NO_SPEECH if name == "predicted" and row["confidence"] == "" else cell
                for name, cell in zip(columns, line, strict=True)
            ]
            for row, line in zip(rows, cells, strict=True)
        ]
        lines = [[name.removeprefix("p_") for name in columns], *shown]
        width = [max(len(line[i]) for line in lines) for i in range(len(columns))]
        for line in lines:
            print("  ".join(text.ljust(width[i]) for i, text in enumerate(line)).rstrip())
    sys.stdout.flush()


def report(rows: Sequence[dict[str, Any]], bad: Sequence[Bad], items: Sequence[Item]) -> int:
    """Prints to standard error which items could not be used.

    Returns:
      The exit status: 0, or 1 if some were left out.
    """
    for _, file, reason in bad:
        print(f"left out: {file}: {reason}", file=sys.stderr)
    if bad:
        print(f"{len(bad)} of {_count(items)} were left out", file=sys.stderr)
    if rows:
        counts = Counter(
            _NO_SPEECH if row["confidence"] == "" else str(row["predicted"]) or "none"
            for row in rows
        ).most_common()
        text = ", ".join(f"{name} {count}" for name, count in counts)
        log.info("%d rows: %s", len(rows), text)
    return 1 if bad else 0


def _count(items: Sequence[Item]) -> str:
    """The number of clips as text; they are called files if all of them are whole files."""
    return f"{len(items)} {'files' if all(item.is_whole_file for item in items) else 'clips'}"


def csv_cell(value: Any) -> str:
    """A value as the text of a cell."""
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _expected_rows(items: Sequence[Item], options: Options) -> int:
    """About how many rows there will be, for the progress bar."""
    if not options.timeline:
        return len(items)
    rows = 0
    for item in items:
        duration_s = audio.duration_s(item.part.path)
        if duration_s is not None:
            rows += max(1, 1 + math.ceil((duration_s - options.window_s) / options.hop_s))
    return rows


def _from_url(url: str) -> list[Item]:
    if Path(url).suffix.lower() not in SUFFIXES:
        return [Item({"file": url}, Part(url))]
    try:
        with remote.local_copy(url) as copy:
            return _from_csv(copy, remote.parent(url))
    except remote.RemoteError as error:
        raise InputError(f"{url}: {error}; expected a csv with a column named file") from error


def _from_csv(path: Path, folder: str | None = None) -> list[Item]:
    """The clips of a table, whose paths are relative to a folder or URL, by default its own."""
    folder = folder or os.path.abspath(path.parent)  # noqa: PTH100
    table = read_table(path)
    items = []
    for line, row in zip(table.lines, table.rows, strict=True):
        start_s, end_s = read_span(path, line, row)
        audio = audio_path(folder, row["file"])
        path_or_url = audio if remote.is_url(audio) else Path(audio)
        items.append(Item(row, Part(path_or_url, start_s, end_s)))
    return items
