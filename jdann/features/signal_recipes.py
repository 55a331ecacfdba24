"""Recipes of the signal itself: frames, prosody, statistics, and those of the poster."""

from typing import Annotated, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jdann.errors import InputError
from jdann.features.egemaps import EGEMAPS, VOICE, VOICED, functionals, voice_tracks
from jdann.features.pitch import Pitch, pitch
from jdann.features.prosody import PROSODIC, prosodic_statistics
from jdann.features.recipe_contract import Extract, Recipe, SampleRate, numbered
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
from jdann.parameters import Count, Range, checked

FrameLength = Annotated[int, Range(16)]  # samples
EgemapsMfcc = Annotated[int, Range(5)]  # eGeMAPS uses the coefficients 1 to 4

_POSTER_RATE_HZ, _POSTER_N_FFT, _POSTER_HOP = 22050, 2048, 512
_A1_HZ = 55.0
_HANN_MEAN_SQUARE = 0.375
_BIN_STATISTICS = ("mean", "std", "p10", "p90", "delta_std")  # the order of `bin_statistics`


@checked
def frames(
    *,
    sample_rate_hz: SampleRate = 16000,
    n_fft: FrameLength = 1024,
    hop_length: Count = 256,
    n_mels: Count = 64,
    n_mfcc: Count = 40,
    voice: bool = False,
) -> Recipe:
    """Features of each frame: log-mels, MFCC, zero crossings, spectral contrast and pitch.

    Args:
      sample_rate_hz: sampling rate of the signals, Hz.
      n_fft: length of a frame, samples.
      hop_length: samples between frames.
      n_mels: number of mel bands.
      n_mfcc: number of cepstral coefficients, at most `n_mels`.
      voice: adds the tracks of `jdann.features.egemaps.VOICE`: loudness, jitter, shimmer,
        harmonics-to-noise ratio, harmonics, formants and spectral balance.

    Raises:
      InputError: a value is out of its range, or `n_mfcc` is larger than `n_mels`.
    """
    sizes = _Sizes(sample_rate_hz, n_fft, hop_length)
    _check_mfcc(n_mels, n_mfcc)
    voice_names = tuple(name for name in VOICE if name != "log_f0") if voice else ()

    def extract_one(signal: jax.Array, n_samples: jax.Array) -> tuple[jax.Array, jax.Array]:
        spectra = _spectra(signal, n_samples, sizes)
        voiced = spectra.pitch.voicing > 0.5
        rows = [
            *_spectral_rows(spectra, sizes, n_mels, n_mfcc),
            _filled_log_f0(spectra.pitch.f0_hz, voiced)[None],
            spectra.pitch.voicing[None],
        ]
        if voice_names:
            tracks = _voice_tracks(spectra, sizes)
            voiced &= spectra.valid
            rows += [_filled(tracks[name], voiced, name)[None] for name in voice_names]
        features = jnp.where(spectra.valid[:, None], jnp.concatenate(rows).T, 0.0)
        return features, spectra.length  # [frames, bins], []

    bins = (*_spectral_names(n_mels, n_mfcc), "log_f0", "voicing", *voice_names)
    return Recipe("frames", sample_rate_hz, bins, sizes.hop_s, False, _batched(extract_one))


@checked
def prosody(
    *,
    sample_rate_hz: SampleRate = 16000,
    n_fft: FrameLength = 1024,
    hop_length: Count = 256,
) -> Recipe:
    """One vector per utterance: its prosodic statistics, the 84 values of PROSODIC.

    Args:
      sample_rate_hz: sampling rate of the signals, at least 10000 Hz.
      n_fft: length of a frame, samples.
      hop_length: samples between frames.

    Raises:
      InputError: a value is out of its range.
    """
    sizes = _Sizes(sample_rate_hz, n_fft, hop_length)

    def extract_one(signal: jax.Array, n_samples: jax.Array) -> tuple[jax.Array, jax.Array]:
        spectra = _spectra(signal, n_samples, sizes)
        values = prosodic_statistics(
            _voice_tracks(spectra, sizes),
            _mean_square(spectra, n_fft),
            spectra.pitch.voicing,
            spectra.valid,
            hop_s=sizes.hop_s,
        )
        return values, jnp.ones_like(n_samples)  # [values], []

    return Recipe("prosody", sample_rate_hz, PROSODIC, sizes.hop_s, True, _batched(extract_one))


@checked
def statistics(
    *,
    sample_rate_hz: SampleRate = 16000,
    n_fft: FrameLength = 1024,
    hop_length: Count = 256,
    n_mels: Count = 64,
    n_mfcc: EgemapsMfcc = 40,
) -> Recipe:
    """One vector per utterance: prosody, the eGeMAPS parameters, and statistics of the frames.

    Args:
      sample_rate_hz: sampling rate of the signals, Hz.
      n_fft: length of a frame, samples.
      hop_length: samples between frames.
      n_mels: number of mel bands.
      n_mfcc: number of cepstral coefficients, 5 to `n_mels`.

    Raises:
      InputError: a value is out of its range, or `n_mfcc` is larger than `n_mels`.
    """
    sizes = _Sizes(sample_rate_hz, n_fft, hop_length)
    _check_mfcc(n_mels, n_mfcc)

    def extract_one(signal: jax.Array, n_samples: jax.Array) -> tuple[jax.Array, jax.Array]:
        spectra = _spectra(signal, n_samples, sizes)
        rows = _spectral_rows(spectra, sizes, n_mels, n_mfcc)
        tracks, power = _voice_tracks(spectra, sizes), _mean_square(spectra, n_fft)
        masks = (spectra.pitch.voicing, spectra.valid)
        prosodic = prosodic_statistics(tracks, power, *masks, hop_s=sizes.hop_s)
        coefficients = {f"mfcc{i}": rows[1][i] for i in range(1, 5)}
        egemaps = functionals(tracks | coefficients, power, *masks, hop_s=sizes.hop_s)
        log_f0 = _filled_log_f0(spectra.pitch.f0_hz, spectra.pitch.voicing > 0.5)
        of_bins = bin_statistics(jnp.concatenate([*rows, log_f0[None]]), spectra.valid)
        values = jnp.concatenate([prosodic, egemaps, of_bins.reshape(-1)])
        return values, jnp.ones_like(n_samples)  # [values], []

    names = (*_spectral_names(n_mels, n_mfcc), "log_f0")
    bins = (
        *PROSODIC,
        *(f"egemaps/{name}" for name in EGEMAPS),
        *(f"{name}_{statistic}" for statistic in _BIN_STATISTICS for name in names),
    )
    return Recipe("statistics", sample_rate_hz, bins, sizes.hop_s, True, _batched(extract_one))


@checked
def poster(*, sample_rate_hz: SampleRate = _POSTER_RATE_HZ) -> Recipe:
    """One vector per utterance: the published system's 149 time means, with librosa's defaults.

    In this order: zero-crossing rate 1, MFCC 13, mel power 128, spectral contrast 7.

    Args:
      sample_rate_hz: sampling rate of the signals; 22050 Hz is the only one.

    Raises:
      InputError: the sampling rate is another one.
    """
    if sample_rate_hz != _POSTER_RATE_HZ:
        raise InputError(
            f"audio.sample_rate_hz={sample_rate_hz}: "
            f'features.recipe="poster" expects {_POSTER_RATE_HZ}, set it to that'
        )
    sizes = _Sizes(_POSTER_RATE_HZ, _POSTER_N_FFT, _POSTER_HOP)

    def extract_one(signal: jax.Array, n_samples: jax.Array) -> tuple[jax.Array, jax.Array]:
        power, magnitude, crossings, length, valid = _framewise(signal, n_samples, sizes)
        mel = melspectrogram(S=power, sr=_POSTER_RATE_HZ)
        contrast = spectral_contrast(S=magnitude, sr=_POSTER_RATE_HZ)
        coefficients = mfcc(S=power_to_db(mel), n_mfcc=13)
        rows = jnp.concatenate([crossings, coefficients, mel, contrast])  # [149, frames]
        means = jnp.where(valid, rows, 0.0).sum(-1) / length.astype(jnp.float32)
        return means, jnp.ones_like(length)  # [149], []

    bins = ("zcr", *numbered("mfcc", 13), *numbered("mel", 128), *numbered("contrast", 7))
    return Recipe("poster", _POSTER_RATE_HZ, bins, sizes.hop_s, True, _batched(extract_one))


class _Sizes(NamedTuple):
    sample_rate_hz: int
    n_fft: int  # samples
    hop_length: int  # samples

    @property
    def hop_s(self) -> float:
        return self.hop_length / self.sample_rate_hz


class _Spectra(NamedTuple):
    """What several recipes need of one utterance."""

    signal: jax.Array  # [samples], zero after its end
    power: jax.Array  # [1 + n_fft // 2, frames], zero after the end
    magnitude: jax.Array  # [1 + n_fft // 2, frames], zero after the end
    crossings: jax.Array  # [1, frames]
    pitch: Pitch
    length: jax.Array  # [] number of valid frames
    valid: jax.Array  # [frames] bool


def _spectra(signal: jax.Array, n_samples: jax.Array, sizes: _Sizes) -> _Spectra:
    power, magnitude, crossings, length, valid = _framewise(signal, n_samples, sizes)
    inside = jnp.where(jnp.arange(signal.shape[0]) < n_samples, signal, 0.0)
    track = pitch(S=magnitude, sr=sizes.sample_rate_hz, n_fft=sizes.n_fft)
    return _Spectra(inside, power, magnitude, crossings, track, length, valid)


def _spectral_rows(
    spectra: _Spectra, sizes: _Sizes, n_mels: int, n_mfcc: int
) -> tuple[jax.Array, ...]:
    """Log-mels, MFCC, zero crossings and spectral contrast, each [bins, frames]."""
    sr, n_fft = sizes.sample_rate_hz, sizes.n_fft
    mel_db = power_to_db(melspectrogram(S=spectra.power, sr=sr, n_fft=n_fft, n_mels=n_mels))
    contrast = spectral_contrast(S=spectra.magnitude, sr=sr, n_fft=n_fft)
    return mel_db, mfcc(S=mel_db, n_mfcc=n_mfcc), spectra.crossings, contrast


def _spectral_names(n_mels: int, n_mfcc: int) -> tuple[str, ...]:
    """The names of the rows of `_spectral_rows`."""
    return (*numbered("mel", n_mels), *numbered("mfcc", n_mfcc), "zcr", *numbered("contrast", 7))


def _check_mfcc(n_mels: int, n_mfcc: int) -> None:
    if n_mfcc > n_mels:
        raise InputError(f"features.n_mfcc={n_mfcc}: expected at most features.n_mels={n_mels}")


def _mean_square(spectra: _Spectra, n_fft: int) -> jax.Array:
    """Mean square of each frame's samples [frames], by Parseval's theorem."""
    power = spectra.magnitude.T**2  # [frames, bins]
    return (2 * power.sum(-1) - power[:, 0] - power[:, -1]) / (_HANN_MEAN_SQUARE * n_fft**2)


def _voice_tracks(spectra: _Spectra, sizes: _Sizes) -> dict[str, jax.Array]:
    return voice_tracks(
        y=spectra.signal,
        S=spectra.magnitude,
        pitch=spectra.pitch,
        sr=sizes.sample_rate_hz,
        hop_length=sizes.hop_length,
        n_fft=sizes.n_fft,
    )


def _batched(extract_one: Extract) -> Extract:
    """Applies `extract_one`, for one utterance, to a batch.

    On a CPU it takes one utterance after the other, because the arrays of one utterance stay in the
    cache: that is faster than whole batches.
    """

    def extract(signal: jax.Array, length_samples: jax.Array) -> tuple[jax.Array, jax.Array]:
        chex.assert_rank([signal, length_samples], [2, 1])
        chex.assert_equal_shape_prefix([signal, length_samples], 1)
        return jax.lax.platform_dependent(
            jnp.asarray(signal, jnp.float32),
            jnp.asarray(length_samples, jnp.int32),
            cpu=lambda *batch: jax.lax.map(lambda utterance: extract_one(*utterance), batch),
            default=jax.vmap(extract_one),
        )

    return extract


def _framewise(
    signal: jax.Array, n_samples: jax.Array, sizes: _Sizes
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Spectra and zero crossings of the frames of one padded signal.

    Returns:
      Power and magnitude [bins, frames], zero crossings [1, frames], the number of valid frames,
      and a mask of the valid frames [frames].
    """
    half = sizes.n_fft // 2
    framing = {"hop_length": sizes.hop_length, "center": False}
    padded = jnp.pad(signal, (half, half))
    sample = jnp.arange(padded.shape[0]) - half
    inside = (sample >= 0) & (sample < n_samples)
    power, _ = spectrogram(jnp.where(inside, padded, 0.0), n_fft=sizes.n_fft, power=2, **framing)
    by_frame = power.T  # its order in memory
    length = 1 + n_samples // sizes.hop_length
    valid = jnp.arange(by_frame.shape[0]) < length
    # For zero crossings librosa repeats the first and the last sample. We take each of them as a
    # sum, because XLA would look up an indexed value again for every sample.
    first, last = (jnp.where(sample == i, padded, 0.0).sum() for i in (0, n_samples - 1))
    extended = jnp.where(inside, padded, jnp.where(sample < 0, first, last))
    crossings = zero_crossing_rate(extended, frame_length=sizes.n_fft, **framing)
    # Power is zero after the end, so that `power_to_db` finds no peak there.
    by_frame = jnp.where(valid[:, None], by_frame, 0.0)
    # Without the barrier XLA computes the roots again for each band of the contrast.
    magnitude = jax.lax.optimization_barrier(safe_sqrt(by_frame))
    return by_frame.T, magnitude.T, crossings, length, valid


def _filled_log_f0(f0_hz: jax.Array, voiced: jax.Array) -> jax.Array:
    """Semitones above 55 Hz [frames]; unvoiced frames get the median of the voiced ones.

    Without voiced frames all are zero.
    """
    semitones = 12.0 * jnp.log2(f0_hz / _A1_HZ)
    ordered = jnp.sort(jnp.where(voiced, semitones, jnp.inf))  # voiced frames first
    count = voiced.sum()
    lower = ordered[jnp.maximum(count - 1, 0) // 2]
    upper = ordered[jnp.minimum(count // 2, voiced.shape[0] - 1)]
    median = (lower + upper) / 2
    return jnp.where(voiced, semitones, jnp.where(count > 0, median, 0.0))


def _filled(track: jax.Array, voiced: jax.Array, name: str) -> jax.Array:
    """Fills a track [frames] that means nothing in unvoiced frames with its voiced mean there."""
    return jnp.where(voiced, track, masked_mean(track, voiced)) if name in VOICED else track
