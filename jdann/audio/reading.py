"""Reads whole audio files, parts of them, and windows of long ones."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from jdann.audio.errors import AudioError, TooMuchAudio
from jdann.audio.headers import TOLERANCE_S, UNKNOWN_FRAMES, check_size, raise_short
from jdann.audio.opening import opened, scale_of
from jdann.audio.scale import to_floating
from jdann.remote import RemoteError, is_url, local_copy

_MOST_VALUES = 2**28  # samples times channels in one read, one GiB
_BLOCK_S = 60  # we read blocks of this length, so that we never allocate a header's absurd length


def read(
    path: str | Path, start_s: float = 0.0, end_s: float | None = None
) -> tuple[np.ndarray, int]:
    """Reads an audio file, or a part of it without reading the rest.

    Args:
      path: wav, flac, mp3, ogg or another format of libsndfile, or of ffmpeg where that is
        installed; any rate, channels and bit depth. What lies at a URL is fetched whole.
      start_s: start of the part, seconds, >= 0.
      end_s: end of the part, seconds; None: the end of the file.

    Returns:
      Samples float32, [samples] if the file has one channel, otherwise [samples, channels]; and
      the sample rate in Hz.

    Raises:
      AudioError: the file is missing, not readable, empty, not audio or cut off, or the part lies
        outside of it.
    """
    if is_url(path):
        with _local_copy(str(path)) as copy:
            return read(copy, start_s, end_s)
    _check_file(path)
    if not (np.isfinite(start_s) and start_s >= 0):
        raise AudioError(f"start is {start_s} s; expected 0 or more")
    if end_s is not None and not (np.isfinite(end_s) and end_s > start_s):
        raise AudioError(f"end is {end_s} s; expected more than the start, {start_s:g} s")
    with opened(Path(path)) as file:
        samples = _read_part(file, start_s, end_s)
        if start_s == 0 and end_s is None:
            return to_floating(samples), file.samplerate
        return _scaled(samples, scale_of(Path(path), file)), file.samplerate


def decode(
    data: bytes, longest_s: float = np.inf, most_values: int = _MOST_VALUES
) -> tuple[np.ndarray, int]:
    """Decodes an audio file that is in memory, without writing to disk.

    Args:
      data: the bytes of a wav, flac, mp3 or ogg file.
      longest_s: longest duration, seconds; longer audio is refused before it is decoded.
      most_values: largest number of samples times channels, which decides how much memory the
        decoded audio needs; larger audio is refused before it is decoded.

    Returns:
      Samples and sample rate, as from `read` of a file with the same bytes.

    Raises:
      AudioError: the data is not audio, empty, damaged or too long.
    """
    if not data:
        raise AudioError("empty file (0 bytes)")
    with opened(data, longest_s + 1) as file:
        file_s = file.frames / file.samplerate
        length_is_known = file.frames < UNKNOWN_FRAMES
        if length_is_known and file_s > longest_s:
            raise TooMuchAudio(f"lasts {file_s:.0f} s; expected at most {longest_s:g} s")
        if length_is_known and file.frames * file.channels > most_values:
            raise TooMuchAudio(
                f"{file_s:.0f} s at {file.samplerate} Hz with {file.channels} channels "
                "are too much; send mono at 16000 Hz"
            )
        return to_floating(_read_part(file, 0.0, None)), file.samplerate


def duration_s(path: str | Path) -> float | None:
    """The duration of a file by its header, seconds; None if it is not known."""
    try:
        with (
            Path(path).open("rb") as stream,
            soundfile.SoundFile(stream.fileno(), closefd=False) as file,
        ):
            return file.frames / file.samplerate if 0 < file.frames < UNKNOWN_FRAMES else None
    except (soundfile.SoundFileError, OSError, ValueError):
        return None


def windows(
    x: str | Path | np.ndarray, window_s: float, hop_s: float, sample_rate_hz: int | None = None
) -> Iterator[tuple[float, np.ndarray, int]]:
    """Reads a file of any length window by window, with only a window and a block in memory.

    Args:
      x: a file as for `read`, or samples [samples] or [samples, channels].
      window_s: length of a window, seconds.
      hop_s: from the start of one window to the start of the next, seconds.
      sample_rate_hz: sampling rate of `x` if it holds samples, Hz.

    Yields:
      Start of the window in seconds; its samples, as `read` returns them; sample rate in Hz. The
      last window is the first one that reaches the end of the audio. It may be shorter than
      `window_s`.

    Raises:
      AudioError: as from `read`. The windows before a damaged place are yielded first.
    """
    if isinstance(x, np.ndarray):
        if sample_rate_hz is None:
            raise AudioError("samples came without their rate; give rate=, e.g. rate=16000")
        # The scale is that of all samples, not of a window, which may be silent.
        yield from _windows(iter([to_floating(x)]), sample_rate_hz, window_s, hop_s)
        return
    if is_url(x):
        with _local_copy(str(x)) as copy:
            yield from windows(copy, window_s, hop_s)
        return
    _check_file(x)
    with opened(Path(x)) as file:
        scale = scale_of(Path(x), file)
        blocks = (_scaled(block, scale) for block in _blocks(file))
        yield from _windows(blocks, file.samplerate, window_s, hop_s)


def _blocks(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Yields the whole file in blocks, float32 [samples] or [samples, channels]."""
    if not file.frames:
        raise AudioError("holds no audio (0 samples)")
    check_size(file)
    while len(block := file.read(_BLOCK_S * file.samplerate, dtype="float32")):
        yield block


def _windows(
    blocks: Iterator[np.ndarray], rate_hz: int, window_s: float, hop_s: float
) -> Iterator[tuple[float, np.ndarray, int]]:
    size, hop = round(window_s * rate_hz), max(1, round(hop_s * rate_hz))
    buffer, first, start, ended = next(blocks, None), 0, 0, False
    if buffer is None:
        raise AudioError("damaged: the header promises audio, and nothing can be decoded")
    # `buffer` starts at sample `first`.
    while True:
        # We read one sample more than the window, to know whether it is the last one.
        while not ended and first + len(buffer) <= start + size:
            block = next(blocks, None)
            drop = min(max(0, start - first), len(buffer))
            buffer, first, ended = buffer[drop:], first + drop, block is None
            buffer = buffer if block is None else np.concatenate([buffer, block])
        window = buffer[max(0, start - first) :][:size]
        if not len(window):
            return
        yield start / rate_hz, window, rate_hz
        if ended and first + len(buffer) <= start + size:
            return
        start += hop


@contextmanager
def _local_copy(url: str) -> Iterator[Path]:
    try:
        with local_copy(url) as copy:
            yield copy
    except RemoteError as error:
        raise AudioError(str(error)) from error


def _check_file(path: str | Path) -> None:
    """Raises an AudioError if `path` is not a readable file with content.

    Its reasons are plainer than those of libsndfile.
    """
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise AudioError("is a folder; expected an audio file")
        if not stat.S_ISREG(status.st_mode):
            raise AudioError("is not a regular file; expected an audio file")
        if not status.st_size:
            raise AudioError("empty file (0 bytes)")
        if not os.access(path, os.R_OK):
            raise AudioError("not readable: permission denied")
    except FileNotFoundError as error:
        raise AudioError("file not found") from error
    except OSError as error:
        raise AudioError(f"cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # a null character in the path
        raise AudioError(f"not a path ({error})") from error


def _read_part(file: soundfile.SoundFile, start_s: float, end_s: float | None) -> np.ndarray:
    """The part as [samples] or [samples, channels]; raises an AudioError if the file lacks it."""
    rate_hz, promised = file.samplerate, file.frames
    if not promised:
        raise AudioError("holds no audio (0 samples)")
    if promised >= UNKNOWN_FRAMES:
        raise AudioError(
            "the header does not say how long the audio is; "
            "write the file anew, or install ffmpeg: pip install 'jdann[formats]'"
        )
    check_size(file)
    first = int(start_s * rate_hz)
    last = promised if end_s is None else int(min(end_s * rate_hz, 2.0**62))
    if first >= promised:
        raise AudioError(f"starts at {start_s:g} s; the file ends at {promised / rate_hz:.2f} s")
    if last > promised + TOLERANCE_S * rate_hz:
        raise AudioError(f"ends at {end_s:g} s; the file ends at {promised / rate_hz:.2f} s")
    wanted = min(last, promised) - first
    _skip(file, first)
    blocks, n_read = [], 0
    while n_read < wanted:
        try:
            block = file.read(min(wanted - n_read, _BLOCK_S * rate_hz), dtype="float32")
        except soundfile.LibsndfileError as error:  # a flac file that ends too early
            duration_s = promised / rate_hz
            raise AudioError(
                f"cut off or damaged: not all of the {duration_s:.2f} s promised decode"
            ) from error
        if not len(block):
            break
        blocks.append(block)
        n_read += len(block)
        if n_read * file.channels > _MOST_VALUES:
            hours = n_read / rate_hz / 3600
            raise TooMuchAudio(
                f"more than {hours:.1f} h at once; give `start` and `end` to use a part"
            )
    if wanted - n_read > TOLERANCE_S * rate_hz or not n_read:
        raise_short(promised / rate_hz, (first + n_read) / rate_hz)
    return np.concatenate(blocks) if len(blocks) > 1 else blocks[0]


def _skip(file: soundfile.SoundFile, frames: int) -> None:
    """Goes to a frame of a file at its start, also if its coding can only be read in order."""
    if file.seekable():
        file.seek(frames)
        return
    while frames > 0:
        n_read = len(file.read(min(frames, _BLOCK_S * file.samplerate), dtype="float32"))
        if not n_read:
            return
        frames -= n_read


def _scaled(samples: np.ndarray, scale: float) -> np.ndarray:
    return samples if scale == 1 else samples / np.float32(scale)
