"""Keeps the part of a clip that holds speech, or says that there is none.

Most clips are speech from beginning to end. A short look at twenty frames a second tells that, and
nothing is left out. Only where this look leaves a doubt, `jdann.features.speech` measures the clip.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import soxr

from jdann import audio
from jdann.audio import AudioSettings, Clip, NoSpeech

SHORTEST_CUT_S = 1.0  # shorter stretches without speech stay in a clip
DETECTOR_VERSION = 1  # part of the names of cached features: raise it when other parts are kept

_RATE_HZ = 16000  # of the detector
# The look. A frame is clear if it has a strong pitch, and if the levels of its partials change.
# The thresholds were chosen on CASIA and EmoDB (benchmarks/no_speech.py); they are stricter than
# those of the detector.
_N_FFT, _HOP, _LAG = 1024, 800, 2  # samples, samples, frames
_LAGS = slice(27, 247)  # samples: periods of a pitch of 65 to 590 Hz
_PASS_BAND_HZ = 3000.0
_STRONG = 0.42  # least autocorrelation at the period
_CHANGE_DB, _PITCH_CHANGE = 1.8, 0.01  # least change, of the levels and of the pitch, in 0.1 s
_PARTIALS, _PARTIAL_RANGE_DB, _RANGE_DB = 10, 30.0, 30.0
_LEAST_CLEAR_S, _LEAST_CLEAR_SHARE = 0.2, 0.4  # share: of the frames with a strong pitch
# Between two clear frames. The detector adds 0.2 s to both ends of a stretch of speech, so nothing
# would be left out of such a gap.
_LONGEST_GAP_S = 1.2


def prepare(
    samples: np.ndarray,
    sample_rate_hz: int,
    settings: AudioSettings,
    channel: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Clip:
    """As `jdann.audio.prepare`, but only speech is kept if the settings say `speech_only`.

    Args:
      samples: as for `jdann.audio.prepare`.
      sample_rate_hz: of `samples`, Hz.
      settings: how audio is prepared.
      channel: changes samples as a recording channel does; speech is searched before that.

    Raises:
      NoSpeech: there is no speech.
      AudioError: the samples cannot be used.
    """

    def change(samples: np.ndarray) -> np.ndarray:
        if settings.speech_only:
            samples = keep_speech(samples, settings)
        return samples if channel is None else channel(samples)

    return audio.prepare(samples, sample_rate_hz, settings, change)


def keep_speech(samples: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """Leaves out the stretches of a clip that hold no speech.

    Stretches at both ends and pauses are left out where they last SHORTEST_CUT_S or more. The ends
    that `jdann.audio.prepare` trims do not count, so a clip between two silences stays as it is.

    Args:
      samples: [samples] float32 at the rate of the settings, not silent.
      settings: how audio is prepared. The search ends after `max_duration_s` of speech.

    Returns:
      `samples` themselves if nothing is left out; otherwise the parts that remain, joined.

    Raises:
      NoSpeech: there is no speech.
    """
    rate_hz = settings.sample_rate_hz
    first, end = 0, len(samples)
    if settings.trim_db:
        first, end = audio.trim_bounds(samples, settings.trim_db)
    mono = samples
    if rate_hz != _RATE_HZ:
        mono = soxr.resample(samples, rate_hz, _RATE_HZ, quality="HQ")
    start_s, end_s = first / rate_hz, min(end, len(samples)) / rate_hz
    used = mono[round(start_s * _RATE_HZ) : round(end_s * _RATE_HZ)]
    used = used[: round((settings.max_duration_s + _LONGEST_GAP_S) * _RATE_HZ)]
    if _is_clearly_speech(used):
        return samples
    kept = _speech_spans(mono, settings.max_duration_s)
    if not kept:
        raise NoSpeech("holds no speech")
    # The ends that are trimmed later count as kept: what is trimmed there is no stretch of a clip.
    edges = [(0.0, start_s), *kept, (end_s, len(samples) / rate_hz)]
    spans = [list(edges[0])]
    for begin_s, finish_s in edges[1:]:
        if begin_s - spans[-1][1] >= SHORTEST_CUT_S:
            spans.append([begin_s, finish_s])
        else:
            spans[-1][1] = max(spans[-1][1], finish_s)
    if len(spans) == 1:
        return samples

    def holds_speech(begin_s: float, finish_s: float) -> bool:
        return any(begin_s < end and start < finish_s for start, end in kept)

    return np.concatenate(
        [
            samples[round(begin_s * rate_hz) : round(finish_s * rate_hz)]
            for begin_s, finish_s in spans
            if holds_speech(begin_s, finish_s)
        ]
    )


def _speech_spans(mono: np.ndarray, longest_s: float) -> list[tuple[float, float]]:
    """The stretches of speech in s, of `longest_s` in all or a little more.

    What follows the last minute that was searched counts as speech, so a long recording is not
    searched to its end.
    """
    # This imports SciPy and traces a program, which most clips do not need.
    from jdann.features.speech import LONGEST_S, find_speech, measure

    spans: list[tuple[float, float]] = []
    size = round(LONGEST_S * _RATE_HZ)
    for first in range(0, len(mono), size):
        part = mono[first : first + size]
        offset_s, part_s = first / _RATE_HZ, len(part) / _RATE_HZ
        stretches = find_speech(measure(np.ascontiguousarray(part)))
        spans += [
            (offset_s + start_s, offset_s + min(end_s, part_s)) for start_s, end_s in stretches
        ]
        if sum(end_s - start_s for start_s, end_s in spans) >= longest_s:
            if first + size < len(mono):
                spans.append((offset_s + part_s, len(mono) / _RATE_HZ))
            break
    return spans


def _is_clearly_speech(samples: np.ndarray) -> bool:
    """Whether a short look finds speech everywhere in [samples] at 16 kHz."""
    if len(samples) < _N_FFT + _LAG * _HOP:
        return False
    windows = np.lib.stride_tricks.sliding_window_view(samples, _N_FFT)[::_HOP]
    magnitude = np.abs(np.fft.rfft(windows * np.hanning(_N_FFT).astype(np.float32)))
    level = magnitude.sum(1)
    # As in `jdann.features.pitch`: the autocorrelation of the low-passed magnitude spectrum.
    bin_hz = _RATE_HZ / _N_FFT
    hz = np.arange(magnitude.shape[1]) * bin_hz
    weights = np.where(
        (hz >= 50) & (hz < _PASS_BAND_HZ), 0.5 + 0.5 * np.cos(np.pi * hz / _PASS_BAND_HZ), 0
    )
    correlation = np.fft.irfft(magnitude * weights)
    at_periods = correlation[:, _LAGS] / np.maximum(correlation[:, :1], 1e-9)
    period = at_periods.argmax(1) + _LAGS.start
    audible = level > level.max() * 10 ** (-_RANGE_DB / 20)
    has_pitch = (at_periods.max(1) > _STRONG) & audible
    # The levels of the partials relative to each other, [frames, partials] in dB.
    partials = np.round(np.arange(1, _PARTIALS + 1) * _N_FFT / period[:, None]).astype(int)
    rows = np.arange(len(magnitude))[:, None]
    near = [magnitude[rows, np.clip(partials + shift, 1, _N_FFT // 2)] for shift in (-1, 0, 1)]
    levels_db = 20 * np.log10(np.maximum(np.max(near, axis=0), 1e-7))
    levels_db = np.maximum(levels_db, levels_db.max(1, keepdims=True) - _PARTIAL_RANGE_DB)
    levels_db -= levels_db.mean(1, keepdims=True)
    level_changes = np.abs(levels_db[_LAG:] - levels_db[:-_LAG]).mean(1)
    pitch_changes = np.abs(np.log(period[_LAG:] / period[:-_LAG]))
    moves = (level_changes > _CHANGE_DB) & (pitch_changes > _PITCH_CHANGE)
    # A frame is compared with those of its two neighbours that have a pitch.
    comparable = has_pitch[_LAG:] & has_pitch[:-_LAG]
    nothing = np.zeros(_LAG, bool)
    is_compared = np.r_[comparable, nothing] | np.r_[nothing, comparable]
    stays = comparable & ~moves
    clear = is_compared & ~np.r_[stays, nothing] & ~np.r_[nothing, stays]
    times_s = np.flatnonzero(clear) * _HOP / _RATE_HZ
    if len(times_s) * _HOP < max(
        _LEAST_CLEAR_S * _RATE_HZ, _LEAST_CLEAR_SHARE * has_pitch.sum() * _HOP
    ):
        return False
    edges_s = (0.0, *times_s, len(samples) / _RATE_HZ)
    return all(later_s - earlier_s < _LONGEST_GAP_S for earlier_s, later_s in pairwise(edges_s))
