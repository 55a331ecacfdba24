"""Reads audio files and prepares their samples: mix, resample, trim, level.

A file that cannot be used raises an `AudioError`, whose text is the reason. The caller decides
whether to skip the file, so that one broken file never ends a run.
Samples are float32 with full scale at 1.0, sample rates are in Hz.
"""

import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

SHORTEST_S = 0.1  # a prepared clip must hold a syllable, and a frame of every feature
_TOLERANCE_S = (
    0.1  # a header, or a manifest's `end`, may promise this much more than the file holds
)
_SAMPLE_RATES_HZ = (1000, 768000)  # any other rate comes from a broken header
_MOST_VALUES = 2**28  # samples times channels in one read, one GiB
_BLOCK_S = 60  # we read blocks of this length, so that we never allocate a header's absurd length
SILENCE = (
    4e-5  # half the peak-to-peak amplitude; the dither of 16-bit audio still counts as silence
)
_LOUDEST = 2.0**31  # larger values are not audio
_LOUDEST_FLOAT = 4.0  # floats above this are on the scale of integers
_INTEGER_SCALES = (2.0**15, 2.0**23, 2.0**31)  # full scale of 16, 24 and 32 bits
_LARGE_OFFSET = 1.1  # standard deviations
_UNKNOWN_FRAMES = 2**62  # libsndfile reports about 2**63 if a header does not know the length
_UNKNOWN_BYTES = 0x7FFF0000  # programs write at least this size if they do not know the length
TRIM_FRAME, TRIM_HOP = 2048, 512  # samples, librosa.effects.trim's defaults


class AudioError(Exception):
    """Why one audio file cannot be used, in words."""


class TooMuchAudio(AudioError):
    """An audio file is longer, or needs more memory when decoded, than the caller allows."""


class NoSpeech(AudioError):
    """An audio file can be read, but nobody speaks in it."""


class Rejected(NamedTuple):
    """Stands in for a clip that cannot be used, where other clips are still processed."""

    reason: str  # why, in words
    no_speech: bool = False  # the clip can be read, but nobody speaks in it


def rejected(error: AudioError) -> Rejected:
    """What stands in for a clip that raised this error."""
    return Rejected(str(error), isinstance(error, NoSpeech))


class AudioSettings(NamedTuple):
    """How clips are prepared; the defaults are those of configs/base.py."""

    sample_rate_hz: int = 16000
    offset_s: float = 0.0  # skipped at the beginning
    max_duration_s: float = 5.0  # longer clips are cut
    trim_db: float = 35.0  # cuts ends this far below the loudest frame; 0: no trimming
    level_db: float = -26.0  # RMS relative to full scale; 0: the level is left as it is
    # Long stretches without speech are cut out, and a clip without speech is refused. This is the
    # work of `jdann.features.speech_part`; `prepare` below keeps all.
    speech_only: bool = True


class Clip(NamedTuple):
    """A prepared clip."""

    samples: np.ndarray  # [samples] float32
    cut: bool  # True: the audio after `max_duration_s` was left out


def read(
    path: str | Path, start_s: float = 0.0, end_s: float | None = None
) -> tuple[np.ndarray, int]:
    """Reads an audio file, or a part of it without reading the rest.

    Args:
      path: wav, flac, mp3, ogg or another format of libsndfile; any rate, channels and bit depth.
      start_s: start of the part, seconds, >= 0.
      end_s: end of the part, seconds; None: the end of the file.

    Returns:
      Samples float32, [samples] if the file has one channel, otherwise [samples, channels]; and
      the sample rate in Hz.

    Raises:
      AudioError: the file is missing, not readable, empty, not audio or cut off, or the part lies
        outside of it.
    """
    _check_file(path)
    if not (np.isfinite(start_s) and start_s >= 0):
        raise AudioError(f"start is {start_s} s; expected 0 or more")
    if end_s is not None and not (np.isfinite(end_s) and end_s > start_s):
        raise AudioError(f"end is {end_s} s; expected more than the start, {start_s:g} s")
    try:
        # We pass bytes, because soundfile refuses names that are not valid UTF-8.
        with soundfile.SoundFile(os.fsencode(path)) as file:  # pyright: ignore[reportArgumentType]
            return _read_part(file, start_s, end_s), file.samplerate
    # soundfile raises a TypeError for a `.raw` file, which has no header.
    except (soundfile.SoundFileError, TypeError) as error:
        raise AudioError("not audio, or damaged: expected a wav, flac, mp3 or ogg file") from error
    except OSError as error:
        raise AudioError(f"cannot be read ({error.strerror or error})") from error


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
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            duration_s = file.frames / file.samplerate
            length_is_known = file.frames < _UNKNOWN_FRAMES
            if length_is_known and duration_s > longest_s:
                raise TooMuchAudio(f"lasts {duration_s:.0f} s; expected at most {longest_s:g} s")
            if length_is_known and file.frames * file.channels > most_values:
                raise TooMuchAudio(
                    f"{duration_s:.0f} s at {file.samplerate} Hz with {file.channels} channels "
                    "are too much; send mono at 16000 Hz"
                )
            return _read_part(file, 0.0, None), file.samplerate
    except (soundfile.SoundFileError, TypeError) as error:
        raise AudioError("not audio, or damaged: expected a wav, flac, mp3 or ogg file") from error


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
        yield from _windows(iter([_floating(x)]), sample_rate_hz, window_s, hop_s)
        return
    _check_file(x)
    try:
        with soundfile.SoundFile(os.fsencode(x)) as file:  # pyright: ignore[reportArgumentType]
            yield from _windows(_blocks(file), file.samplerate, window_s, hop_s)
    except (soundfile.SoundFileError, TypeError) as error:
        raise AudioError("not audio, or damaged: expected a wav, flac, mp3 or ogg file") from error
    except OSError as error:
        raise AudioError(f"cannot be read ({error.strerror or error})") from error


def _blocks(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Yields the whole file in blocks, float32 [samples] or [samples, channels]."""
    if not file.frames:
        raise AudioError("holds no audio (0 samples)")
    _check_header(file)
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


def mono(
    samples: np.ndarray, sample_rate_hz: int, to_hz: int, silence_allowed: bool = False
) -> np.ndarray:
    """Mixes samples to mono and resamples them, as `prepare` does.

    Args:
      samples: [samples] or [samples, channels], floating point or signed integers.
      sample_rate_hz: sampling rate of `samples`, Hz.
      to_hz: sampling rate of the result, Hz.
      silence_allowed: whether silent samples are no error.

    Returns:
      [samples] float32 at `to_hz`.

    Raises:
      AudioError: the samples are not finite, or silent.
    """
    mixed = _mixed(_floating(samples))
    try:
        _check_sound(mixed)
    except NoSpeech:
        if not silence_allowed:
            raise
    return _resample(mixed, sample_rate_hz, to_hz)


def prepare(
    samples: np.ndarray,
    sample_rate_hz: int,
    settings: AudioSettings,
    change: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Clip:
    """Prepares the samples of a clip for the features.

    The steps, in this order: mix to mono; skip `offset_s`; resample (soxr HQ, as `librosa.load`);
    `change` them; trim the ends that are more than `trim_db` below the loudest frame (as
    `librosa.effects.trim`); cut to `max_duration_s`; scale to an RMS of `level_db`.

    Without trimming the cut comes before the resampling. So with `trim_db` and `level_db` 0 the
    result is that of `librosa.load(path, sr=sample_rate_hz, offset=offset_s,
    duration=max_duration_s)`. Otherwise a large constant offset is removed first, which would count
    as sound. Peaks above 1.0 are not clipped, because features are computed in floating point.

    Args:
      samples: [samples] or [samples, channels], floating point or signed integers, which are
        divided by their full scale.
      sample_rate_hz: sampling rate of `samples`, 1000 to 768000 Hz.
      settings: how the clip is prepared.
      change: returns other samples for samples [samples] float32 at `settings.sample_rate_hz`, as
        a recording channel does. It comes before trimming, because noise at both ends is trimmed
        in no recording either.

    Returns:
      The Clip: samples [samples] float32 at `settings.sample_rate_hz`, and whether they were cut.

    Raises:
      AudioError: there are no samples, or they are not finite, silent, or shorter than 0.1 s after
        trimming.
    """
    lowest_hz, highest_hz = _SAMPLE_RATES_HZ
    if not lowest_hz <= sample_rate_hz <= highest_hz:
        raise AudioError(
            f"sample rate is {sample_rate_hz} Hz; expected {lowest_hz} to {highest_hz} Hz"
        )
    mixed = _mixed(_floating(samples))
    skipped = int(settings.offset_s * sample_rate_hz)
    if skipped >= len(mixed):
        duration_s = len(mixed) / sample_rate_hz
        raise AudioError(
            f"lasts {duration_s:.2f} s, and the first {settings.offset_s:g} s are left out"
        )
    mixed, cut = mixed[skipped:], False
    if not settings.trim_db:
        mixed, cut = _cut(mixed, sample_rate_hz, settings.max_duration_s)
    _check_sound(mixed)
    if settings.trim_db or settings.level_db:
        mixed = _without_offset(mixed)
    rate_hz = settings.sample_rate_hz
    mixed = _resample(mixed, sample_rate_hz, rate_hz)
    if change is not None:
        mixed = change(mixed)
    if settings.trim_db:
        first, end = trim_bounds(mixed, settings.trim_db)
        mixed, cut = _cut(mixed[first:end], rate_hz, settings.max_duration_s)
    if len(mixed) < SHORTEST_S * rate_hz:
        raise AudioError(
            f"only {len(mixed) / rate_hz:.3f} s are left; expected at least {SHORTEST_S:g} s"
        )
    if settings.level_db:
        mixed = _level(mixed, settings.level_db)
    return Clip(np.ascontiguousarray(mixed, np.float32), cut)


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
    if promised >= _UNKNOWN_FRAMES:
        raise AudioError(
            "the header does not say how long the audio is; "
            "write the file anew, e.g. with ffmpeg or sox"
        )
    _check_header(file)
    first = int(start_s * rate_hz)
    last = promised if end_s is None else int(min(end_s * rate_hz, 2.0**62))
    if first >= promised:
        raise AudioError(f"starts at {start_s:g} s; the file ends at {promised / rate_hz:.2f} s")
    if last > promised + _TOLERANCE_S * rate_hz:
        raise AudioError(f"ends at {end_s:g} s; the file ends at {promised / rate_hz:.2f} s")
    wanted = min(last, promised) - first
    file.seek(first)
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
    if wanted - n_read > _TOLERANCE_S * rate_hz or not n_read:
        _raise_short(promised / rate_hz, (first + n_read) / rate_hz)
    return np.concatenate(blocks) if len(blocks) > 1 else blocks[0]


def _check_header(file: soundfile.SoundFile) -> None:
    """Raises an AudioError if a RIFF or AIFF header promises more bytes than the file has.

    libsndfile reads such files without an error. A size of almost 2 GiB or more does not count:
    programs write it when they do not know the length yet.
    """
    sizes = re.search(
        r"^ ?(?:data|SSND) : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE
    )
    if sizes is None:
        return
    promised_bytes, actual_bytes = int(sizes[1]), int(sizes[2])
    if promised_bytes < _UNKNOWN_BYTES:
        actual_s = file.frames / file.samplerate
        promised_s = actual_s * promised_bytes / max(actual_bytes, 1)
        if promised_s - actual_s > _TOLERANCE_S:
            _raise_short(promised_s, actual_s)


def _raise_short(promised_s: float, actual_s: float) -> None:
    raise AudioError(
        f"cut off or damaged: the header promises {promised_s:.2f} s, "
        f"the file holds {actual_s:.2f} s"
    )


def _floating(samples: np.ndarray) -> np.ndarray:
    """Samples as float32 with full scale at 1.0.

    Integers are divided by their full scale, and so are floats that are on the scale of integers.
    Integers of 32 bits or more that use only 16 of them are on the scale of 16 bits.
    """
    samples = np.asarray(samples)
    if not samples.size:
        return samples.astype(np.float32)
    is_integer = np.issubdtype(samples.dtype, np.signedinteger)
    floating = samples.astype(np.float32, copy=False)
    peak = float(np.abs(floating).max())  # NaN if one sample is NaN
    if not is_integer:
        scale = next((full for full in _INTEGER_SCALES if peak <= full), 1.0)
        return floating / np.float32(scale) if peak > _LOUDEST_FLOAT else floating
    full = -float(np.iinfo(samples.dtype).min)
    if samples.dtype.itemsize >= 4 and peak <= _INTEGER_SCALES[0]:
        full = _INTEGER_SCALES[0]
    return floating / np.float32(full)


def _without_offset(samples: np.ndarray) -> np.ndarray:
    """The samples [samples] without a constant offset, if it is a large part of them.

    A small one, as most recordings have, changes little, and is kept.
    """
    offset = float(samples.mean(dtype=np.float64))
    deviation = float(samples.std(dtype=np.float64))
    is_large = np.isfinite(offset) and abs(offset) > _LARGE_OFFSET * deviation
    return samples - np.float32(offset) if is_large else samples


def _mixed(samples: np.ndarray) -> np.ndarray:
    """Mono [samples]: the mean of the channels, as in librosa, unless they cancel each other."""
    if samples.ndim == 1:
        return samples
    mean = samples.mean(axis=1, dtype=np.float32)
    power = np.square(samples, dtype=np.float64).sum(axis=0)  # [channels]
    loudest = int(np.argmax(power))
    # A wiring fault can give two channels opposite phase, and their mean is then 40 dB below the
    # louder channel. Each channel still holds the voice.
    if power[loudest] and np.square(mean, dtype=np.float64).sum() < 1e-4 * power[loudest]:
        return samples[:, loudest]
    return mean


def _check_sound(samples: np.ndarray) -> None:
    """Raises an AudioError if [samples] are not finite, absurdly loud, or silent."""
    lowest, highest = float(samples.min()), float(samples.max())  # NaN if one sample is NaN
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        count = int((~np.isfinite(samples)).sum())
        raise AudioError(f"holds {count} samples that are not numbers (NaN or infinite)")
    if max(-lowest, highest) > _LOUDEST:
        raise AudioError(f"holds samples of {max(-lowest, highest):.3g}; expected -1 to 1")
    if highest - lowest < 2 * SILENCE:
        raise NoSpeech("silent from beginning to end")


def _resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Resamples [samples] as `librosa.resample(res_type="soxr_hq")`.

    Returns ceil(samples * to_hz / from_hz) samples.
    """
    if from_hz == to_hz:
        return samples
    resampled = soxr.resample(samples, from_hz, to_hz, quality="HQ")
    length = int(np.ceil(len(samples) * (to_hz / from_hz)))
    return np.pad(resampled[:length], (0, max(0, length - len(resampled))))


def trim_bounds(samples: np.ndarray, trim_db: float) -> tuple[int, int]:
    """The first sample and the end of the part that `prepare` keeps of [samples].

    The part begins and ends with a frame that is at most `trim_db` below the loudest one, as in
    `librosa.effects.trim`. Its end may lie beyond the last sample.
    """
    frames = 1 + len(samples) // TRIM_HOP
    blocks_per_frame = TRIM_FRAME // TRIM_HOP
    padded = np.zeros((frames + blocks_per_frame - 1) * TRIM_HOP, np.float64)
    inner = samples[: len(padded) - TRIM_FRAME // 2]
    padded[TRIM_FRAME // 2 : TRIM_FRAME // 2 + len(inner)] = inner  # centred frames
    blocks = padded.reshape(-1, TRIM_HOP)  # [blocks, TRIM_HOP]
    energy = np.einsum("bs,bs->b", blocks, blocks)  # [blocks]
    windows_of_blocks = np.lib.stride_tricks.sliding_window_view(energy, blocks_per_frame)
    power = windows_of_blocks.sum(axis=1)  # [frames]
    loud = np.flatnonzero(power > power.max() * 10 ** (-trim_db / 10))
    return int(loud[0]) * TRIM_HOP, (int(loud[-1]) + 1) * TRIM_HOP


def _cut(samples: np.ndarray, rate_hz: int, max_duration_s: float) -> tuple[np.ndarray, bool]:
    """The first `max_duration_s` of [samples], and whether the rest was left out."""
    longest = int(max_duration_s * rate_hz)
    return samples[:longest], len(samples) > longest


def _level(samples: np.ndarray, level_db: float) -> np.ndarray:
    """Scales [samples] to an RMS of `level_db` relative to full scale."""
    rms = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return samples * np.float32(10 ** (level_db / 20) / rms) if rms else samples
