"""The extended Geneva minimalistic acoustic parameter set (eGeMAPS).

It has tracks of frames, and one vector per utterance: Eyben et al. 2016, "The Geneva minimalistic
acoustic parameter set (GeMAPS) for voice research and affective computing", IEEE TAC 7(2). The
definitions follow the paper. The numbers differ from those of openSMILE; `benchmarks/voice.py`
compares them.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jdann.errors import InputError
from jdann.features.formants import formants
from jdann.features.jitter_shimmer import perturbation
from jdann.features.pitch import Pitch
from jdann.features.statistics import (
    masked_mean,
    masked_percentiles,
    masked_std,
    peak_rate,
    segments,
    slopes,
)
from jdann.features.voice import (
    alpha_ratio,
    hammarberg_index,
    harmonic_levels,
    harmonics_to_noise,
    loudness,
    spectral_flux,
    spectral_slope,
)

_A0_HZ = 27.5
_LOWEST_RATE_HZ = 10000.0
_FORMANTS = ("f1", "f2", "f3")

# The tracks. Units are semitones, none, fraction of a period, dB, Hz and dB per kHz.
VOICE = (
    *("log_f0", "loudness", "jitter", "shimmer", "hnr", "h1_h2", "h1_a3"),
    *(f"{name}_{part}" for name in _FORMANTS for part in ("frequency", "bandwidth", "level")),
    *("alpha_ratio", "hammarberg", "slope_0_500", "slope_500_1500", "flux"),
)
VOICED = VOICE[:1] + VOICE[2:16]  # meaningful in voiced frames only
_EVERYWHERE = ("loudness", "flux", "mfcc1", "mfcc2", "mfcc3", "mfcc4")  # statistics over all frames
# Also statistics over unvoiced frames.
_BALANCE = ("alpha_ratio", "hammarberg", "slope_0_500", "slope_500_1500", "flux")
_CONTOURS = ("log_f0", "loudness")
_COURSE = ("p20", "p50", "p80", "range", "rising_mean", "rising_std", "falling_mean", "falling_std")
_POSITIVE = (
    *("loudness", "flux", "jitter", "shimmer"),
    *(f"{name}_{part}" for name in _FORMANTS for part in ("frequency", "bandwidth")),
)
_TRACKS = (*VOICE, "mfcc1", "mfcc2", "mfcc3", "mfcc4")
_ALSO_VOICED = tuple(name for name in _EVERYWHERE if name != "loudness")
_ROWS = (
    *_TRACKS,
    *(f"{name}_unvoiced" for name in _BALANCE),
    *(f"{name}_voiced" for name in _ALSO_VOICED),
)
# The order in which `functionals` computes its values.
_COMPUTED = (
    *(f"{name}_{kind}" for kind in ("mean", "std") for name in _ROWS),
    *(f"{name}_{kind}" for name in _CONTOURS for kind in _COURSE),
    *(
        f"{name}_segment{kind}"
        for name in ("voiced", "unvoiced")
        for kind in ("s_per_s", "_mean_s", "_std_s")
    ),
    *("loudness_peaks_per_s", "sound_level_db"),
)
_NOT_IN_THE_SET = {*(f"{name}_unvoiced_std" for name in _BALANCE), "unvoiced_segments_per_s"}
EGEMAPS = tuple(sorted({*_COMPUTED} - _NOT_IN_THE_SET))
_ORDER = tuple(_COMPUTED.index(parameter) for parameter in EGEMAPS)


def voice_tracks(
    *, y: jax.Array, S: jax.Array, pitch: Pitch, sr: float, hop_length: int, n_fft: int
) -> dict[str, jax.Array]:
    """The descriptors of each frame except the MFCC.

    Args:
      y: float32 [..., samples].
      S: magnitude of `y` [..., 1 + n_fft // 2, frames] under a Hann window of n_fft samples; frame
        t is centred at sample t * hop_length.
      pitch: pitch of `y`.
      sr: sampling rate, Hz; at least 10 kHz.
      hop_length: samples between frames.
      n_fft: length of a frame, samples.

    Returns:
      float32 [..., frames] by name, in the order of VOICE. Those of VOICED are meaningful only in
      voiced frames.

    Raises:
      InputError: the sampling rate is too low.
    """
    chex.assert_shape(y, (..., None))
    chex.assert_shape(S, (..., n_fft // 2 + 1, None))
    chex.assert_equal_shape(pitch)
    if sr < _LOWEST_RATE_HZ:
        raise InputError(
            f"audio of {sr:g} Hz has too few frequencies for formants and voice quality: "
            f"expected at least {_LOWEST_RATE_HZ:g} Hz"
        )
    frequency_hz, bandwidth_hz = formants(S=S, sr=sr, n_fft=n_fft)
    levels = harmonic_levels(S=S, f0_hz=pitch.f0_hz, formant_hz=frequency_hz, sr=sr)
    jitter, shimmer_db = perturbation(y=y, f0_hz=pitch.f0_hz, sr=sr, hop_length=hop_length)
    tracks = (
        12.0 * jnp.log2(pitch.f0_hz / _A0_HZ),
        loudness(S=S, sr=sr, n_fft=n_fft),
        jitter,
        shimmer_db,
        harmonics_to_noise(S=S, f0_hz=pitch.f0_hz, sr=sr),
        -levels[..., 0, :],
        -levels[..., 3, :],
        *(
            x[..., i, :]
            for i in range(len(_FORMANTS))
            for x in (frequency_hz, bandwidth_hz, levels[..., 1:, :])
        ),
        alpha_ratio(S=S, sr=sr),
        hammarberg_index(S=S, sr=sr),
        spectral_slope(S=S, sr=sr, fmin=0.0, fmax=500.0),
        spectral_slope(S=S, sr=sr, fmin=500.0, fmax=1500.0),
        spectral_flux(S=S, sr=sr),
    )
    return dict(zip(VOICE, tracks, strict=True))


def functionals(
    tracks: dict[str, jax.Array],
    power: jax.Array,
    voicing: jax.Array,
    valid: jax.Array,
    *,
    hop_s: float,
) -> jax.Array:
    """The parameters of an utterance.

    They are means and standard deviations of all tracks, and percentiles and slopes of pitch and
    loudness. The standard deviation of a track with only positive values is divided by the mean.
    Tracks that are meaningful only in voiced frames use these, or all frames if none is voiced.
    Spectral balance has statistics over voiced and over unvoiced frames.

    Args:
      tracks: the tracks of `voice_tracks`, and mfcc1 to mfcc4, each [..., frames].
      power: mean square of each frame's samples, [..., frames].
      voicing: [..., frames] in [0, 1], above 0.5 where a frame counts as voiced.
      valid: bool [..., frames], the frames of the utterance.
      hop_s: seconds between frames.

    Returns:
      float32 [..., parameters], in the order of EGEMAPS.
    """
    chex.assert_equal_shape([tracks["loudness"], power, voicing, valid])
    voiced = valid & (voicing > 0.5)
    unvoiced = valid & ~voiced
    voiced_or_all = jnp.where(voiced.any(-1, keepdims=True), voiced, valid)
    names = (*_TRACKS, *_BALANCE, *_ALSO_VOICED)
    x = jnp.stack([tracks[name] for name in names], -2)  # [..., rows, frames]
    masks = [valid if name in _EVERYWHERE else voiced_or_all for name in _TRACKS]
    masks += [unvoiced] * len(_BALANCE) + [voiced_or_all] * len(_ALSO_VOICED)
    mask = jnp.stack(masks, -2)
    mean, std = masked_mean(x, mask), masked_std(x, mask)
    positive = np.asarray([name in _POSITIVE for name in _ROWS])
    std = jnp.where(positive, std / jnp.where(positive, jnp.maximum(mean, 1e-6), 1.0), std)

    contours = np.asarray([_ROWS.index(name) for name in _CONTOURS])
    contour = x[..., contours, :], mask[..., contours, :]
    percentiles = masked_percentiles(*contour, (20.0, 50.0, 80.0))  # [..., contours, 3]
    spread = percentiles[..., 2:] - percentiles[..., :1]
    # [..., contours, 8]
    courses = jnp.concatenate([percentiles, spread, slopes(*contour, hop_s)], -1)
    both = jnp.stack([voiced, unvoiced], -2)  # [..., 2, frames]
    voicing_segments = segments(both, valid[..., None, :], hop_s)  # [..., 2, 3]
    peaks = peak_rate(tracks["loudness"], valid, hop_s)
    level = 10 * jnp.log10(jnp.maximum(masked_mean(power, valid), np.float32(1e-10)))

    parts = [mean, std, courses, voicing_segments, jnp.stack([peaks, level], -1)]
    values = jnp.concatenate([part.reshape(*valid.shape[:-1], -1) for part in parts], -1)
    return values[..., np.asarray(_ORDER)]
