"""Recipes: what is computed from a batch of signals for the encoders, `[batch, samples] -> [batch, frames, bins]`.

The padding law: features of a zero-padded signal are those of the signal alone up to its length, and zero beyond it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jdann.errors import InputError
from jdann.features.prosody import pitch
from jdann.features.spectral import (
    contrast_bands,
    melspectrogram,
    mfcc,
    power_to_db,
    safe_sqrt,
    spectral_contrast,
    spectrogram,
)
from jdann.features.temporal import zero_crossing_rate

Extract = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]

_POSTER_RATE_HZ, _POSTER_N_FFT, _POSTER_HOP = 22050, 2048, 512
_A1_HZ = 55.0


class Recipe(NamedTuple):
    """How features are computed.

    `extract` takes signals float32 [batch, samples], padded at the end, and their lengths int32 [batch] in samples, and
    returns features float32 [batch, frames, bins] and lengths int32 [batch] in frames. It is pure; jit it once.
    """

    name: str
    sample_rate_hz: int
    bins: tuple[str, ...]  # a name for each bin; for "poster", a sequence of one bin, for each of its 149 values
    hop_s: float  # between frames
    extract: Extract


def make_recipe(features_config: Any, sample_rate_hz: int) -> Recipe:
    """Makes the recipe that `config.features` asks for.

    Args:
      features_config: `recipe`, one of RECIPES; `n_fft` and `hop_length`, samples; `n_mels`; `n_mfcc`.
      sample_rate_hz: of the signals that `extract` will be given.

    Returns:
      The Recipe.

    Raises:
      InputError: the recipe is unknown or cannot be computed at this sampling rate or with these sizes.
    """
    name = features_config.recipe
    if name not in RECIPES:
        raise InputError(f"unknown features.recipe {name!r}: expected one of {', '.join(RECIPES)}")
    return RECIPES[name](features_config, sample_rate_hz)


def _frames(config: Any, sample_rate_hz: int) -> Recipe:
    n_fft, hop_length, n_mels, n_mfcc = config.n_fft, config.hop_length, config.n_mels, config.n_mfcc
    if n_mfcc > n_mels:
        raise InputError(f"features.n_mfcc={n_mfcc}: expected at most features.n_mels={n_mels}")
    n_contrast = len(contrast_bands(sample_rate_hz, n_fft))

    def extract(signal: jax.Array, length_samples: jax.Array) -> tuple[jax.Array, jax.Array]:
        signal, held = _end_at(signal, length_samples)
        squared, _ = spectrogram(signal, n_fft=n_fft, hop_length=hop_length, power=2)
        length, valid = _valid_frames(length_samples, hop_length, squared.shape[-1])
        # Zero beyond the end: neither top_db's peak nor the loudest frame is then found there.
        squared = jnp.where(valid[:, None], squared, 0.0)
        magnitude = safe_sqrt(squared)
        mel_db = power_to_db(melspectrogram(S=squared, sr=sample_rate_hz, n_fft=n_fft, n_mels=n_mels))
        f0_hz, voicing = pitch(S=magnitude, sr=sample_rate_hz, n_fft=n_fft)
        rows = [
            mel_db,
            mfcc(S=mel_db, n_mfcc=n_mfcc),
            zero_crossing_rate(held, frame_length=n_fft, hop_length=hop_length),
            spectral_contrast(S=magnitude, sr=sample_rate_hz, n_fft=n_fft),
            _filled_log_f0(f0_hz, voicing > 0.5)[:, None],
            voicing[:, None],
        ]
        features = jnp.swapaxes(jnp.concatenate(rows, -2), -1, -2)  # [batch, frames, bins]
        return jnp.where(valid[..., None], features, 0.0), length

    contrast = _numbered("contrast", n_contrast)
    bins = (*_numbered("mel", n_mels), *_numbered("mfcc", n_mfcc), "zcr", *contrast, "log_f0", "voicing")
    return Recipe("frames", sample_rate_hz, bins, hop_length / sample_rate_hz, extract)


def _poster(_: Any, sample_rate_hz: int) -> Recipe:
    """The published system: 149 time means with librosa's defaults, whatever sizes the config gives.

    Zero-crossing rate 1, MFCC 13, mel power 128, spectral contrast 7, in this order, as 149 frames of one bin.
    """
    if sample_rate_hz != _POSTER_RATE_HZ:
        raise InputError(
            f'audio.sample_rate_hz={sample_rate_hz}: features.recipe="poster" expects {_POSTER_RATE_HZ}, set it to that'
        )

    def extract(signal: jax.Array, length_samples: jax.Array) -> tuple[jax.Array, jax.Array]:
        signal, held = _end_at(signal, length_samples)
        squared, _ = spectrogram(signal, n_fft=_POSTER_N_FFT, hop_length=_POSTER_HOP, power=2)
        length, valid = _valid_frames(length_samples, _POSTER_HOP, squared.shape[-1])
        squared = jnp.where(valid[:, None], squared, 0.0)
        mel = melspectrogram(S=squared, sr=_POSTER_RATE_HZ)
        rows = [
            zero_crossing_rate(held, frame_length=_POSTER_N_FFT, hop_length=_POSTER_HOP),
            mfcc(S=power_to_db(mel), n_mfcc=13),
            mel,
            spectral_contrast(S=safe_sqrt(squared), sr=_POSTER_RATE_HZ),
        ]
        frames = jnp.where(valid[:, None], jnp.concatenate(rows, -2), 0.0)  # [batch, 149, frames]
        means = frames.sum(-1, keepdims=True) / length[:, None, None]
        return means, jnp.full_like(length, means.shape[1])

    bins = ("zcr", *_numbered("mfcc", 13), *_numbered("mel", 128), *_numbered("contrast", 7))
    return Recipe("poster", _POSTER_RATE_HZ, bins, _POSTER_HOP / _POSTER_RATE_HZ, extract)


RECIPES: dict[str, Callable[[Any, int], Recipe]] = {"frames": _frames, "poster": _poster}


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}_{i:0{len(str(count - 1))}d}" for i in range(count))


def _end_at(signal: jax.Array, length_samples: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The signals followed by zeros, and by their last sample, which is how librosa pads for zero crossings."""
    inside = jnp.arange(signal.shape[-1]) < length_samples[:, None]
    last = jnp.take_along_axis(signal, jnp.maximum(length_samples - 1, 0)[:, None], -1)
    return jnp.where(inside, signal, 0.0), jnp.where(inside, signal, last)


def _valid_frames(length_samples: jax.Array, hop_length: int, n_frames: int) -> tuple[jax.Array, jax.Array]:
    length = jnp.asarray(1 + length_samples // hop_length, jnp.int32)
    return length, jnp.arange(n_frames) < length[:, None]


def _filled_log_f0(f0_hz: jax.Array, voiced: jax.Array) -> jax.Array:
    """Semitones above 55 Hz [batch, frames]; elsewhere the median of the voiced frames, zero where there are none."""
    semitones = 12.0 * jnp.log2(f0_hz / _A1_HZ)
    ordered = jnp.sort(jnp.where(voiced, semitones, jnp.inf), -1)  # voiced frames first
    count = voiced.sum(-1, keepdims=True)
    middle = jnp.concatenate([jnp.maximum(count - 1, 0) // 2, jnp.minimum(count // 2, voiced.shape[-1] - 1)], -1)
    median = jnp.take_along_axis(ordered, middle, -1).mean(-1, keepdims=True)
    return jnp.where(voiced, semitones, jnp.where(count > 0, median, 0.0))
