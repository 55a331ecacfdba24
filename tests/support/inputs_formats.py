"""The tables of formats: which audio files are read, and what is said of the others."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import numpy as np
import soundfile

from jdann import audio, ffmpeg
from jdann.audio.formats import FORMATS
from jdann.corpora.suffixes import AUDIO, OTHER_AUDIO
from tests.support.markdown import table

RATES_HZ = (8000, 16000, 22050, 44100, 48000, 192000)
CHANNELS = (1, 2, 6)
_DURATION_S = 0.3
# libsndfile's name of each format, with its usual suffixes. It has more, which hold no speech.
SUFFIXES = {
    "WAV": (".wav",),
    "WAVEX": (".wav",),
    "RF64": (".wav", ".rf64"),
    "W64": (".w64",),
    "AIFF": (".aiff", ".aif"),
    "CAF": (".caf",),
    "AU": (".au",),
    "FLAC": (".flac",),
    "MP3": (".mp3",),
    "OGG": (".ogg", ".oga", ".opus"),
    "NIST": (".sph",),
    "VOC": (".voc",),
    "IRCAM": (".sf",),
    "RAW": (".raw",),
}
_NAMES = {
    "WAV": "wav",
    "WAVEX": "wav, extensible",
    "RF64": "wav above 4 GiB (RF64)",
    "NIST": "NIST Sphere",
    "IRCAM": "IRCAM",
    "VOC": "voc",
    "RAW": "samples without a header",
}
CODERS = {
    ".m4a": ("aac",),
    ".mp4": ("aac",),
    ".m4b": ("aac",),
    ".mov": ("aac", "pcm_s16be"),
    ".3gp": ("aac",),
    ".aac": ("aac",),
    ".webm": ("libopus", "libvorbis"),
    ".mkv": ("pcm_s16le", "flac"),
    ".wma": ("wmav2",),
    ".wv": ("wavpack",),
    ".avi": ("pcm_s16le", "libmp3lame"),
}


def draw_formats(folder: Path) -> str:
    """Draws the table of what libsndfile reads."""
    titles: dict[tuple[str, str, str], list[str]] = {}
    for name, suffixes in SUFFIXES.items():
        codings: dict[tuple[str, str], list[str]] = {}
        for coding in soundfile.available_subtypes(name):
            measured = _measure(folder / f"a{suffixes[0]}", name, coding)
            if measured is not None:
                codings.setdefault(measured, []).append(coding)
        read = [f"{_codings(c)} ({p})" for (p, message), c in codings.items() if not message]
        refused: dict[str, list[str]] = {}
        for (_, message), c in codings.items():
            if message:
                refused.setdefault(message, []).append(_codings(c))
        listed = ", ".join(suffix for suffix in suffixes if suffix in AUDIO) or "no"
        messages = "; ".join(
            f"{', '.join(texts) if read else 'all'}: {message}"
            for message, texts in refused.items()
        )
        cells = (listed, "; ".join(read), messages)
        titles.setdefault(cells, []).append(_NAMES.get(name, name.lower()))
    header = ("format", "found in folders", "codings that are read (channels; rates)", "refused")
    return table(header, [(", ".join(names), *cells) for cells, names in titles.items()])


def _codings(names: list[str]) -> str:
    """Codings in plain words."""
    texts = [name.replace("PCM_", "").replace("_", " ").lower() for name in names]
    texts = list(dict.fromkeys("8" if text in ("s8", "u8") else text for text in texts))
    bits = sorted((text for text in texts if text.isdigit()), key=int)
    others = [text for text in texts if not text.isdigit()]
    return ", ".join(([f"{', '.join(bits)} bits"] if bits else []) + others)


def _measure(path: Path, name: str, coding: str) -> tuple[str, str] | None:
    """Which channels and rates of a coding are read, and the message of those that are not.

    Returns:
      None if libsndfile does not write such files.
    """
    outcomes = {}
    for rate_hz, channels in [(r, 1) for r in RATES_HZ] + [(16000, c) for c in CHANNELS[1:]]:
        signal = _signal(rate_hz, channels)
        path.unlink(missing_ok=True)
        try:
            soundfile.write(path, signal, rate_hz, format=name, subtype=coding)
        except (soundfile.SoundFileError, ValueError, TypeError, AssertionError):
            continue  # the format does not allow this
        outcomes[rate_hz, channels] = _outcome(path, signal, rate_hz)
    if not outcomes:
        return None
    read = [place for place, outcome in outcomes.items() if outcome == "read"]
    messages = sorted({outcome for outcome in outcomes.values() if outcome != "read"})
    rates_hz = sorted({rate_hz for rate_hz, _ in read})
    channels = ", ".join(sorted({str(count) for _, count in read}))
    if len(rates_hz) < len(RATES_HZ):
        channels += f"; {', '.join(f'{rate_hz / 1000:g}' for rate_hz in rates_hz)} kHz"
    return channels, "; ".join(messages)


def _signal(rate_hz: int, channels: int) -> np.ndarray:
    """A tone [samples, channels] that is softer in later channels."""
    time = np.arange(round(_DURATION_S * rate_hz)) / rate_hz
    tone = 0.4 * np.sin(2 * np.pi * 300 * time)
    return tone[:, None] / np.arange(1, channels + 1)


def _outcome(path: Path, signal: np.ndarray, rate_hz: int) -> str:
    """ "read" if the file holds the signal, else the message."""
    try:
        samples, read_hz = audio.read(path)
    except audio.AudioError as error:
        return f"“{error}”"
    samples = samples.reshape(len(samples), -1)
    length_s, expected_s = len(samples) / read_hz, len(signal) / rate_hz
    power, expected = np.square(samples).mean(), np.square(signal).mean()
    # Coders add silence at both ends, which is why only a rough likeness is required.
    is_same = (
        samples.shape[1] == signal.shape[1]
        and abs(length_s - expected_s) < 0.15
        and 0.5 < power * length_s / (expected * expected_s) < 1.5
    )
    return "read" if is_same else "read otherwise"


def draw_ffmpeg(folder: Path) -> str:
    """Draws the table of what ffmpeg reads, and what is said without it."""
    program = ffmpeg.find()
    if program is None:
        raise RuntimeError("these tables need ffmpeg: pip install 'jdann[formats]'")
    signal = _signal(48000, 2)
    soundfile.write(folder / "a.wav", signal, 48000)
    names: dict[tuple[str, str], list[str]] = {}
    for suffix, coders in CODERS.items():
        for coder in coders:
            path = folder / f"{coder}{suffix}"
            command = [program, "-v", "error", "-y", "-i", folder / "a.wav", "-c:a", coder, path]
            subprocess.run(command, check=True)
            with mock.patch.object(ffmpeg, "find", lambda: None):
                without = _outcome(path, signal, 48000)
            outcomes = _outcome(path, signal, 48000), without
            names.setdefault(outcomes, []).append(f"{suffix} ({coder})")
    rows = [(", ".join(files), *outcomes) for outcomes, files in names.items()]
    untested = ", ".join(sorted(OTHER_AUDIO - set(CODERS)))
    rows.append((f"{untested}: not measured, because ffmpeg does not write them", "", ""))
    return table(("format (coding)", "with ffmpeg", "without"), rows)


def draw_no_audio(folder: Path) -> str:
    """Draws the table of files that are no audio."""
    starts = {
        "Git LFS": b"version https://git-lfs.github.com/spec/v1\n",
        "git-annex": b"../.git/annex/objects/a",
        "web page": b"<!DOCTYPE html>",
        "JSON": b'{"error": 1}',
        "zip": b"PK\x03\x04",
        "compressed": b"\x1f\x8b",
        "picture": b"\x89PNG",
        "PDF": b"%PDF",
        "MIDI": b"MThd",
        "zeros": bytes(600),
    }
    named = [audio_format for audio_format in FORMATS if audio_format.demuxer is None]
    if len(named) != len(starts):
        raise RuntimeError("a format that is no audio is missing here")
    contents: Iterable[tuple[str, bytes]] = [
        *starts.items(),
        ("text", b"hello"),
        ("nothing", b""),
        ("wav that was cut off", _cut_wav(folder)),
        ("wav without samples", _cut_wav(folder)[:44].replace(b"\x80%\0\0", bytes(4))),
    ]
    rows = []
    for title, data in contents:
        (folder / "a.wav").write_bytes(data)
        rows.append((title, _outcome(folder / "a.wav", _signal(8000, 1), 8000)))
    return table(("what a file holds", "what is said"), rows)


def _cut_wav(folder: Path) -> bytes:
    soundfile.write(folder / "whole.wav", _signal(16000, 1), 16000)
    return (folder / "whole.wav").read_bytes()[:2000]
