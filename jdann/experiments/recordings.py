"""Writes the utterances of long recordings as a manifest, and their emotions as a timeline."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jdann import files
from jdann.figures import plots, timeline
from jdann.inference.recogniser import Recogniser
from jdann.inference.recordings import RecordingSet, UtterancePrediction, recognise
from jdann.progress import track
from jdann.speakers.recordings import Recording

UTTERANCES, TIMELINE, SKIPPED = "utterances.csv", "timeline.csv", "skipped.csv"
FIGURES = "figures"


def write_utterances(recording_set: RecordingSet, output: Path) -> Path:
    """Writes the utterances as a manifest, and the list of recordings that cannot be used.

    The name of a speaker consists of the recording and of the person's name in it, such as
    "call.wav left".

    Args:
      recording_set: from `jdann.inference.recordings.find_utterances`.
      output: the folder to write to; it is created if it does not exist.

    Returns:
      The manifest, with the columns file, start, end and speaker.
    """
    output.mkdir(parents=True, exist_ok=True)
    rows = []
    for recording, name in zip(recording_set.recordings, recording_set.names, strict=True):
        file = os.path.relpath(recording.path, output)
        for (start_s, end_s), speaker in zip(recording.utterances, recording.speaker, strict=True):
            rows.append((file, f"{start_s:.2f}", f"{end_s:.2f}", f"{name} {speaker}"))
    files.write_csv(output / UTTERANCES, ("file", "start", "end", "speaker"), rows)
    files.write_csv(
        output / SKIPPED, ("recording", "reason"), (s[:2] for s in recording_set.skipped)
    )
    return output / UTTERANCES


def write_timeline(
    recording_set: RecordingSet,
    recogniser: Recogniser,
    output: Path,
    adapt: Literal["normalisation", "all"],
) -> list[dict[str, Any]]:
    """Recognises all utterances, adapted to each person, and writes a table and figures.

    Args:
      recording_set: from `jdann.inference.recordings.find_utterances`.
      recogniser: a trained recogniser.
      output: the folder to write to.
      adapt: "normalisation" for a recogniser that was trained on these recordings, "all" for
        another one: see `jdann.inference.recordings.recognise`.

    Returns:
      The rows of timeline.csv: recording, speaker, start_s, end_s, emotion, confidence, the
      probability of each label, and doubt: a short reason to doubt the answer. An utterance that
      cannot be used has an empty emotion.
    """
    rows: list[dict[str, Any]] = []
    pairs = zip(recording_set.recordings, recording_set.names, strict=True)
    for recording, name in track(pairs, "Recognising", len(recording_set.names), "recordings"):
        predictions = recognise(recogniser, recording, adapt)
        rows += _rows(name, predictions, recogniser.labels)
        _draw(recording, name, predictions, recogniser.labels, output / FIGURES)
    files.write_csv(output / TIMELINE, list(rows[0]), (list(row.values()) for row in rows))
    return rows


def _rows(
    name: str, predictions: list[UtterancePrediction], labels: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    for speaker, start_s, end_s, (probabilities, doubt) in predictions:
        is_usable = bool(np.isfinite(probabilities).all())
        best = int(probabilities.argmax()) if is_usable else 0  # all cells are empty then
        cells = [f"{p:.6f}" if is_usable else "" for p in probabilities]
        yield {
            "recording": name,
            "speaker": speaker,
            "start_s": f"{start_s:.2f}",
            "end_s": f"{end_s:.2f}",
            "emotion": labels[best] if is_usable else "",
            "confidence": cells[best],
            **{f"p_{label}": cell for label, cell in zip(labels, cells, strict=True)},
            "doubt": doubt,
        }


def _draw(
    recording: Recording,
    name: str,
    predictions: list[UtterancePrediction],
    labels: tuple[str, ...],
    folder: Path,
) -> None:
    """Draws the timeline of a recording, and saves it as a PNG with the name of the recording."""
    stretches = [
        timeline.Stretch(speaker, start_s, end_s, labels[int(probabilities.argmax())])
        for speaker, start_s, end_s, (probabilities, _) in predictions
        if np.isfinite(probabilities).all()
    ]
    figure = timeline.emotions_over_time(stretches, recording.duration_s, name)
    plots.save(figure, folder / f"{name.replace(os.sep, '-')}.png")
