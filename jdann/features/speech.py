"""Finds speech in a recording, by its level, its pitch and the movement of its partials.

Nothing here is trained. A frame may be speech if it is voiced, or if it is louder than the
background, which is measured in each band and along the recording. A stretch of such frames is
speech if a part of it is voiced, its partials move, their levels change relative to each other, and
so does the spectrum as a whole. The partials of a tone, a hum or a chord do not move. Those of a
vibrato or a siren move, but keep their levels. Noise has no partials; if a narrow band of it seems
to have some, its spectrum stays the same.

    evidence = join_evidence([measure(samples)])  # of a longer recording, one part after the other
    utterances = cut(find_speech(evidence), evidence.level_db, longest_s=5.0)
"""

import threading
from collections.abc import Callable, Iterable
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from jdann.features.pitch import pitch
from jdann.features.spectral import melspectrogram, spectrogram
from jdann.program_cache import compile_program

SAMPLE_RATE_HZ = 16000
FRAME_S = 0.01
LONGEST_S = 60.0  # the longest part of a recording that `measure` accepts
CONTEXT_S = 10.0  # the background of a frame is measured from this much audio on each side
SHORTEST_UTTERANCE_S = 0.3  # a cut never leaves a shorter piece

_HOP = round(FRAME_S * SAMPLE_RATE_HZ)
_N_FFT = 1024
# Audio is padded to one of these lengths, so that the program is compiled for a few shapes only.
_SIZES = tuple(round(s * SAMPLE_RATE_HZ) for s in (2.5, 5.0, 20.0, LONGEST_S))

# The thresholds were chosen on recordings made of CASIA and EmoDB (benchmarks/recordings.py).
_BANDS, _LOW_HZ, _HIGH_HZ = 20, 150.0, 6000.0
_SILENCE_DB = -75.0  # a band whose level, relative to full scale, is lower counts as silent
_RANGE_DB = 50.0  # frames that are weaker than the loudest ones by more than this are not speech
_STRETCH_RANGE_DB = 38.0  # the same within a stretch
# The background of a band: the first percentile is taken over each cell of this length, and the
# second percentile over the cells of the context.
_CELL_S, _CELL_PERCENTILE, _FLOOR_PERCENTILE = 0.5, 20, 10
_MARGIN_DB, _MOST_DB = 3.0, 20.0  # subtracted from a band's contrast; the most that a band counts
_CONTRAST_ON_DB, _CONTRAST_OFF_DB = 1.2, 0.8  # hysteresis
_VOICED = 0.3  # least voicing of a voiced frame; in noise, one frame of a thousand exceeds .26
# Least correlation of steady partials. In speech, 95 of 100 voiced frames have .65 or less; chords
# have .97 or more.
_STEADY = 0.7
_STEADY_LAG = 10  # frames between the compared spectra
# Least change of the partials' levels relative to each other. In speech, the median of the voiced
# frames of a clip is 1.7 dB or more; in a tone with vibrato, 0.7 dB or less.
_CHANGE_DB = 1.5
_COMPARED_PARTIALS, _PARTIAL_RANGE_DB = 10, 30.0
_CHANGING_SHARE = 0.5  # least share of the voiced frames of a stretch
# Least standard deviation of the bands' levels, relative to each other, over the loud frames of a
# stretch. In speech it is 2.4 dB or more, and 1.8 dB or more in white noise of the same level; in
# bursts of filtered noise it is 1.6 dB or less.
_VARIED_DB = 1.75
_LOUD_RANGE_DB, _BAND_RANGE_DB = 10.0, 30.0
# A part is steady if a window of this length has so many steady frames for each voiced one.
_STEADY_PART_S, _STEADY_RATIO = 0.7, 2.0
_STEADY_MARGIN_S = 0.3  # steady frames so close to a stretch count as frames of it
_PARTIALS = slice(13, 192)  # bins, 200 to 3000 Hz
_SMOOTHED_BINS = 17
_LEAST_VOICED_S, _LEAST_VOICED_SHARE = 0.12, 0.07  # how much of a stretch of speech is voiced
_VOICED_RUN_S = 0.04  # a voiced run of this length may be speech at any level
_PADDING_S = 0.2  # added before and after a stretch, for weak sounds
_SHORTEST_PAUSE_S = 0.3
_lock = threading.Lock()


class Evidence(NamedTuple):
    """What tells speech from its background, for each frame of FRAME_S."""

    level_db: np.ndarray  # [frames] float32, relative to full scale
    contrast_db: np.ndarray  # [frames] float32, 0 or more, above the background
    voiced: np.ndarray  # [frames] bool, whether it has a pitch and its partials move
    changing: np.ndarray  # [frames] bool, whether it is voiced and its partials change in level
    steady: np.ndarray  # [frames] bool, whether it has a pitch and its partials do not move
    bands_db: np.ndarray  # [frames, bands] float32, the level of each band


class Stretch(NamedTuple):
    """A part of a recording."""

    start_s: float
    end_s: float


def measure(samples: np.ndarray) -> Evidence:
    """The evidence of each frame of a recording, or of a part of it.

    Args:
      samples: [samples] float32 at SAMPLE_RATE_HZ, up to LONGEST_S. If they are a part of a
        recording, the frames in CONTEXT_S at each end lack a part of their background; take these
        frames from the neighbouring part.

    Returns:
      The evidence of len(samples) // 160 frames; frame t is centred at sample 160 t.
    """
    frames = len(samples) // _HOP
    if not frames or not samples.any():
        no_frame = np.zeros(frames, bool)
        return Evidence(
            level_db=np.full(frames, -120, np.float32),
            contrast_db=np.zeros(frames, np.float32),
            voiced=no_frame,
            changing=no_frame,
            steady=no_frame,
            bands_db=np.full((frames, _BANDS), -120, np.float32),
        )
    size = next(size for size in _SIZES if len(samples) <= size)
    # Shorter audio is repeated up to this size, so that the padding has the same background.
    padded = np.resize(samples.astype(np.float32), size)
    bands_db, level_db, voicing, steadiness, change_db = (
        np.asarray(track)[:frames] for track in _compiled(size)(padded)
    )
    audible = level_db > max(_SILENCE_DB, np.percentile(level_db, 98) - _RANGE_DB)
    has_pitch = (ndimage.uniform_filter1d(voicing, 3) > _VOICED) & audible
    return Evidence(
        level_db=level_db,
        contrast_db=np.where(audible, _contrast_db(bands_db), 0).astype(np.float32),
        voiced=has_pitch & (steadiness < _STEADY),
        changing=has_pitch & (steadiness < _STEADY) & (change_db > _CHANGE_DB),
        steady=has_pitch & (steadiness >= _STEADY),
        bands_db=bands_db,
    )


def compile_all() -> None:
    """Compiles `measure` for every length, so that no later call waits for that."""
    for size in _SIZES:
        _compiled(size)


def _compiled(size: int) -> Callable[[np.ndarray], tuple[jax.Array, ...]]:
    """`_measure` for [size] samples, compiled once, whichever thread comes first."""
    with _lock:
        return _compile(size)


@cache
def _compile(size: int) -> Callable[[np.ndarray], tuple[jax.Array, ...]]:
    return compile_program("speech", _measure, (np.zeros(size, np.float32),))


def _measure(samples: jax.Array) -> tuple[jax.Array, ...]:
    """Bands [frames, bands] and level, both in dB; voicing, steadiness and change of the partials.

    All but the first are [frames].
    """
    magnitude, _ = spectrogram(samples, n_fft=_N_FFT, hop_length=_HOP)  # [bins, frames]
    magnitude = magnitude * (2 / _N_FFT)  # relative to full scale
    power = jnp.square(magnitude)
    bands = melspectrogram(
        S=power,
        sr=SAMPLE_RATE_HZ,
        n_fft=_N_FFT,
        n_mels=_BANDS,
        fmin=_LOW_HZ,
        fmax=_HIGH_HZ,
        norm=None,
    )
    # Each bin is divided by its background, so that a rumble does not hide the voice. To measure
    # the background, a few frames are enough.
    background = jnp.percentile(magnitude[:, ::32], 20.0, axis=1, keepdims=True)
    magnitude = magnitude / jnp.maximum(background, 10 ** (_SILENCE_DB / 20))
    # Each frame is scaled to 1, because `pitch` lets the voicing of weaker frames fade.
    relative = magnitude / jnp.maximum(magnitude.sum(0, keepdims=True), 1e-9)
    track = pitch(S=relative, sr=SAMPLE_RATE_HZ, n_fft=_N_FFT)
    change_db = _level_change_db(power.T, track.f0_hz)
    steadiness = _steadiness(relative.T)
    return _decibels(bands.T), _decibels(power.sum(0)), track.voicing, steadiness, change_db


def _decibels(power: jax.Array) -> jax.Array:
    return 10 * jnp.log10(jnp.maximum(power, 1e-12))


def _steadiness(magnitude: jax.Array) -> jax.Array:
    """The correlation of each frame's spectral peaks with those 0.1 s later or earlier.

    The larger of the two correlations is taken, so that a chord is steady from its first frame to
    its last.

    Args:
      magnitude: [frames, bins].

    Returns:
      [frames], 0 to 1.
    """
    logs = jnp.log(jnp.maximum(magnitude[:, _PARTIALS], 1e-7))
    half = _SMOOTHED_BINS // 2
    sums = jnp.cumsum(jnp.pad(logs, ((0, 0), (half + 1, half)), mode="edge"), axis=1)
    local = (sums[:, _SMOOTHED_BINS:] - sums[:, :-_SMOOTHED_BINS]) / _SMOOTHED_BINS
    peaks = jnp.maximum(logs - local, 0.0)
    peaks = peaks / jnp.maximum(jnp.linalg.norm(peaks, axis=1, keepdims=True), 1e-9)
    later = (peaks * jnp.roll(peaks, -_STEADY_LAG, 0)).sum(1)
    return jnp.maximum(later, jnp.roll(later, _STEADY_LAG))


def _level_change_db(power: jax.Array, pitch_hz: jax.Array) -> jax.Array:
    """How much the partials' levels, relative to each other, change within 0.1 s, as a mean.

    The levels are read at the multiples of the pitch. So they do not change if only the pitch
    moves, as in a vibrato or a siren; in speech, the formants move too. The smaller one of the
    changes before and after a frame is taken.

    Args:
      power: [frames, bins].
      pitch_hz: [frames].

    Returns:
      [frames], dB.
    """
    multiples = pitch_hz[:, None] * np.arange(1, _COMPARED_PARTIALS + 1, dtype=np.float32)[None]
    bins = jnp.round(multiples * (_N_FFT / SAMPLE_RATE_HZ)).astype(jnp.int32)  # [frames, partials]
    near = [
        jnp.take_along_axis(power, jnp.clip(bins + shift, 1, power.shape[1] - 1), 1)
        for shift in (-1, 0, 1)
    ]
    levels_db = _decibels(jnp.stack(near).max(0))
    levels_db = jnp.maximum(levels_db, levels_db.max(1, keepdims=True) - _PARTIAL_RANGE_DB)
    levels_db -= levels_db.mean(1, keepdims=True)
    later = jnp.abs(levels_db - jnp.roll(levels_db, -_STEADY_LAG, 0)).mean(1)
    return jnp.minimum(later, jnp.roll(later, _STEADY_LAG))


def _contrast_db(bands_db: np.ndarray) -> np.ndarray:
    """How much louder each frame is than the background, as the mean over bands, [frames].

    The background is found by minimum statistics (Martin 2001, "Noise power spectral density
    estimation based on optimal smoothing and minimum statistics"), with low percentiles instead of
    minima.
    """
    bands_db = ndimage.uniform_filter1d(bands_db, 5, axis=0, mode="nearest")
    edges = np.linspace(0, len(bands_db), 1 + max(1, int(len(bands_db) * FRAME_S / _CELL_S)))
    edges = edges.astype(int)
    cells = np.stack(
        [
            np.percentile(bands_db[first:end], _CELL_PERCENTILE, axis=0)
            for first, end in pairwise(edges)
        ]
    )
    width = 1 + 2 * round(0.8 * CONTEXT_S / _CELL_S)
    floor = ndimage.percentile_filter(cells, _FLOOR_PERCENTILE, size=(width, 1), mode="nearest")
    floor = ndimage.uniform_filter1d(floor, 5, axis=0, mode="nearest")
    loudest = np.percentile(bands_db, 98, axis=0).max()
    floor = np.maximum(floor, max(_SILENCE_DB, loudest - _RANGE_DB))
    above = bands_db - np.repeat(floor, np.diff(edges), axis=0)
    contrast = np.clip(above - _MARGIN_DB, 0, _MOST_DB).mean(1)
    return ndimage.uniform_filter1d(contrast, 5, mode="nearest")


def join_evidence(parts: Iterable[Evidence]) -> Evidence:
    """Joins the evidence of consecutive parts of a recording."""
    columns = zip(*parts, strict=True)
    return Evidence(*(np.concatenate(column) for column in columns))


def find_speech(evidence: Evidence) -> list[Stretch]:
    """Finds the stretches of a recording that hold speech.

    A stretch includes 0.2 s before and after the speech, for weak sounds, and pauses of less than
    0.3 s.

    Args:
      evidence: that of the whole recording.

    Returns:
      Stretches in order, which do not touch; none if there is no speech.
    """
    frames = len(evidence.level_db)
    if not frames:
        return []
    candidate = _hysteresis(evidence.contrast_db, _CONTRAST_ON_DB, _CONTRAST_OFF_DB)
    candidate |= ndimage.binary_opening(evidence.voiced, np.ones(round(_VOICED_RUN_S / FRAME_S)))
    # A part that is steady for the most, as music is, must not be joined with speech beside it.
    width = round(_STEADY_PART_S / FRAME_S)
    excess = evidence.steady - _STEADY_RATIO * evidence.voiced
    candidate &= ndimage.uniform_filter1d(excess, width, mode="constant") <= 0
    for first, end in _padded_runs(candidate):
        level_db = evidence.level_db[first:end]
        candidate[first:end] &= level_db > level_db.max() - _STRETCH_RANGE_DB
    stretches, margin = [], round(_STEADY_MARGIN_S / FRAME_S)
    for first, end in _padded_runs(candidate):
        voiced = evidence.voiced[first:end].sum()
        steady = evidence.steady[max(0, first - margin) : end + margin].sum()
        least = max(_LEAST_VOICED_S / FRAME_S, _LEAST_VOICED_SHARE * (end - first))
        changing = evidence.changing[first:end].sum()
        if voiced < least or voiced <= steady or changing < _CHANGING_SHARE * voiced:
            continue
        if _variation_db(evidence.bands_db[first:end], evidence.level_db[first:end]) > _VARIED_DB:
            stretches.append(Stretch(first * FRAME_S, end * FRAME_S))
    return stretches


def _variation_db(bands_db: np.ndarray, level_db: np.ndarray) -> float:
    """How much the spectrum changes within a stretch, whatever its level.

    Args:
      bands_db: [frames, bands].
      level_db: [frames].

    Returns:
      The standard deviation over the loud frames of a band's level relative to the other bands,
      as a mean over the bands, dB.
    """
    loud_db = bands_db[level_db > level_db.max() - _LOUD_RANGE_DB]
    loud_db = np.maximum(loud_db, loud_db.max(1, keepdims=True) - _BAND_RANGE_DB)
    return float((loud_db - loud_db.mean(1, keepdims=True)).std(0).mean())


def holds_speech(samples: np.ndarray) -> bool:
    """Whether a clip holds speech.

    Args:
      samples: [samples] float32 at SAMPLE_RATE_HZ. Only the first LONGEST_S are used.
    """
    return bool(find_speech(measure(samples[: round(LONGEST_S * SAMPLE_RATE_HZ)])))


def cut(stretches: Iterable[Stretch], level_db: np.ndarray, longest_s: float) -> list[Stretch]:
    """Cuts stretches into utterances.

    A stretch that is too long is cut in two at its quietest point, and so are the parts that are
    still too long.

    Args:
      stretches: from `find_speech`.
      level_db: [frames], the level of the recording.
      longest_s: length of the longest utterance, more than twice SHORTEST_UTTERANCE_S.

    Returns:
      Utterances in order.
    """
    quiet = ndimage.uniform_filter1d(level_db, 5, mode="nearest")
    utterances, remaining = [], [*stretches][::-1]
    while remaining:
        stretch = remaining.pop()
        length_s = stretch.end_s - stretch.start_s
        if length_s <= longest_s + FRAME_S / 2:
            utterances.append(stretch)
            continue
        # The cut leaves a first piece of at most `longest_s`, and of at least half of that if the
        # stretch is long.
        low_s = max(SHORTEST_UTTERANCE_S, min(longest_s, length_s / 2) / 2)
        high_s = min(longest_s, length_s - SHORTEST_UTTERANCE_S)
        first, end = (round((stretch.start_s + s) / FRAME_S) for s in (low_s, high_s))
        middle_s = (first + int(np.argmin(quiet[first : end + 1]))) * FRAME_S
        remaining += [Stretch(middle_s, stretch.end_s), Stretch(stretch.start_s, middle_s)]
    return utterances


def _hysteresis(values: np.ndarray, on: float, off: float) -> np.ndarray:
    """The frames of runs above `off` in which a frame exceeds `on`, [frames] bool."""
    mask = np.zeros(len(values), bool)
    for first, end in _runs(values > off):
        mask[first:end] = values[first:end].max() > on
    return mask


def _runs(mask: np.ndarray) -> np.ndarray:
    """First frame and end of each run of true frames, [runs, 2]."""
    return np.flatnonzero(np.diff(np.r_[False, mask, False].astype(np.int8))).reshape(-1, 2)


def _padded_runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """The runs of true frames with padding; runs are joined if the pause between them is short."""
    shortest = round(_SHORTEST_PAUSE_S / FRAME_S)
    joined: list[tuple[int, int]] = []
    for first, end in _runs(ndimage.binary_dilation(mask, iterations=round(_PADDING_S / FRAME_S))):
        if joined and first - joined[-1][1] < shortest:
            joined[-1] = (joined[-1][0], int(end))
        else:
            joined.append((int(first), int(end)))
    return joined
