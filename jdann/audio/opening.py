"""Opens audio: by libsndfile, and what it cannot read by ffmpeg."""

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile

from jdann import ffmpeg
from jdann.audio.errors import AudioError
from jdann.audio.formats import HEAD_BYTES, recognise
from jdann.audio.headers import UNKNOWN_FRAMES, with_data_size, without_rest
from jdann.audio.scale import full_scale

_NO_AUDIO = "not audio, or damaged; expected a wav, flac, mp3 or ogg file"
_FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
_BLOCK_FRAMES = 2**20


@contextmanager
def opened(source: Path | bytes, longest_s: float = np.inf) -> Iterator[soundfile.SoundFile]:
    """Opens an audio file, or one in memory.

    Args:
      source: the file, or its bytes.
      longest_s: if the audio has to be converted, what comes later is left out, seconds.

    Yields:
      The open file; it is closed at the end.

    Raises:
      AudioError: it is not audio or damaged, also if this is found while it is open.
    """
    try:
        with ExitStack() as to_close:
            try:
                file = _open_by_libsndfile(source, to_close)
            except soundfile.SoundFileError:
                file = _open_converted(source, longest_s, to_close)
            with file:
                yield file
    except soundfile.SoundFileError as error:
        raise AudioError(_NO_AUDIO) from error
    except OSError as error:
        raise AudioError(f"cannot be read ({error.strerror or error})") from error


def _open_by_libsndfile(source: Path | bytes, to_close: ExitStack) -> soundfile.SoundFile:
    stream = to_close.enter_context(_stream(source))
    # We give libsndfile no name, because it takes any file whose name ends in .au, .vox or .gsm for
    # audio of that kind.
    given: Any = stream if isinstance(stream, io.BytesIO) else stream.fileno()
    file = soundfile.SoundFile(given, closefd=False)
    if file.frames >= UNKNOWN_FRAMES and ffmpeg.find() is not None:
        file.close()
        return _converted(source, file.format, file.format.lower(), np.inf, to_close)
    is_empty_wav = not file.frames and file.format in ("WAV", "WAVEX")
    view = with_data_size(stream) if is_empty_wav else without_rest(stream, file)
    if view is None:
        return file
    file.close()
    return soundfile.SoundFile(cast("BinaryIO", view))


def _stream(source: Path | bytes) -> BinaryIO:
    """An open file without a buffer; that of bytes is in memory, and libsndfile can read it."""
    if not isinstance(source, bytes):
        return cast("BinaryIO", source.open("rb", buffering=0))
    if not hasattr(os, "memfd_create"):
        return io.BytesIO(source)
    stream = io.FileIO(os.memfd_create("jdann"), "r+")
    with os.fdopen(stream.fileno(), "wb", closefd=False) as writer:
        writer.write(source)
    stream.seek(0)
    return cast("BinaryIO", stream)


def _open_converted(
    source: Path | bytes, longest_s: float, to_close: ExitStack
) -> soundfile.SoundFile:
    """Opens what libsndfile cannot read."""
    if isinstance(source, bytes):
        head = source[:HEAD_BYTES]
    else:
        with source.open("rb") as file:
            head = file.read(HEAD_BYTES)
    audio_format = recognise(head)
    if audio_format is None:
        raise AudioError(_NO_AUDIO)
    if audio_format.demuxer is None:
        raise AudioError(f"is {audio_format.name}")
    if ffmpeg.find() is None:
        raise AudioError(
            f"is {audio_format.name}, which needs ffmpeg: pip install 'jdann[formats]', or convert "
            "it to wav or flac"
        )
    return _converted(source, audio_format.name, audio_format.demuxer, longest_s, to_close)


def _converted(
    source: Path | bytes, name: str, demuxer: str, longest_s: float, to_close: ExitStack
) -> soundfile.SoundFile:
    try:
        wav = to_close.enter_context(ffmpeg.convert(source, demuxer, longest_s))
        return soundfile.SoundFile(wav)
    except ffmpeg.ConversionError as error:
        raise AudioError(f"is {name}, but damaged, or holds no sound ({error})") from error


def scale_of(path: Path, file: soundfile.SoundFile) -> float:
    """The full scale of a file's samples: 1.0, unless it holds floats on the scale of integers.

    The whole file decides, because a part of it may be silent.

    Args:
      path: of the file.
      file: the same file, open. Its position is kept.
    """
    if file.subtype not in _FLOAT_SUBTYPES:
        return 1.0
    status = path.stat()
    return _measure_scale(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _measure_scale(path: Path, size: int, changed_ns: int) -> float:
    """The scale of a file. It is kept, because many parts of one file may be read.

    Args:
      path: of the file.
      size: bytes; a changed file is measured again.
      changed_ns: when the file was changed.
    """
    del size, changed_ns
    peak = 0.0
    # If a place is damaged, what comes before it decides.
    with opened(path) as file, suppress(soundfile.LibsndfileError):
        while len(block := file.read(_BLOCK_FRAMES, dtype="float32")):
            peak = max(peak, float(np.abs(block).max()))
    return full_scale(peak)
