"""Prepares the samples of a clip: mix, resample, trim, level."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import soxr

from jdann.audio.errors import AudioError, NoSpeech
from jdann.audio.scale import to_floating

SHORTEST_S = 0.1  # a prepared clip must hold a syllable, and a frame of every feature
# Half the peak-to-peak amplitude; the dither of 16-bit audio still counts as silence.
SILENCE = 4e-5
_SAMPLE_RATES_HZ = (1000, 768000)  # any other rate comes from a broken header
_LOUDEST = 2.0**31  # larger values are not audio
TRIM_FRAME, TRIM_HOP = 2048, 512  # samples, librosa.effects.trim's defaults


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

    @property
    def keeps_offset(self) -> bool:
        """Whether a constant offset stays: nothing that it would disturb is done."""
        return not (self.trim_db or self.level_db)


class Clip(NamedTuple):
    """A prepared clip."""

    samples: np.ndarray  # [samples] float32
    cut: bool  # True: the audio after `max_duration_s` was left out


def mono(
    samples: np.ndarray,
    sample_rate_hz: int,
    to_hz: int,
    silence_allowed: bool = False,
    keep_offset: bool = False,
) -> np.ndarray:
    """Mixes samples to mono, removes a constant offset and resamples them, as `prepare` does.

    Args:
      samples: [samples] or [samples, channels], floating point or signed integers.
      sample_rate_hz: sampling rate of `samples`, Hz.
      to_hz: sampling rate of the result, Hz.
      silence_allowed: whether silent samples are no error.
      keep_offset: whether a constant offset stays.

    Returns:
      [samples] float32 at `to_hz`.

    Raises:
      AudioError: the samples are not finite, or silent.
    """
    mixed = _mixed(to_floating(samples))
    try:
        _check_sound(mixed)
    except NoSpeech:
        if not silence_allowed:
            raise
    if not keep_offset:
        mixed = _without_offset(mixed)
    return _resample(mixed, sample_rate_hz, to_hz)


def prepare(
    samples: np.ndarray,
    sample_rate_hz: int,
    settings: AudioSettings,
    change: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Clip:
    """Prepares the samples of a clip for the features.

    The steps, in this order: mix to mono; skip `offset_s`; remove a constant offset, which would
    count as sound; resample (soxr HQ, as `librosa.load`); `change` them; trim the ends that are
    more than `trim_db` below the loudest frame (as `librosa.effects.trim`); cut to
    `max_duration_s`; scale to an RMS of `level_db`.

    Without trimming the cut comes before the resampling. With `trim_db` and `level_db` 0 an offset
    stays too, so the result is that of `librosa.load(path, sr=sample_rate_hz, offset=offset_s,
    duration=max_duration_s)`. Peaks above 1.0 are not clipped, because features are computed in
    floating point.

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
    mixed = _mixed(to_floating(samples))
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
    if not settings.keeps_offset:
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


def _without_offset(samples: np.ndarray) -> np.ndarray:
    """The samples [samples] without their constant offset.

    Sound has no constant part, so the mean of a recording is its offset, also in a short clip: in
    0.1 s of RAVDESS and EmoDB, the mean is below 2 % of the RMS nine times in ten. Zeros at the
    ends were added after the recording and have no offset, so they stay zeros.
    """
    recorded = np.flatnonzero(samples)
    if not len(recorded):
        return samples
    first, end = recorded[0], recorded[-1] + 1
    result = samples.copy()
    result[first:end] -= np.float32(samples[first:end].mean(dtype=np.float64))
    return result


def _mixed(samples: np.ndarray) -> np.ndarray:
    """Mono [samples]: the mean of the channels, as in librosa, unless they cancel each other."""
    if samples.ndim == 1:
        return samples
    mean = samples.mean(axis=1, dtype=np.float32)
    if not len(mean):
        return mean
    with np.errstate(invalid="ignore"):  # of infinite samples, which are refused later
        power = samples.var(axis=0, dtype=np.float64)  # [channels], without constant offsets
        power_of_mean = mean.var(dtype=np.float64)
    loudest = int(np.argmax(power))
    # A wiring fault can give two channels opposite phase, and their mean is then 40 dB below the
    # louder channel. Each channel still holds the voice.
    if power[loudest] and power_of_mean < 1e-4 * power[loudest]:
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
