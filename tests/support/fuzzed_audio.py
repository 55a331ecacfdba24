"""Encoded audio files of many formats, and random changes of them."""

import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from jdann import ffmpeg
from tests.support.random_tampers import change_bytes
from tests.support.recordings import RATE_HZ, voice

SECONDS = 1.2
# Each coding of each format that soundfile can write and jdann lists as audio.
FORMATS = {
    "wav": ("WAV", "WAVEX", "RF64", "NIST"),
    "aiff": ("AIFF",),
    "au": ("AU",),
    "caf": ("CAF",),
    "w64": ("W64",),
    "flac": ("FLAC",),
    "ogg": ("OGG",),
    "mp3": ("MP3",),
}
# libsndfile cannot write these, or cannot read what it wrote.
NOT_CODED = {
    *(("AIFF", "DWVW_12"), ("AIFF", "DWVW_16"), ("AIFF", "DWVW_24"), ("WAV", "MPEG_LAYER_III")),
    *(("MP3", "MPEG_LAYER_I"), ("MP3", "MPEG_LAYER_II")),
}
OF_FFMPEG = {"m4a": "aac", "webm": "libopus"}  # suffix: coder
SUFFIXES = (*FORMATS, "oga", "opus", "aif", "m4a", "webm", "amr", "mov", "raw", "txt")
_RIFF_CHUNKS = (b"LIST", b"junk", b"JUNK", b"abcd", b"iXML", b"id3 ")


class Original(NamedTuple):
    """An encoded file that can be read."""

    suffix: str
    format: str
    coding: str
    data: bytes


class Fuzzed(NamedTuple):
    """A changed file."""

    name: str
    kind: str  # of the change
    data: bytes
    original: Original | None  # None: it comes from no file
    is_intact: bool  # True: its audio is all there, so it must be read as the original
    is_shortened: bool  # True: the last part of its audio is not there


def originals() -> list[Original]:
    """One file in each coding of each format that libsndfile reads."""
    samples = voice(SECONDS, 150)
    files = []
    for suffix, formats in FORMATS.items():
        for name in formats:
            for coding in soundfile.available_subtypes(name):
                if (name, coding) not in NOT_CODED:
                    file = io.BytesIO()
                    soundfile.write(file, samples, RATE_HZ, format=name, subtype=coding)
                    files.append(Original(suffix, name, coding, file.getvalue()))
    stereo = np.stack([samples, 0.5 * samples], axis=1)
    for suffix, name in (("wav", "WAV"), ("flac", "FLAC"), ("ogg", "OGG"), ("aiff", "AIFF")):
        file = io.BytesIO()
        soundfile.write(file, stereo, RATE_HZ, format=name)
        files.append(Original(suffix, name, "stereo", file.getvalue()))
    return files


def originals_of_ffmpeg(folder: Path) -> list[Original]:
    """One file of each of OF_FFMPEG; none without ffmpeg.

    Args:
      folder: for the files that ffmpeg reads and writes.
    """
    program = ffmpeg.find()
    if program is None:
        return []
    soundfile.write(folder / "voice.wav", voice(SECONDS, 150), RATE_HZ)
    files = []
    for suffix, coder in OF_FFMPEG.items():
        name = f"voice.{suffix}"
        command = [program, "-v", "error", "-i", "voice.wav", "-c:a", coder, name]
        subprocess.run(command, cwd=folder, check=True)
        files.append(Original(suffix, suffix, coder, (folder / name).read_bytes()))
    return files


def fuzz(rng: np.random.Generator, files: list[Original], number: int) -> Fuzzed:
    """A file changed at random.

    Args:
      rng: chooses the file and the change.
      files: the originals.
      number: for the name of the changed file.
    """
    original = files[rng.integers(len(files))]
    kind = tuple(KINDS)[rng.choice(len(KINDS), p=_SHARES)]
    data = KINDS[kind](rng, original, files)
    if data is None:  # this kind of change does not exist for this format
        kind, data = "bytes", _bytes(rng, original, files)
    suffix = original.suffix
    if kind == "suffix" or rng.random() < 0.05:
        suffix = SUFFIXES[rng.integers(len(SUFFIXES))]
    return Fuzzed(
        f"{number:05}-{kind}.{suffix}",
        kind,
        data,
        None if kind in _FROM_NO_FILE else original,
        kind in INTACT,
        kind == "end",
    )


def _bytes(rng: np.random.Generator, original: Original, _: list[Original]) -> bytes:
    data = original.data
    for _change in range(rng.integers(1, 4)):
        data = change_bytes(rng, data) or b"\0"
    return data


def _header(rng: np.random.Generator, original: Original, _: list[Original]) -> bytes:
    """Writes an extreme number over one or two fields of the header."""
    data = bytearray(original.data)
    for _field in range(rng.integers(1, 3)):
        width = int(rng.choice([1, 2, 4, 8]))
        place = int(rng.integers(4, min(len(data), 120)))
        most = 2 ** (8 * width)
        values = (0, 1, most - 1, most // 2, most // 2 - 1, int(rng.integers(256)))
        order = ("little", "big")[rng.integers(2)]
        data[place : place + width] = (values[rng.integers(6)] % most).to_bytes(width, order)
    return bytes(data)


def _end(rng: np.random.Generator, original: Original, _: list[Original]) -> bytes:
    """Cuts off a part of the audio that nobody could miss: a fifth to almost all of the file."""
    return original.data[: int(len(original.data) * rng.uniform(0.02, 0.8))]


def _zeros(rng: np.random.Generator, original: Original, _: list[Original]) -> bytes:
    """A stretch of zeros, as an unfinished copy has."""
    data = bytearray(original.data)
    place, length = int(rng.integers(len(data))), int(rng.integers(1, 20_000))
    data[place : place + length] = bytes(len(data[place : place + length]))
    return bytes(data)


def _spliced(rng: np.random.Generator, original: Original, files: list[Original]) -> bytes:
    """The beginning of one file and the rest of another one."""
    other = files[rng.integers(len(files))].data
    place = int(rng.choice([4, 12, 24, 36, 44, 64, 128, len(original.data) // 2]))
    return original.data[:place] + other[int(rng.choice([0, place])) :]


def _inserted(rng: np.random.Generator, original: Original, files: list[Original]) -> bytes:
    """A piece of another file inside of a file."""
    other = files[rng.integers(len(files))].data
    place, start = int(rng.integers(len(original.data))), int(rng.integers(len(other)))
    return original.data[:place] + other[start : start + 4000] + original.data[place:]


def _random(rng: np.random.Generator, _: Original, __: list[Original]) -> bytes:
    return rng.bytes(int(rng.choice([1, 3, 12, 44, 1000, 40_000])))


def _headed(rng: np.random.Generator, original: Original, _: list[Original]) -> bytes:
    """The first bytes of a file and random ones."""
    return original.data[: int(rng.choice([4, 12, 24, 44, 80]))] + rng.bytes(20_000)


def _text(rng: np.random.Generator, _: Original, __: list[Original]) -> bytes:
    texts = ("file,emotion\na.wav,sad\n", "<html>", "RIFF WAVE fmt data", "{}", "fLaC", "ID3", " ")
    return (texts[rng.integers(len(texts))] * int(rng.integers(1, 2000))).encode()


def _empty(_: np.random.Generator, __: Original, ___: list[Original]) -> bytes:
    return b""


def _same(_: np.random.Generator, original: Original, __: list[Original]) -> bytes:
    """Only the name is changed."""
    return original.data


def _trailing(rng: np.random.Generator, original: Original, _: list[Original]) -> bytes | None:
    """Bytes after the end: garbage, zeros, or a tag."""
    tag = b"TAG" + b"a title".ljust(124, b"\0") + b"\xff"  # ID3v1
    if original.format == "MP3":  # garbage may be a frame
        return original.data + tag
    garbage = (rng.bytes(int(rng.integers(1, 5000))), bytes(int(rng.integers(1, 5000))), tag)
    return original.data + garbage[rng.integers(3)]


def _leading_tag(rng: np.random.Generator, original: Original, _: list[Original]) -> bytes | None:
    """An ID3v2 tag before the audio, as many programs write it into mp3 and flac files."""
    if original.format not in ("MP3", "FLAC"):
        return None
    text = b"\x03" + b"a title".ljust(int(rng.integers(7, 120)), b" ")
    frame = b"TIT2" + len(text).to_bytes(4) + bytes(2) + text
    return b"ID3\x04\0\0" + bytes((0, 0, len(frame) >> 7, len(frame) & 127)) + frame + original.data


def _chunk(rng: np.random.Generator, original: Original, _: list[Original]) -> bytes | None:
    """A chunk of a kind that nobody knows, before or after the others."""
    data = original.data
    length = 2 * int(rng.integers(1, 500))
    match original.format:
        case "WAV" | "WAVEX":
            name, order, start = _RIFF_CHUNKS[rng.integers(len(_RIFF_CHUNKS))], "little", b"data"
        case "AIFF":
            name, order, start = b"ANNO", "big", b"SSND"
        case "FLAC":
            length -= length % 2
            padding = bytes((1,)) + length.to_bytes(3) + rng.bytes(length)
            return data[:42] + padding + data[42:] if data[4] == 0 else None
        case _:
            return None
    chunk = name + length.to_bytes(4, order) + rng.bytes(length)
    place = int(rng.choice([data.index(start), len(data)]))
    # AIFF-C needs its first chunk to say which version it is, so nothing is put before it.
    changed = data[:place] + chunk + data[place:]
    return changed[:4] + (len(changed) - 8).to_bytes(4, order) + changed[8:]


def _whole_size(rng: np.random.Generator, original: Original, _: list[Original]) -> bytes | None:
    """A wrong size of the whole file, or a size of the data by which nothing is known."""
    if original.format not in ("WAV", "WAVEX"):
        return None
    data = bytearray(original.data)
    unknown = (0, 2**32 - 1, 2**31 - 1)[rng.integers(3)]
    data[4:8] = unknown.to_bytes(4, "little")
    # The last block of a coding in blocks is partly empty, so its length is not known either.
    if rng.integers(2) and "ADPCM" not in original.coding and original.coding != "GSM610":
        place = data.index(b"data") + 4
        size = int.from_bytes(data[place : place + 4], "little")
        if place + 4 + size != len(data):  # something follows the data
            return None
        data[place : place + 4] = (2**32 - 1).to_bytes(4, "little")
    return bytes(data)


Change = Callable[[np.random.Generator, Original, list[Original]], bytes | None]
INTACT: dict[str, Change] = {
    "suffix": _same,
    "trailing": _trailing,
    "leading tag": _leading_tag,
    "chunk": _chunk,
    "whole size": _whole_size,
}
_FROM_NO_FILE: dict[str, Change] = {"random": _random, "text": _text, "empty": _empty}
KINDS: dict[str, Change] = {
    "bytes": _bytes,
    "header": _header,
    "end": _end,
    "zeros": _zeros,
    "spliced": _spliced,
    "inserted": _inserted,
    "headed": _headed,
    **_FROM_NO_FILE,
    **INTACT,
}
_WEIGHTS = {"bytes": 6, "header": 10, "end": 3, "empty": 0.1, "text": 0.5}
_SHARES = np.array([_WEIGHTS.get(kind, 1) for kind in KINDS])
_SHARES /= _SHARES.sum()
