"""Reads audio files and prepares their samples: mix, resample, trim, level.

A file that cannot be used raises an `AudioError`, whose text is the reason. The caller decides
whether to skip the file, so that one broken file never ends a run.
Samples are float32 with full scale at 1.0, sample rates are in Hz.
"""

from jdann.audio.errors import AudioError, NoSpeech, Rejected, TooMuchAudio, rejected
from jdann.audio.preparation import (
    SHORTEST_S,
    SILENCE,
    TRIM_FRAME,
    TRIM_HOP,
    AudioSettings,
    Clip,
    mono,
    prepare,
    trim_bounds,
)
from jdann.audio.reading import decode, duration_s, read, windows

__all__ = [
    "SHORTEST_S",
    "SILENCE",
    "TRIM_FRAME",
    "TRIM_HOP",
    "AudioError",
    "AudioSettings",
    "Clip",
    "NoSpeech",
    "Rejected",
    "TooMuchAudio",
    "decode",
    "duration_s",
    "mono",
    "prepare",
    "read",
    "rejected",
    "trim_bounds",
    "windows",
]
