"""Prosody of an utterance in 84 numbers: loudness, pitch, rhythm and formants.

These statistics transfer from one language to another, because emotion changes how people speak in
every language. Statistics of the whole spectrum describe more the sounds of one language
(`benchmarks/recipes.py` compares them). Tracks are `[..., frames]`, results `[...]`. Values and
gradients are finite for any audio.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jdann.features.statistics import (
    frame_number,
    latest,
    masked_mean,
    masked_percentiles,
    masked_std,
    runs,
)

_ACTIVE = 0.15  # frames below this fraction of the 95th percentile of loudness are pauses
_LOUDNESS_FLOOR = 1e-3
# A syllable nucleus is this much louder than the dips around it, in natural logarithms.
_NUCLEUS_PROMINENCE = 0.3
_NUCLEUS_DISTANCE_S = 0.08  # smallest distance between two nuclei
_SMOOTHING_S = 0.07
_FORMANTS = tuple(f"f{i}_{part}" for i in (1, 2, 3) for part in ("frequency", "bandwidth", "level"))

DISTRIBUTION = (
    "mean",
    "std",
    "p05",
    "p20",
    "p50",
    "p80",
    "p95",
    "range_20_80",
    "range_05_95",
    "skewness",
    "kurtosis",
)
_FORMANT_COLUMNS = tuple(DISTRIBUTION.index(name) for name in ("mean", "std", "p20", "p50", "p80"))
_P95 = DISTRIBUTION.index("p95")
RHYTHM = (
    *(
        "log_duration",
        "nuclei_per_s",
        "nuclei",
        "interval_variability",
        "interval_std",
        "interval_max",
    ),
    *(
        "voiced_fraction",
        "voiced_mean",
        "voiced_std",
        "voiced_max",
        "voiced_per_s",
        "gap_mean",
        "gap_max",
        "pause_fraction",
    ),
)
PROSODIC = (
    *(f"loudness/{name}" for name in (*DISTRIBUTION, "level_db", "linear_mean", "linear_p95")),
    *(f"pitch/{name}" for name in DISTRIBUTION),
    *(f"rhythm/{name}" for name in RHYTHM),
    *(f"{name}/{kind}" for name in _FORMANTS for kind in ("mean", "std", "p20", "p50", "p80")),
)


def begins_with_prosody(bins: Sequence[str]) -> bool:
    """Whether the first values of a recipe are those of PROSODIC, so that it has a first view."""
    return tuple(bins[: len(PROSODIC)]) == PROSODIC


def has_two_views(bins: Sequence[str]) -> bool:
    """Whether there are more values after those of PROSODIC, which make a second view."""
    return begins_with_prosody(bins) and len(bins) > len(PROSODIC)


def prosodic_statistics(
    tracks: dict[str, jax.Array],
    power: jax.Array,
    voicing: jax.Array,
    valid: jax.Array,
    *,
    hop_s: float,
) -> jax.Array:
    """The 84 numbers, in the order of PROSODIC.

    Statistics of the logarithm of loudness use the active frames: those above 15 % of the
    utterance's 95th percentile. Statistics of pitch (semitones) and formants (Hz, and dB relative
    to the first harmonic) use the voiced frames between the first and the last active frame, or all
    frames between these if none is voiced. Rhythm counts syllable nuclei as peaks of smoothed
    loudness (de Jong and Wempe 2009, "Praat script to detect syllable nuclei and measure speech
    rate automatically"), and has the pairwise variability of their intervals (Grabe and Low 2002).
    The level is that of the audio. It is one of the most useful numbers if the audio keeps its
    recorded level (`audio.level_db=0`).

    Args:
      tracks: the tracks of `voice_tracks`, each [..., frames].
      power: mean square of each frame's samples, [..., frames].
      voicing: [..., frames] in [0, 1], above 0.5 where a frame counts as voiced.
      valid: bool [..., frames], the frames of the utterance.
      hop_s: seconds between frames.

    Returns:
      float32 [..., 84].
    """
    loudness = tracks["loudness"]
    chex.assert_equal_shape([loudness, power, voicing, valid])
    loud = masked_percentiles(loudness, valid, (95.0,))
    active = valid & (loudness > _ACTIVE * loud)
    active = jnp.where(active.any(-1, keepdims=True), active, valid)
    extent = valid & _from_first_to_last(active)
    voiced = extent & (voicing > 0.5)
    voiced_or_all = jnp.where(voiced.any(-1, keepdims=True), voiced, extent)

    log_loudness = jnp.log(loudness + _LOUDNESS_FLOOR)
    rows = jnp.stack(
        [log_loudness, tracks["log_f0"], loudness, *(tracks[name] for name in _FORMANTS)], -2
    )
    mask = jnp.stack([active, voiced_or_all, extent, *[voiced_or_all] * len(_FORMANTS)], -2)
    level_db = 10 * jnp.log10(jnp.maximum(masked_mean(power, valid), 1e-10))
    described = distribution(rows, mask)  # [..., rows, 11]
    formant = described[..., 3:, np.asarray(_FORMANT_COLUMNS)]
    values = [
        described[..., 0, :],
        jnp.stack([level_db, described[..., 2, 0], described[..., 2, _P95]], -1),
        described[..., 1, :],
        _rhythm(log_loudness, active, voiced, extent, hop_s),
        formant.reshape(*formant.shape[:-2], -1),
    ]
    return jnp.concatenate(values, -1)


def distribution(x: jax.Array, mask: jax.Array) -> jax.Array:
    """The numbers of DISTRIBUTION [..., 11] of x [..., frames] over mask [..., frames].

    Skewness and kurtosis are those of Fisher.
    """
    mean, std = masked_mean(x, mask), masked_std(x, mask)
    percentiles = masked_percentiles(x, mask, (5.0, 20.0, 50.0, 80.0, 95.0))
    p05, p20, _, p80, p95 = jnp.moveaxis(percentiles, -1, 0)
    varies = std > 1e-6
    z = jnp.where(
        mask & varies[..., None],
        (x - mean[..., None]) / jnp.where(varies, std, 1.0)[..., None],
        0.0,
    )
    skewness = masked_mean(z**3, mask)
    kurtosis = jnp.where(varies, masked_mean(z**4, mask) - 3, 0.0)
    shape = jnp.stack([p80 - p20, p95 - p05, skewness, kurtosis], -1)
    return jnp.concatenate([jnp.stack([mean, std], -1), percentiles, shape], -1)


def _from_first_to_last(mask: jax.Array) -> jax.Array:
    """A mask [..., frames] from the first to the last frame of a mask, both included."""
    frame = frame_number(mask)
    first = jnp.where(mask, frame, jnp.inf).min(-1, keepdims=True)
    last = jnp.where(mask, frame, -jnp.inf).max(-1, keepdims=True)
    return (frame >= first) & (frame <= last)


def _rhythm(
    log_loudness: jax.Array, active: jax.Array, voiced: jax.Array, extent: jax.Array, hop_s: float
) -> jax.Array:
    """The numbers of RHYTHM [..., 14]; durations in seconds."""
    nucleus = nuclei(log_loudness, extent, hop_s)
    interval, second, variability = _intervals(nucleus, hop_s)
    gaps = extent & ~voiced & _from_first_to_last(voiced)  # between voiced runs
    lengths, ends = runs(jnp.stack([voiced, gaps], -2), hop_s)  # [..., 2, frames]
    longest = jnp.where(ends, lengths, 0.0).max(-1)
    mean, std = masked_mean(lengths, ends), masked_std(lengths, ends)
    number = ends[..., 0, :].astype(jnp.float32).sum(-1)
    count, frames = (marks.astype(jnp.float32).sum(-1) for marks in (nucleus, extent))
    duration = jnp.maximum(frames, 1) * hop_s
    parts = masked_mean(jnp.stack([voiced, active], -2).astype(jnp.float32), extent[..., None, :])
    values = [
        jnp.log(duration),
        count / duration,
        count,
        jnp.where(second.any(-1), masked_mean(variability, second), 0.5),
        masked_std(interval, nucleus & (interval > 0)),
        jnp.where(nucleus, interval, 0.0).max(-1),
        parts[..., 0],
        mean[..., 0],
        std[..., 0],
        longest[..., 0],
        number / duration,
        mean[..., 1],
        longest[..., 1],
        1 - parts[..., 1],
    ]
    return jnp.stack(values, -1)


def nuclei(log_loudness: jax.Array, extent: jax.Array, hop_s: float) -> jax.Array:
    """Marks syllable nuclei: prominent peaks of loudness.

    Loudness is smoothed over 70 ms. A peak is prominent if it is 0.3 or more above the dips between
    it and higher peaks, as in `scipy.signal.peak_prominences`. Of several peaks within 80 ms only
    the highest counts.

    Args:
      log_loudness: [..., frames], natural logarithm.
      extent: bool [..., frames], one unbroken run of frames that are searched.
      hop_s: seconds between frames.

    Returns:
      bool [..., frames].
    """
    x = jnp.where(extent, _smoothed(jax.lax.stop_gradient(log_loudness), extent, hop_s), -jnp.inf)
    frame = frame_number(x)
    frame_i, frame_j = frame[..., :, None], frame[..., None, :]
    x_i, x_j = x[..., :, None], x[..., None, :]
    reach = max(1, round(_NUCLEUS_DISTANCE_S / hop_s))
    # [..., frames i, frames j]: whether frame j is before, after or near frame i.
    before, after = frame_j < frame_i, frame_j > frame_i
    near = jnp.abs(frame_j - frame_i) < reach
    # A nearby frame is higher; of several equal frames the first one counts.
    beaten = near & ((x_j > x_i) | ((x_j == x_i) & before))
    inner = extent & jnp.roll(extent, 1, -1) & jnp.roll(extent, -1, -1)
    peak = inner & ~beaten.any(-1)
    higher = x_j > x_i
    # The nearest higher frame on each side [..., frames, 1].
    left = jnp.where(higher & before, frame_j, -1).max(-1)[..., None]
    right = jnp.where(higher & after, frame_j, x.shape[-1]).min(-1)[..., None]
    inside = extent[..., None, :]
    left_dip = jnp.where(inside & before & (frame_j > left), x_j, jnp.inf).min(-1)
    right_dip = jnp.where(inside & after & (frame_j < right), x_j, jnp.inf).min(-1)
    return peak & (x - jnp.maximum(left_dip, right_dip) >= _NUCLEUS_PROMINENCE)


def _smoothed(x: jax.Array, mask: jax.Array, hop_s: float) -> jax.Array:
    """Mean of x [..., frames] over the frames of the mask within a window of 70 ms."""
    half = max(1, round(_SMOOTHING_S / hop_s / 2 - 0.25))
    pads = [(0, 0)] * (x.ndim - 1) + [(half, half)]

    def windowed(v: jax.Array) -> jax.Array:
        v = jnp.pad(v, pads)
        return jnp.stack([v[..., i : i + x.shape[-1]] for i in range(2 * half + 1)]).sum(0)

    return windowed(jnp.where(mask, x, 0.0)) / jnp.maximum(windowed(mask.astype(x.dtype)), 1.0)


def _intervals(nucleus: jax.Array, hop_s: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Intervals between nuclei, at the frames of nucleus [..., frames].

    Returns:
      Seconds since the previous nucleus, zero at the first one; a mask of the nuclei that have two
      or more before them; and the relative difference of the last two intervals.
    """
    frame = frame_number(nucleus)
    last = latest(nucleus)
    # Index of the previous nucleus, without the frame itself.
    previous = jnp.concatenate([jnp.full_like(last[..., :1], -1), last[..., :-1]], -1)
    interval = jnp.where(nucleus & (previous >= 0), (frame - previous) * hop_s, 0.0)
    # The interval that ended at the previous nucleus.
    before = jnp.take_along_axis(interval, jnp.maximum(previous, 0).astype(jnp.int32), -1)
    second = nucleus & (previous >= 0) & (before > 0)
    sum_ = jnp.where(second, interval + before, 1.0)
    return interval, second, 2 * jnp.abs(interval - before) / sum_
