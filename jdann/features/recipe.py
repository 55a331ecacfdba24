"""Recipes: what is computed from a batch of signals for the encoders, `[batch, samples] -> [batch, frames, bins]`.

The padding law: features of a zero-padded signal are those of the signal alone up to its length, and zero beyond it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jdann.errors import InputError
from jdann.features.egemaps import EGEMAPS, VOICE, VOICED, functionals, voice_tracks
from jdann.features.pitch import Pitch, pitch
from jdann.features.prosody import PROSODIC, prosodic_statistics
from jdann.features.spectral import (
    melspectrogram,
    mfcc,
    power_to_db,
    safe_sqrt,
    spectral_contrast,
    spectrogram,
)
from jdann.features.statistics import bin_statistics, masked_mean
from jdann.features.temporal import zero_crossing_rate

VECTORS = ("poster", "prosody", "statistics")  # recipes of one vector an utterance
Extract = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]

_POSTER_RATE_HZ, _POSTER_N_FFT, _POSTER_HOP = 22050, 2048, 512
_A1_HZ = 55.0
_HANN_MEAN_SQUARE = 0.375


class Recipe(NamedTuple):
    """How features are computed.

    `extract` takes signals float32 [batch, samples], padded at the end, and their lengths int32 [batch] in samples, and
    returns features float32 [batch, frames, bins] and lengths int32 [batch] in frames. It is pure; jit it once.
    """

    name: str
    sample_rate_hz: int
    bins: tuple[
        str, ...
    ]  # a name for each bin; for "poster", a sequence of one bin, for each of its 149 values
    hop_s: float  # between frames
    extract: Extract


def make_recipe(features_config: Any, sample_rate_hz: int) -> Recipe:
    """Makes the recipe that `config.features` asks for.

    Args:
      features_config: `recipe`, one of RECIPES; `n_fft` and `hop_length`, samples; `n_mels`; `n_mfcc`. These sizes are
        for "frames"; "poster" has its own.
      sample_rate_hz: of the signals that `extract` will be given.

    Returns:
      The Recipe.

    Raises:
      InputError: the recipe is unknown or cannot be computed at this sampling rate or with these sizes.
    """
    name = features_config.recipe
    if name not in RECIPES:
        raise InputError(f"unknown features.recipe {name!r}: expected one of {', '.join(RECIPES)}")
    recipe = RECIPES[name](features_config, sample_rate_hz)
    # Traced, not computed: sizes that do not fit together are refused here and not in the middle of a run.
    try:
        jax.eval_shape(recipe.extract, jnp.zeros((1, sample_rate_hz)), jnp.ones(1, jnp.int32))
    except InputError as error:
        raise InputError(
            f"features.recipe={name!r} cannot be computed at audio.sample_rate_hz={sample_rate_hz}, to which audio of any rate is "
            f"brought (16000 suits all recipes but poster): {error}"
        ) from None
    return recipe


def _frames(config: Any, sample_rate_hz: int) -> Recipe:
    """Log-mels, MFCC, zero crossings, contrast, pitch and voicing of each frame, with `features.voice` also the voice's tracks."""
    analyse = _analysis(config, sample_rate_hz)
    voice = tuple(name for name in VOICE if name != "log_f0") if config.voice else ()

    def extract_one(signal: jax.Array, n_samples: jax.Array) -> tuple[jax.Array, jax.Array]:
        frames = analyse(signal, n_samples)
        voiced = frames.pitch.voicing > 0.5
        rows = [
            *frames.rows,
            _filled_log_f0(frames.pitch.f0_hz, voiced)[None],
            frames.pitch.voicing[None],
        ]
        if voice:
            tracks = _voice(frames, config, sample_rate_hz)
            rows += [_filled(tracks[name], voiced & frames.valid, name)[None] for name in voice]
        return jnp.where(
            frames.valid[:, None], jnp.concatenate(rows).T, 0.0
        ), frames.length  # [frames, bins]

    bins = (*_row_names(config), "log_f0", "voicing", *voice)
    return Recipe(
        "frames", sample_rate_hz, bins, config.hop_length / sample_rate_hz, _each(extract_one)
    )


def _prosody(config: Any, sample_rate_hz: int) -> Recipe:
    """One vector an utterance: its prosodic statistics."""
    analyse, hop_s = _analysis(config, sample_rate_hz), config.hop_length / sample_rate_hz

    def extract_one(signal: jax.Array, n_samples: jax.Array) -> tuple[jax.Array, jax.Array]:
        frames = analyse(signal, n_samples)
        tracks, power = _voice(frames, config, sample_rate_hz), _power(frames, config.n_fft)
        values = prosodic_statistics(tracks, power, frames.pitch.voicing, frames.valid, hop_s=hop_s)
        return values[:, None], jnp.full_like(n_samples, len(values))

    return Recipe("prosody", sample_rate_hz, PROSODIC, hop_s, _each(extract_one))


def _statistics(config: Any, sample_rate_hz: int) -> Recipe:
    """One vector an utterance: prosodic statistics, the eGeMAPS parameters, then statistics of the bins of "frames"."""
    analyse, hop_s = _analysis(config, sample_rate_hz), config.hop_length / sample_rate_hz

    def extract_one(signal: jax.Array, n_samples: jax.Array) -> tuple[jax.Array, jax.Array]:
        frames = analyse(signal, n_samples)
        tracks, power = _voice(frames, config, sample_rate_hz), _power(frames, config.n_fft)
        voice = (frames.pitch.voicing, frames.valid)
        prosodic = prosodic_statistics(tracks, power, *voice, hop_s=hop_s)
        coefficients = frames.rows[1]  # MFCC
        egemaps = functionals(
            tracks | {f"mfcc{i}": coefficients[i] for i in range(1, 5)}, power, *voice, hop_s=hop_s
        )
        log_f0 = _filled_log_f0(frames.pitch.f0_hz, frames.pitch.voicing > 0.5)
        bins = bin_statistics(jnp.concatenate([*frames.rows, log_f0[None]]), frames.valid)
        values = jnp.concatenate([prosodic, egemaps, bins.reshape(-1)])[:, None]
        return values, jnp.full_like(n_samples, len(values))  # [values, 1]

    kinds = ("mean", "std", "p10", "p90", "delta_std")
    bins = (
        *PROSODIC,
        *(f"egemaps/{name}" for name in EGEMAPS),
        *(f"{bin_}_{kind}" for kind in kinds for bin_ in (*_row_names(config), "log_f0")),
    )
    return Recipe("statistics", sample_rate_hz, bins, hop_s, _each(extract_one))


class _Frames(NamedTuple):
    """What the recipes on the config's sizes share, of one utterance."""

    signal: jax.Array  # [samples], zero beyond its end
    magnitude: jax.Array  # [1 + n_fft // 2, frames], zero beyond the end
    rows: tuple[jax.Array, ...]  # [bins, frames]: log-mels, MFCC, zero crossings, contrast
    pitch: Pitch
    length: jax.Array  # [] frames
    valid: jax.Array  # [frames]


def _analysis(config: Any, sample_rate_hz: int) -> Callable[[jax.Array, jax.Array], _Frames]:
    n_fft, hop_length, n_mels, n_mfcc = (
        config.n_fft,
        config.hop_length,
        config.n_mels,
        config.n_mfcc,
    )
    if n_mfcc > n_mels:
        raise InputError(f"features.n_mfcc={n_mfcc}: expected at most features.n_mels={n_mels}")

    def analyse(signal: jax.Array, n_samples: jax.Array) -> _Frames:
        squared, magnitude, crossings, length, valid = _shared(signal, n_samples, n_fft, hop_length)
        mel_db = power_to_db(
            melspectrogram(S=squared, sr=sample_rate_hz, n_fft=n_fft, n_mels=n_mels)
        )
        rows = (
            mel_db,
            mfcc(S=mel_db, n_mfcc=n_mfcc),
            crossings,
            spectral_contrast(S=magnitude, sr=sample_rate_hz, n_fft=n_fft),
        )
        inside = jnp.where(jnp.arange(signal.shape[0]) < n_samples, signal, 0.0)
        return _Frames(
            inside,
            magnitude,
            rows,
            pitch(S=magnitude, sr=sample_rate_hz, n_fft=n_fft),
            length,
            valid,
        )

    return analyse


def _row_names(config: Any) -> tuple[str, ...]:
    return (
        *_numbered("mel", config.n_mels),
        *_numbered("mfcc", config.n_mfcc),
        "zcr",
        *_numbered("contrast", 7),
    )


def _power(frames: _Frames, n_fft: int) -> jax.Array:
    """Mean square of each frame's samples [frames], by Parseval's theorem."""
    power = frames.magnitude.T**2  # [frames, bins]
    return (2 * power.sum(-1) - power[:, 0] - power[:, -1]) / (_HANN_MEAN_SQUARE * n_fft**2)


def _voice(frames: _Frames, config: Any, sample_rate_hz: int) -> dict[str, jax.Array]:
    sizes = {"sr": sample_rate_hz, "hop_length": config.hop_length, "n_fft": config.n_fft}
    return voice_tracks(y=frames.signal, S=frames.magnitude, pitch=frames.pitch, **sizes)


def _poster(_: Any, sample_rate_hz: int) -> Recipe:
    """The published system: 149 time means with librosa's defaults, whatever sizes the config gives.

    Zero-crossing rate 1, MFCC 13, mel power 128, spectral contrast 7, in this order, as 149 frames of one bin.
    """
    if sample_rate_hz != _POSTER_RATE_HZ:
        raise InputError(
            f'audio.sample_rate_hz={sample_rate_hz}: features.recipe="poster" expects {_POSTER_RATE_HZ}, set it to that'
        )

    def extract_one(signal: jax.Array, n_samples: jax.Array) -> tuple[jax.Array, jax.Array]:
        squared, magnitude, crossings, length, valid = _shared(
            signal, n_samples, _POSTER_N_FFT, _POSTER_HOP
        )
        mel = melspectrogram(S=squared, sr=_POSTER_RATE_HZ)
        contrast = spectral_contrast(S=magnitude, sr=_POSTER_RATE_HZ)
        rows = jnp.concatenate(
            [crossings, mfcc(S=power_to_db(mel), n_mfcc=13), mel, contrast]
        )  # [149, frames]
        means = jnp.where(valid, rows, 0.0).sum(-1, keepdims=True) / length
        return means, jnp.full_like(length, len(means))

    bins = ("zcr", *_numbered("mfcc", 13), *_numbered("mel", 128), *_numbered("contrast", 7))
    return Recipe(
        "poster", _POSTER_RATE_HZ, bins, _POSTER_HOP / _POSTER_RATE_HZ, _each(extract_one)
    )


RECIPES: dict[str, Callable[[Any, int], Recipe]] = {
    "frames": _frames,
    "poster": _poster,
    "prosody": _prosody,
    "statistics": _statistics,
}


def _each(extract_one: Extract) -> Extract:
    """Batches `extract_one`. On a CPU one utterance after the other, which stay in its cache, is the faster way."""

    def extract(signal: jax.Array, length_samples: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.lax.platform_dependent(
            jnp.asarray(signal, jnp.float32),
            jnp.asarray(length_samples, jnp.int32),
            cpu=lambda *batch: jax.lax.map(lambda one: extract_one(*one), batch),
            default=jax.vmap(extract_one),
        )

    return extract


def _shared(
    signal: jax.Array, n_samples: jax.Array, n_fft: int, hop_length: int
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Power and magnitude [bins, frames], zero crossings [1, frames], number of valid frames, and which they are."""
    half, frame = n_fft // 2, {"hop_length": hop_length, "center": False}
    padded = jnp.pad(signal, (half, half))
    sample = jnp.arange(padded.shape[0]) - half
    inside = (sample >= 0) & (sample < n_samples)
    squared, _ = spectrogram(jnp.where(inside, padded, 0.0), n_fft=n_fft, power=2, **frame)
    by_frame = squared.T  # as it lies in memory
    length = 1 + n_samples // hop_length
    valid = jnp.arange(by_frame.shape[0]) < length
    # Librosa repeats the first and the last sample for zero crossings; sums, or XLA looks these up for each sample.
    first, last = (jnp.where(sample == i, padded, 0.0).sum() for i in (0, n_samples - 1))
    held = jnp.where(inside, padded, jnp.where(sample < 0, first, last))
    crossings = zero_crossing_rate(held, frame_length=n_fft, **frame)
    # Power is zero beyond the end, so that no peak is found there.
    by_frame = jnp.where(valid[:, None], by_frame, 0.0)
    magnitude = jax.lax.optimization_barrier(
        safe_sqrt(by_frame)
    )  # or XLA takes the roots anew for each band
    return by_frame.T, magnitude.T, crossings, length, valid


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}_{i:0{len(str(count - 1))}d}" for i in range(count))


def _filled_log_f0(f0_hz: jax.Array, voiced: jax.Array) -> jax.Array:
    """Semitones above 55 Hz [frames]; elsewhere the median of the voiced frames, zero where there are none."""
    semitones = 12.0 * jnp.log2(f0_hz / _A1_HZ)
    ordered = jnp.sort(jnp.where(voiced, semitones, jnp.inf))  # voiced frames first
    count = voiced.sum()
    median = (
        ordered[jnp.maximum(count - 1, 0) // 2]
        + ordered[jnp.minimum(count // 2, voiced.shape[0] - 1)]
    ) / 2
    return jnp.where(voiced, semitones, jnp.where(count > 0, median, 0.0))


def _filled(track: jax.Array, voiced: jax.Array, name: str) -> jax.Array:
    """A track [frames] whose unvoiced frames have the mean of the voiced ones where they have no meaning of their own."""
    return jnp.where(voiced, track, masked_mean(track, voiced)) if name in VOICED else track
