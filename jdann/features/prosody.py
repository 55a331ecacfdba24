"""Prosody of an utterance in 84 numbers: how loud, how high, in which rhythm, and where the formants of its vowels lie.

Across languages emotion is recognised by how one speaks. Statistics of loudness, fundamental frequency, rhythm and formants go
over from one language to another; those of the whole spectrum describe more of the sounds of one (`benchmarks/recipes.py`).
Tracks are `[..., frames]`, results `[...]`; all are finite, with finite gradients, for any audio.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jdann.features.statistics import latest, masked_mean, masked_percentiles, masked_std, runs

_ACTIVE = 0.15  # of the 95th percentile of loudness: what is softer is a pause
_LOUDNESS_FLOOR = 1e-3
_NUCLEUS_PROMINENCE = (
    0.3  # of a syllable's nucleus above the dips around it, in natural logarithms of loudness
)
_NUCLEUS_DISTANCE_S = 0.08  # between two of them
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
_OF_FORMANTS = tuple(DISTRIBUTION.index(name) for name in ("mean", "std", "p20", "p50", "p80"))
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


def prosodic_statistics(
    tracks: dict[str, jax.Array],
    power: jax.Array,
    voicing: jax.Array,
    valid: jax.Array,
    *,
    hop_s: float,
) -> jax.Array:
    """The 84 numbers, in the order of PROSODIC.

    Loudness is described over the active frames: those above 15 % of the utterance's 95th percentile, in logarithms.
    Fundamental frequency (semitones) and formants (Hz, and dB relative to the first harmonic) are described over voiced frames
    from the first active frame to the last; over all of these where none is voiced. Rhythm counts syllable nuclei as peaks of
    smoothed loudness (de Jong and Wempe 2009, "Praat script to detect syllable nuclei and measure speech rate automatically"),
    with the pairwise variability of their intervals (Grabe and Low 2002). The level is that of the audio given: left as it was
    recorded, by `audio.level_db=0`, it is among what tells most.

    Args:
      tracks: of `voice_tracks`, [..., frames] each.
      power: mean square of each frame's samples, [..., frames].
      voicing: [..., frames] in [0, 1], above 0.5 where a frame counts as voiced.
      valid: bool [..., frames], the frames of the utterance.
      hop_s: between frames.

    Returns:
      float32 [..., 84].
    """
    loudness = tracks["loudness"]
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
    formant = described[..., 3:, np.asarray(_OF_FORMANTS)]
    values = [
        described[..., 0, :],
        jnp.stack([level_db, described[..., 2, 0], described[..., 2, _P95]], -1),
        described[..., 1, :],
        _rhythm(log_loudness, active, voiced, extent, hop_s),
        formant.reshape(*formant.shape[:-2], -1),
    ]
    return jnp.concatenate(values, -1)


def distribution(x: jax.Array, mask: jax.Array) -> jax.Array:
    """The numbers of DISTRIBUTION [..., 11] of x [..., frames] over mask [..., frames]; the last two are those of Fisher."""
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
    """Marks [..., frames] all frames between the first and the last of a mask, both included."""
    frame = jnp.arange(mask.shape[-1], dtype=jnp.float32)
    first = jnp.where(mask, frame, jnp.inf).min(-1, keepdims=True)
    last = jnp.where(mask, frame, -jnp.inf).max(-1, keepdims=True)
    return (frame >= first) & (frame <= last)


def _rhythm(
    log_loudness: jax.Array, active: jax.Array, voiced: jax.Array, extent: jax.Array, hop_s: float
) -> jax.Array:
    """The numbers of RHYTHM [..., 14]; durations in seconds."""
    nucleus = nuclei(log_loudness, extent, hop_s)
    interval, second, variability = _intervals(nucleus, hop_s)
    inner = extent & ~voiced & _from_first_to_last(voiced)  # gaps between voiced parts
    lengths, ends = runs(jnp.stack([voiced, inner], -2), hop_s)  # [..., 2, frames]
    longest = jnp.where(ends, lengths, 0.0).max(-1)
    mean, std = masked_mean(lengths, ends), masked_std(lengths, ends)
    number = ends[..., 0, :].astype(jnp.float32).sum(-1)
    count, frames = (marks.astype(jnp.float32).sum(-1) for marks in (nucleus, extent))
    duration = jnp.maximum(frames, 1) * hop_s
    parts = masked_mean(jnp.stack([voiced, active], -2).astype(jnp.float32), extent[..., None, :])
    return jnp.stack(
        [
            jnp.log(duration), count / duration, count,
            jnp.where(second.any(-1), masked_mean(variability, second), 0.5),
            masked_std(interval, nucleus & (interval > 0)), jnp.where(nucleus, interval, 0.0).max(-1),
            parts[..., 0], mean[..., 0], std[..., 0], longest[..., 0], number / duration,
            mean[..., 1], longest[..., 1], 1 - parts[..., 1],
        ],
        -1,
    )  # fmt: skip


def nuclei(log_loudness: jax.Array, extent: jax.Array, hop_s: float) -> jax.Array:
    """Marks syllable nuclei: peaks of loudness, smoothed over 70 ms, 0.3 or more above the dips that part them from higher ones.

    Of peaks less than 80 ms apart only the highest counts. The prominence is that of `scipy.signal.peak_prominences`.

    Args:
      log_loudness: [..., frames], natural logarithm.
      extent: bool [..., frames], one run of frames to look at.
      hop_s: between frames.

    Returns:
      bool [..., frames].
    """
    x = jnp.where(extent, _smoothed(jax.lax.stop_gradient(log_loudness), extent, hop_s), -jnp.inf)
    frame = jnp.arange(
        x.shape[-1], dtype=jnp.float32
    )  # XLA takes maxima of integers slowly on CPUs
    reach = max(1, round(_NUCLEUS_DISTANCE_S / hop_s))
    before, after = (
        frame[None] < frame[:, None],
        frame[None] > frame[:, None],
    )  # [frames i, frames j]
    near = jnp.abs(frame[None] - frame[:, None]) < reach
    here, there = x[..., :, None], x[..., None, :]
    beaten = near & ((there > here) | ((there == here) & before))  # of equals the first one counts
    inner = extent & jnp.roll(extent, 1, -1) & jnp.roll(extent, -1, -1)
    peak = inner & ~beaten.any(-1)
    higher = there > here
    left = jnp.where(higher & before, frame, -1).max(-1)[
        ..., None
    ]  # the nearest higher frame on either side
    right = jnp.where(higher & after, frame, frame.shape[0]).min(-1)[..., None]
    inside = extent[..., None, :]
    left_dip = jnp.where(inside & before & (frame > left), there, jnp.inf).min(-1)
    right_dip = jnp.where(inside & after & (frame < right), there, jnp.inf).min(-1)
    return peak & (x - jnp.maximum(left_dip, right_dip) >= _NUCLEUS_PROMINENCE)


def _smoothed(x: jax.Array, mask: jax.Array, hop_s: float) -> jax.Array:
    """The mean over a window of 70 ms, of the frames of the mask."""
    half = max(1, round(_SMOOTHING_S / hop_s / 2 - 0.25))
    pads = [(0, 0)] * (x.ndim - 1) + [(half, half)]

    def windowed(v: jax.Array) -> jax.Array:
        v = jnp.pad(v, pads)
        return jnp.stack([v[..., i : i + x.shape[-1]] for i in range(2 * half + 1)]).sum(0)

    return windowed(jnp.where(mask, x, 0.0)) / jnp.maximum(windowed(mask.astype(x.dtype)), 1.0)


def _intervals(nucleus: jax.Array, hop_s: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of each nucleus: seconds since the one before, zero at the first; whether two are before; variability of the intervals."""
    frame = jnp.arange(nucleus.shape[-1], dtype=jnp.float32)
    up_to = latest(nucleus)
    previous = jnp.concatenate(
        [jnp.full_like(up_to[..., :1], -1), up_to[..., :-1]], -1
    )  # index of the nucleus before
    interval = jnp.where(nucleus & (previous >= 0), (frame - previous) * hop_s, 0.0)
    before = jnp.take_along_axis(
        interval, jnp.maximum(previous, 0).astype(jnp.int32), -1
    )  # the interval that ended there
    second = nucleus & (previous >= 0) & (before > 0)
    sum_ = jnp.where(second, interval + before, 1.0)
    return interval, second, 2 * jnp.abs(interval - before) / sum_
