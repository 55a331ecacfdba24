"""Emotions over time: the windows of a recording, each recognised as a clip of its own."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jdann import audio
from jdann.errors import InputError
from jdann.features import speech_part
from jdann.inference import clips
from jdann.inference.batches import ClipOutputs, batch_outputs, padded_length
from jdann.inference.model import Adaptation
from jdann.inference.program import Programs


class Timeline(NamedTuple):
    """Emotions over time."""

    start_s: np.ndarray  # [windows] float64
    end_s: np.ndarray  # [windows] float64; the last window may be shorter
    probabilities: np.ndarray  # [windows, classes] float32; NaN where a window holds no speech


class Window(NamedTuple):
    """A part of a recording."""

    start_s: float
    end_s: float
    samples: np.ndarray | None  # prepared; None where the window holds no speech


def read_windows(
    recording: clips.Clip,
    window_s: float,
    hop_s: float,
    rate: clips.Rate,
    settings: audio.AudioSettings,
) -> Iterator[Window]:
    """Reads a recording window by window; of a file, only a part is in memory at a time.

    Args:
      recording: any kind of clip.
      window_s: length of a window, s.
      hop_s: from the beginning of one window to the beginning of the next, s.
      rate: of an array, Hz.
      settings: how audio is prepared; every window is prepared with an offset of 0.

    Raises:
      InputError: the recording, or one of the lengths, cannot be used.
    """
    longest_s = settings.max_duration_s
    if not audio.SHORTEST_S <= window_s <= longest_s:
        raise InputError(
            f"window_s is {window_s}; expected {audio.SHORTEST_S:g} to {longest_s:g} s, "
            "as in training"
        )
    if not hop_s > 0:
        raise InputError(f"hop_s is {hop_s}; expected more than 0 s")
    window_settings = settings._replace(offset_s=0.0)
    try:
        source: Any = recording
        if not isinstance(recording, (str, Path)):
            source, rate = clips.read_clip(recording, rate)
        for start_s, samples, rate_hz in audio.windows(source, window_s, hop_s, rate):
            try:
                prepared = speech_part.prepare(samples, rate_hz, window_settings).samples
            except audio.AudioError:  # no speech, or shorter than a syllable
                prepared = None
            yield Window(start_s, start_s + len(samples) / rate_hz, prepared)
    except audio.AudioError as error:
        raise InputError(f"{clips.clip_name(recording, 0)}: {error}") from error


def window_outputs(
    programs: Programs,
    adaptation: Adaptation,
    windows: Iterator[Window],
    window_s: float,
    keep_features: bool,
) -> Iterator[tuple[Window, ClipOutputs | None]]:
    """Each window with its outputs, or None where it holds no speech.

    Args:
      programs: programs of the model.
      adaptation: adaptation of the features.
      windows: from `read_windows`.
      window_s: length of a window, s.
      keep_features: whether the outputs hold the features.
    """
    rate_hz = programs.settings.sample_rate_hz
    size = padded_length(int(window_s * rate_hz), rate_hz)
    while batch := list(islice(windows, programs.batch)):
        speech = [(i, w.samples) for i, w in enumerate(batch) if w.samples is not None]
        outputs = dict(batch_outputs(programs, adaptation, speech, size, keep_features))
        for i, window in enumerate(batch):
            yield window, outputs.get(i)
