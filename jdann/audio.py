"""From an audio file to the samples that features are made of: read, mix, resample, trim, level.

What one file cannot be used for is an `AudioError`, whose text is the reason; nothing here ends a run.
Samples are float32 with full scale at 1.0, sample rates are in Hz.
"""

import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr

SHORTEST_S = 0.1  # what is left of a clip must hold a syllable, and a frame of every feature
_TOLERANCE_S = 0.1  # by which a header, or a manifest's `end`, may promise more than the file holds
_SAMPLE_RATES_HZ = (1000, 768000)  # anything else is a broken header
_MOST_VALUES = 2**28  # samples times channels read at once, one GiB
_BLOCK_S = 60  # read at a time, so that a header's absurd length is never allocated
SILENCE = 4e-5  # half of the peak-to-peak: the dither of 16 bits, one step each way, is silence
_LOUDEST = 2.0**31  # floats on an integer scale are accepted, larger values are not audio
TRIM_FRAME, TRIM_HOP = 2048, 512  # samples, librosa.effects.trim's defaults


class AudioError(Exception):
    """Why one audio file cannot be used, in words."""


class TooMuchAudio(AudioError):
    """An audio file is longer, or needs more memory when decoded, than the caller allows."""


class Clip(NamedTuple):
    """Samples ready for the features."""

    samples: np.ndarray  # [samples] float32
    cut: bool  # True where audio beyond `max_duration_s` was left out


def read(
    path: str | Path, start_s: float = 0.0, end_s: float | None = None
) -> tuple[np.ndarray, int]:
    """Reads an audio file, or a part of it without reading the rest.

    Args:
      path: wav, flac, mp3, ogg or whatever else libsndfile knows; any rate, channels and bit depth.
      start_s: where to begin, in seconds, >= 0.
      end_s: where to end, in seconds; None: at the file's end.

    Returns:
      Samples, float32, [samples] where the file has one channel and [samples, channels] otherwise; sample rate in Hz.

    Raises:
      AudioError: the file is missing, not readable, empty, not audio, cut off, or does not hold that part.
    """
    _check_file(path)
    if not (np.isfinite(start_s) and start_s >= 0):
        raise AudioError(f"start is {start_s} s; expected 0 or more")
    if end_s is not None and not (np.isfinite(end_s) and end_s > start_s):
        raise AudioError(f"end is {end_s} s; expected more than the start, {start_s:g} s")
    try:
        # Bytes, because soundfile refuses names that are not valid UTF-8.
        with soundfile.SoundFile(os.fsencode(path)) as file:  # pyright: ignore[reportArgumentType]
            return _read_part(file, start_s, end_s), file.samplerate
    except (
        soundfile.SoundFileError,
        TypeError,
    ) as error:  # TypeError: a `.raw` file, which has no header
        raise AudioError("not audio, or damaged: expected a wav, flac, mp3 or ogg file") from error
    except OSError as error:
        raise AudioError(f"cannot be read ({error.strerror or error})") from error


def decode(
    data: bytes, longest_s: float = np.inf, most_values: int = _MOST_VALUES
) -> tuple[np.ndarray, int]:
    """Reads an audio file that is in memory; nothing is written anywhere.

    Args:
      data: the bytes of a wav, flac, mp3 or ogg file.
      longest_s: what lasts longer is refused before anything is decoded, in seconds.
      most_values: the same for samples times channels, which decide how much memory the decoded audio needs.

    Returns:
      As `read`: the same bytes give the same samples.

    Raises:
      AudioError: it is not audio, empty, damaged or too long.
    """
    if not data:
        raise AudioError("empty file (0 bytes)")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            duration_s = file.frames / file.samplerate
            if (
                file.frames < 2**62 and duration_s > longest_s
            ):  # a header that does not know says 2**63
                raise TooMuchAudio(f"lasts {duration_s:.0f} s; expected at most {longest_s:g} s")
            if file.frames < 2**62 and file.frames * file.channels > most_values:
                raise TooMuchAudio(
                    f"{duration_s:.0f} s at {file.samplerate} Hz with {file.channels} channels are too much; send mono at 16000 Hz"
                )
            return _read_part(file, 0.0, None), file.samplerate
    except (soundfile.SoundFileError, TypeError) as error:
        raise AudioError("not audio, or damaged: expected a wav, flac, mp3 or ogg file") from error


def windows(
    x: str | Path | np.ndarray, window_s: float, hop_s: float, sample_rate_hz: int | None = None
) -> Iterator[tuple[float, np.ndarray, int]]:
    """Reads a file, however long, window by window; one window and a hop are held at a time.

    Args:
      x: a file as for `read`, or samples [samples] or [samples, channels].
      window_s: length of a window, in seconds.
      hop_s: from one window's beginning to the next one's, in seconds.
      sample_rate_hz: of samples.

    Yields:
      Where the window begins, in seconds; its samples, as `read` returns them; sample rate in Hz. The last window is the
      first to reach the end, and shorter where the end comes sooner.

    Raises:
      AudioError: as `read`; what precedes the damage has been yielded by then.
    """
    if isinstance(x, np.ndarray):
        if sample_rate_hz is None:
            raise AudioError("samples came without their rate; give rate=, e.g. rate=16000")
        yield from _windows(iter([x]), sample_rate_hz, window_s, hop_s)
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
    """[samples] or [samples, channels] float32, of a few seconds each, to the end."""
    if not file.frames:
        raise AudioError("holds no audio (0 samples)")
    _check_header(file)
    while len(block := file.read(_BLOCK_S * file.samplerate, dtype="float32")):
        yield block


def _windows(
    blocks: Iterator[np.ndarray], rate_hz: int, window_s: float, hop_s: float
) -> Iterator[tuple[float, np.ndarray, int]]:
    size, hop = round(window_s * rate_hz), max(1, round(hop_s * rate_hz))
    held, first, start, ended = next(blocks), 0, 0, False  # `held` begins at sample `first`
    while True:
        while (
            not ended and first + len(held) <= start + size
        ):  # a sample more tells that this is not the last window
            block = next(blocks, None)
            drop = min(max(0, start - first), len(held))
            held, first, ended = held[drop:], first + drop, block is None
            held = held if block is None else np.concatenate([held, block])
        window = held[max(0, start - first) :][:size]
        if not len(window):
            return
        yield start / rate_hz, window, rate_hz
        if ended and first + len(held) <= start + size:
            return
        start += hop


def mono(samples: np.ndarray, sample_rate_hz: int, to_hz: int) -> np.ndarray:
    """Mixes [samples] or [samples, channels] to mono and resamples it, as `prepare` does: [samples] float32 at `to_hz`.

    Raises:
      AudioError: there are no samples, they are not finite, or silent.
    """
    mixed = _mono(_floating(samples))
    _check_sound(mixed)
    return _resample(mixed, sample_rate_hz, to_hz)


def prepare(samples: np.ndarray, sample_rate_hz: int, *, audio_config: Any) -> Clip:
    """Brings samples into the form that features expect.

    In this order: mix to mono; leave out `offset_s`; resample (soxr HQ, as `librosa.load` does); trim silence more
    than `trim_db` below the loudest frame (as `librosa.effects.trim` does); cut to `max_duration_s`; scale to an RMS of
    `level_db`. Without trimming the cut comes before the resampling, so that with `trim_db` and `level_db` 0 the
    outcome is that of `librosa.load(path, sr=sample_rate_hz, offset=offset_s, duration=max_duration_s)`. A constant
    offset of the signal is kept, and peaks above 1.0 are not clipped: features are computed in floating point.

    Args:
      samples: [samples] or [samples, channels], floating point or signed integers (scaled by their full scale).
      sample_rate_hz: of `samples`, 1000 to 768000 Hz.
      audio_config: mapping with `sample_rate_hz`, `offset_s` and `max_duration_s` in seconds, `trim_db` and `level_db`
        in decibels (0: off), as in configs/base.py.

    Returns:
      Samples [samples] float32 at `audio_config["sample_rate_hz"]`, and whether they were cut.

    Raises:
      AudioError: there are no samples, they are not finite, silent, or shorter than 0.1 s once trimmed.
    """
    lowest_hz, highest_hz = _SAMPLE_RATES_HZ
    if not lowest_hz <= sample_rate_hz <= highest_hz:
        raise AudioError(
            f"sample rate is {sample_rate_hz} Hz; expected {lowest_hz} to {highest_hz} Hz"
        )
    mono = _mono(_floating(samples))
    offset_s, max_duration_s, trim_db = (
        audio_config[key] for key in ("offset_s", "max_duration_s", "trim_db")
    )
    skipped = int(offset_s * sample_rate_hz)
    if skipped >= len(mono):
        raise AudioError(
            f"lasts {len(mono) / sample_rate_hz:.2f} s, and the first {offset_s:g} s are left out"
        )
    mono, cut = mono[skipped:], False
    if not trim_db:
        mono, cut = _cut(mono, sample_rate_hz, max_duration_s)
    _check_sound(mono)
    rate_hz = audio_config["sample_rate_hz"]
    mono = _resample(mono, sample_rate_hz, rate_hz)
    if trim_db:
        mono, cut = _cut(_trim(mono, trim_db), rate_hz, max_duration_s)
    if len(mono) < SHORTEST_S * rate_hz:
        raise AudioError(
            f"only {len(mono) / rate_hz:.3f} s are left; expected at least {SHORTEST_S:g} s"
        )
    if audio_config["level_db"]:
        mono = _level(mono, audio_config["level_db"])
    return Clip(np.ascontiguousarray(mono, np.float32), cut)


def _check_file(path: str | Path) -> None:
    """Raises AudioError, in plainer words than libsndfile's, where `path` is no file with something in it."""
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
    """[samples] or [samples, channels] of the part, AudioError where the file does not hold it."""
    rate_hz, promised = file.samplerate, file.frames
    if not promised:
        raise AudioError("holds no audio (0 samples)")
    if promised >= 2**62:
        raise AudioError(
            "the header does not say how long the audio is; write the file anew, e.g. with ffmpeg or sox"
        )
    _check_header(file)
    first, last = (
        int(start_s * rate_hz),
        promised if end_s is None else int(min(end_s * rate_hz, 2.0**62)),
    )
    if first >= promised:
        raise AudioError(f"starts at {start_s:g} s; the file ends at {promised / rate_hz:.2f} s")
    if last > promised + _TOLERANCE_S * rate_hz:
        raise AudioError(f"ends at {end_s:g} s; the file ends at {promised / rate_hz:.2f} s")
    wanted = min(last, promised) - first
    file.seek(first)
    blocks, held = [], 0
    while held < wanted:
        try:
            block = file.read(min(wanted - held, _BLOCK_S * rate_hz), dtype="float32")
        except soundfile.LibsndfileError as error:  # flac, where the end comes too early
            duration_s = promised / rate_hz
            raise AudioError(
                f"cut off or damaged: not all of the {duration_s:.2f} s promised decode"
            ) from error
        if not len(block):
            break
        blocks.append(block)
        held += len(block)
        if held * file.channels > _MOST_VALUES:
            hours = held / rate_hz / 3600
            raise TooMuchAudio(
                f"more than {hours:.1f} h at once; give `start` and `end` to use a part"
            )
    if wanted - held > _TOLERANCE_S * rate_hz or not held:
        _raise_short(promised / rate_hz, (first + held) / rate_hz)
    return np.concatenate(blocks) if len(blocks) > 1 else blocks[0]


def _check_header(file: soundfile.SoundFile) -> None:
    """Raises AudioError where a RIFF or AIFF header promises more bytes than there are: libsndfile reads on in silence.

    A size of 2 GiB less a little, or more, is what programs write that do not know the length yet.
    """
    lie = re.search(r"^ ?(?:data|SSND) : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if lie and int(lie[1]) < 0x7FFF0000:
        held_s = file.frames / file.samplerate
        promised_s = held_s * int(lie[1]) / max(int(lie[2]), 1)
        if promised_s - held_s > _TOLERANCE_S:
            _raise_short(promised_s, held_s)


def _raise_short(promised_s: float, held_s: float) -> None:
    raise AudioError(
        f"cut off or damaged: the header promises {promised_s:.2f} s, the file holds {held_s:.2f} s"
    )


def _floating(samples: np.ndarray) -> np.ndarray:
    """Floating-point samples; integers are divided by their full scale."""
    samples = np.asarray(samples)
    if np.issubdtype(samples.dtype, np.signedinteger):
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float32, copy=False)


def _mono(samples: np.ndarray) -> np.ndarray:
    """[samples] from [samples] or [samples, channels]: the mean, as librosa's, unless the channels cancel out."""
    if samples.ndim == 1:
        return samples
    mean = samples.mean(axis=1, dtype=np.float32)
    power = np.square(samples, dtype=np.float64).sum(axis=0)  # [channels]
    loudest = int(np.argmax(power))
    # Opposite phase leaves 40 dB less than the louder channel alone: a wiring fault, and the voice is in each of them.
    if power[loudest] and np.square(mean, dtype=np.float64).sum() < 1e-4 * power[loudest]:
        return samples[:, loudest]
    return mean


def _check_sound(mono: np.ndarray) -> None:
    """Raises AudioError where [samples] is not finite, absurdly loud, or silent."""
    lowest, highest = float(mono.min()), float(mono.max())  # NaN wherever one sample is
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise AudioError(
            f"holds {int((~np.isfinite(mono)).sum())} samples that are not numbers (NaN or infinite)"
        )
    if max(-lowest, highest) > _LOUDEST:
        raise AudioError(f"holds samples of {max(-lowest, highest):.3g}; expected -1 to 1")
    if highest - lowest < 2 * SILENCE:
        raise AudioError("silent from beginning to end")


def _resample(mono: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """[samples] at `to_hz`, ceil(samples * to_hz / from_hz) of them, as librosa.resample(res_type="soxr_hq")."""
    if from_hz == to_hz:
        return mono
    resampled = soxr.resample(mono, from_hz, to_hz, quality="HQ")
    length = int(np.ceil(len(mono) * (to_hz / from_hz)))
    return np.pad(resampled[:length], (0, max(0, length - len(resampled))))


def _trim(mono: np.ndarray, trim_db: float) -> np.ndarray:
    """[samples] without the ends that are more than `trim_db` below the loudest frame, as librosa.effects.trim."""
    frames = 1 + len(mono) // TRIM_HOP
    blocks_per_frame = TRIM_FRAME // TRIM_HOP
    padded = np.zeros((frames + blocks_per_frame - 1) * TRIM_HOP, np.float64)
    kept = mono[: len(padded) - TRIM_FRAME // 2]
    padded[TRIM_FRAME // 2 : TRIM_FRAME // 2 + len(kept)] = kept  # centred frames
    blocks = padded.reshape(-1, TRIM_HOP)
    energy = np.einsum("bs,bs->b", blocks, blocks)  # [blocks]
    power = np.lib.stride_tricks.sliding_window_view(energy, blocks_per_frame).sum(
        axis=1
    )  # [frames]
    loud = np.flatnonzero(power > power.max() * 10 ** (-trim_db / 10))
    return mono[loud[0] * TRIM_HOP : (loud[-1] + 1) * TRIM_HOP]


def _cut(mono: np.ndarray, rate_hz: int, max_duration_s: float) -> tuple[np.ndarray, bool]:
    """The first `max_duration_s` of [samples], and whether anything was left out."""
    longest = int(max_duration_s * rate_hz)
    return mono[:longest], len(mono) > longest


def _level(mono: np.ndarray, level_db: float) -> np.ndarray:
    """[samples] scaled to an RMS of `level_db` relative to full scale."""
    rms = np.sqrt(np.mean(np.square(mono, dtype=np.float64)))
    return mono * np.float32(10 ** (level_db / 20) / rms) if rms else mono
