"""Four features by jdann, librosa and PyTorch, for `features.py`.

The features are log-mels, MFCC, zero crossings and spectral contrast, one below the other, with the
sizes of configs/base.py.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import scipy.fft

from jdann import features
from jdann.configuration import base_config
from jdann.features.spectral import spectrogram

RATE_HZ = 16000
CONFIG = base_config().features
SIZES = {"n_fft": CONFIG.n_fft, "hop_length": CONFIG.hop_length}
FRAMING = {"frame_length": CONFIG.n_fft, "hop_length": CONFIG.hop_length}
# The defaults of librosa's spectral contrast.
CONTRAST_BANDS, CONTRAST_FMIN_HZ, CONTRAST_QUANTILE = 7, 200.0, 0.02
ROWS = {"mel": CONFIG.n_mels, "mfcc": CONFIG.n_mfcc, "zcr": 1, "contrast": CONTRAST_BANDS}


def features_of_jdann(y: jax.Array) -> jax.Array:
    """The four features [bins, frames] of one utterance [samples]."""
    power, _ = spectrogram(y, power=2, **SIZES)
    mel = features.power_to_db(
        features.melspectrogram(S=power, sr=RATE_HZ, n_fft=CONFIG.n_fft, n_mels=CONFIG.n_mels)
    )
    contrast = features.spectral_contrast(S=jnp.sqrt(power), sr=RATE_HZ, n_fft=CONFIG.n_fft)
    coefficients = features.mfcc(S=mel, n_mfcc=CONFIG.n_mfcc)
    crossings = features.zero_crossing_rate(y, **FRAMING)
    return jnp.concatenate([mel, coefficients, crossings, contrast])


@jax.jit
def batch_by_jdann(y: jax.Array) -> jax.Array:
    """The four features [batch, bins, frames] of [batch, samples]."""
    return jax.lax.map(features_of_jdann, y)


def features_of_librosa(y: np.ndarray) -> np.ndarray:
    """The four features [bins, frames] of one utterance, each computed from the samples."""
    mel = librosa.power_to_db(
        librosa.feature.melspectrogram(y=y, sr=RATE_HZ, n_mels=CONFIG.n_mels, **SIZES)
    )
    coefficients = librosa.feature.mfcc(
        y=y, sr=RATE_HZ, n_mfcc=CONFIG.n_mfcc, n_mels=CONFIG.n_mels, **SIZES
    )
    crossings = librosa.feature.zero_crossing_rate(y, **FRAMING)
    contrast = librosa.feature.spectral_contrast(y=y, sr=RATE_HZ, **SIZES)
    return np.concatenate([mel, coefficients, crossings, contrast])


def features_of_librosa_with_one_stft(y: np.ndarray) -> np.ndarray:
    """The four features [bins, frames] of one utterance, whose STFT is computed once."""
    magnitude = np.abs(librosa.stft(y, **SIZES))
    mel = librosa.power_to_db(
        librosa.feature.melspectrogram(S=magnitude**2, sr=RATE_HZ, n_mels=CONFIG.n_mels)
    )
    coefficients = librosa.feature.mfcc(S=mel, n_mfcc=CONFIG.n_mfcc)
    crossings = librosa.feature.zero_crossing_rate(y, **FRAMING)
    contrast = librosa.feature.spectral_contrast(S=magnitude, sr=RATE_HZ)
    return np.concatenate([mel, coefficients, crossings, contrast])


def pitch_of_librosa(y: np.ndarray) -> np.ndarray:
    """The pitch [frames] of one utterance in Hz."""
    return librosa.yin(y, fmin=65, fmax=600, sr=RATE_HZ, **FRAMING)


def contrast_bands() -> list[tuple[int, int, int]]:
    """For each band of librosa's spectral contrast: its first bin, its end, how many bins count.

    A band begins one bin early, and leaves its last bin to the next band.
    """
    freq = np.fft.rfftfreq(CONFIG.n_fft, 1 / RATE_HZ)
    edges = np.concatenate([[0.0], CONTRAST_FMIN_HZ * 2.0 ** np.arange(CONTRAST_BANDS)])
    bands = []
    for k in range(CONTRAST_BANDS):
        is_last = k == CONTRAST_BANDS - 1
        inside = np.flatnonzero((freq >= edges[k]) & (freq <= edges[k + 1]))
        low = int(inside[0]) - (k > 0)
        high = len(freq) if is_last else int(inside[-1]) + 1
        count = max(1, round(CONTRAST_QUANTILE * (high - low)))
        bands.append((low, high if is_last else high - 1, count))
    return bands


def make_features_of_torch(torch: Any) -> Callable[[np.ndarray], Any]:
    """A function that computes the four features [batch, bins, frames] of [batch, samples]."""
    n_fft, hop = CONFIG.n_fft, CONFIG.hop_length
    window = torch.hann_window(n_fft)
    filters = torch.from_numpy(librosa.filters.mel(sr=RATE_HZ, n_fft=n_fft, n_mels=CONFIG.n_mels))
    transform = np.asarray(scipy.fft.dct(np.eye(CONFIG.n_mels), norm="ortho", axis=0))
    cosines = torch.from_numpy(transform[: CONFIG.n_mfcc].astype(np.float32))
    bands = contrast_bands()

    @torch.inference_mode()
    def compute(y: np.ndarray) -> Any:
        x = torch.from_numpy(y)
        spectrum = torch.stft(
            x, n_fft, hop, window=window, center=True, pad_mode="constant", return_complex=True
        )
        magnitude = spectrum.abs()  # [batch, bins, frames]
        mel = torch_decibels(torch, filters @ magnitude.square())
        contrast = torch_contrast(torch, magnitude, bands)
        crossings = torch_crossings(torch, x, n_fft, hop)
        return torch.cat([mel, cosines @ mel, crossings, contrast], 1)

    return compute


def torch_decibels(torch: Any, power: Any) -> Any:
    """Power in dB, at most 80 dB below the largest value of each utterance."""
    db = 10 * torch.log10(power.clamp(min=1e-10))
    return torch.maximum(db, db.amax((-2, -1), keepdim=True) - 80)


def torch_contrast(torch: Any, magnitude: Any, bands: list[tuple[int, int, int]]) -> Any:
    """Spectral contrast [batch, bands, frames] in dB of [batch, bins, frames]."""
    peak = [magnitude[:, low:high].topk(n, 1).values.mean(1) for low, high, n in bands]
    valley = [
        magnitude[:, low:high].topk(n, 1, largest=False).values.mean(1) for low, high, n in bands
    ]
    return torch_decibels(torch, torch.stack(peak, 1)) - torch_decibels(
        torch, torch.stack(valley, 1)
    )


def torch_crossings(torch: Any, x: Any, n_fft: int, hop: int) -> Any:
    """Zero crossing rate [batch, 1, frames] of [batch, samples]."""
    half = n_fft // 2
    padded = torch.nn.functional.pad(x[:, None], (half, half), mode="replicate")[:, 0]
    is_negative = padded < -1e-10
    changes = is_negative[:, 1:] != is_negative[:, :-1]
    rate = changes.unfold(1, n_fft - 1, hop).float().mean(2, keepdim=True).mT  # [batch, 1, frames]
    return rate * ((n_fft - 1) / n_fft)
