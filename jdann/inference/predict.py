"""`jdann predict`: computes a row of probabilities for each audio file."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jdann import audio
from jdann.audio import AudioError, NoSpeech, Rejected
from jdann.corpora.no_person import known
from jdann.errors import InputError
from jdann.inference.answers import Answer
from jdann.inference.batches import ClipFeatures
from jdann.inference.clip_speakers import read_speakers
from jdann.inference.clips import Clip
from jdann.inference.items import Bad, Item, count_items, find_some_items
from jdann.inference.options import Options, check
from jdann.inference.recogniser import Recogniser
from jdann.inference.rows import make_row, report, write
from jdann.progress import track

log = logging.getLogger("jdann")


class ItemAnswer(NamedTuple):
    """The answer for an item, or for a window of it."""

    item: int  # position among the items
    columns: dict[str, str]  # start and end of a window
    answer: Answer


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
            f"none of {count_items(items)} can be used, the first being {bad[0].file} "
            f"({bad[0].reason}); expected wav, flac, mp3 or ogg"
        )
    write(rows, path, as_json)
    return report(rows, bad, items)


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
        row = make_row(recogniser.labels, answer, options)
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
