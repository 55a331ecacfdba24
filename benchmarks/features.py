"""Four features of 3 s utterances at 16 kHz in jdann, librosa and PyTorch, in turn in one process.

    python benchmarks/features.py
    python benchmarks/features.py --tiny    # two short utterances; the figures mean nothing

The features are log-mels, MFCC, spectral contrast and zero crossings, with the sizes of
configs/base.py. jdann computes them in one jitted pass over a batch, and in two such calls from two
threads, each with half of the batch. librosa computes them function by function, and with one STFT
that is shared by hand, for one utterance after the other. PyTorch, if installed, computes them on
the whole batch as its users write it (`torch.stft`, products, `topk`), in single precision.
Before anything is timed, the numbers of each peer are compared with librosa's. The last two rows
add pitch: jdann's recipe "frames", and librosa with `librosa.yin`.

Times are medians over rounds; in each round every way runs once. Ratios are medians of the ratios
of each round. CPU time is that of all threads of the process. On a machine that does other work too
it says more than the clock. There, write `OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1` before the
command, so that the threads of the peers do not wait for each other.
"""

import argparse
import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import scipy.fft

from jdann import features
from jdann.configuration import base_config
from jdann.features.recipe import make_recipe
from jdann.features.spectral import spectrogram

try:
    import torch
except ModuleNotFoundError:
    torch = None

BATCH, SECONDS, RATE_HZ = 32, 3.0, 16000
CONFIG = base_config().features
SIZES = {"n_fft": CONFIG.n_fft, "hop_length": CONFIG.hop_length}
FRAMING = {"frame_length": CONFIG.n_fft, "hop_length": CONFIG.hop_length}
OURS = "jdann, two calls side by side"
ROWS = {"mel": CONFIG.n_mels, "mfcc": CONFIG.n_mfcc, "zcr": 1, "contrast": 7}
FMIN_HZ, QUANTILE = 200.0, 0.02  # librosa's defaults of spectral contrast


def clips(batch: int, seconds: float) -> np.ndarray:
    """[batch, samples] float32: harmonic sounds with moving pitch, and noise."""
    random = np.random.default_rng(0)
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    pitch_hz = random.uniform(90, 280, (batch, 1)) * (
        1 + 0.2 * np.sin(2 * np.pi * random.uniform(0.5, 3, (batch, 1)) * t)
    )
    phase = 2 * np.pi * np.cumsum(pitch_hz, 1) / RATE_HZ
    voice = sum(np.sin(k * phase) / k for k in range(1, 20))
    return (0.1 * voice + 0.01 * random.normal(size=voice.shape)).astype(np.float32)


def four_features(y: jax.Array) -> jax.Array:
    """The four features [bins, frames] of one utterance by jdann."""
    power, _ = spectrogram(y, power=2, **SIZES)
    mel = features.power_to_db(
        features.melspectrogram(S=power, sr=RATE_HZ, n_fft=CONFIG.n_fft, n_mels=CONFIG.n_mels)
    )
    contrast = features.spectral_contrast(S=jnp.sqrt(power), sr=RATE_HZ, n_fft=CONFIG.n_fft)
    return jnp.concatenate(
        [
            mel,
            features.mfcc(S=mel, n_mfcc=CONFIG.n_mfcc),
            features.zero_crossing_rate(y, **FRAMING),
            contrast,
        ]
    )


@jax.jit
def by_jdann(y: jax.Array) -> jax.Array:
    return jax.lax.map(four_features, y)


def by_librosa(y: np.ndarray) -> np.ndarray:
    """One utterance, each feature from the samples."""
    mel = librosa.power_to_db(
        librosa.feature.melspectrogram(y=y, sr=RATE_HZ, n_mels=CONFIG.n_mels, **SIZES)
    )
    coefficients = librosa.feature.mfcc(
        y=y, sr=RATE_HZ, n_mfcc=CONFIG.n_mfcc, n_mels=CONFIG.n_mels, **SIZES
    )
    crossings = librosa.feature.zero_crossing_rate(y, **FRAMING)
    return np.concatenate(
        [mel, coefficients, crossings, librosa.feature.spectral_contrast(y=y, sr=RATE_HZ, **SIZES)]
    )


def by_librosa_shared(y: np.ndarray) -> np.ndarray:
    """One utterance, its STFT computed once."""
    magnitude = np.abs(librosa.stft(y, **SIZES))
    mel = librosa.power_to_db(
        librosa.feature.melspectrogram(S=magnitude**2, sr=RATE_HZ, n_mels=CONFIG.n_mels)
    )
    crossings = librosa.feature.zero_crossing_rate(y, **FRAMING)
    contrast = librosa.feature.spectral_contrast(S=magnitude, sr=RATE_HZ)
    return np.concatenate(
        [mel, librosa.feature.mfcc(S=mel, n_mfcc=CONFIG.n_mfcc), crossings, contrast]
    )


def make_torch(torch: Any) -> Callable[[np.ndarray], Any]:
    """The four features [batch, bins, frames] of [batch, samples] in PyTorch."""
    n_fft, hop = CONFIG.n_fft, CONFIG.hop_length
    window = torch.hann_window(n_fft)
    filters = torch.from_numpy(librosa.filters.mel(sr=RATE_HZ, n_fft=n_fft, n_mels=CONFIG.n_mels))
    cosines = torch.from_numpy(
        scipy.fft.dct(np.eye(CONFIG.n_mels), norm="ortho", axis=0)[: CONFIG.n_mfcc].astype(
            np.float32
        )
    )
    freq = np.fft.rfftfreq(n_fft, 1 / RATE_HZ)
    edges = np.concatenate([[0.0], FMIN_HZ * 2.0 ** np.arange(7)])
    bands = []
    for k in range(7):  # librosa's: a band begins one bin early and leaves its last bin to the next
        inside = np.flatnonzero((freq >= edges[k]) & (freq <= edges[k + 1]))
        low, high = int(inside[0]) - (k > 0), len(freq) if k == 6 else int(inside[-1]) + 1
        bands.append((low, high if k == 6 else high - 1, max(1, round(QUANTILE * (high - low)))))

    def decibels(power: Any) -> Any:
        db = 10 * torch.log10(power.clamp(min=1e-10))
        return torch.maximum(db, db.amax((-2, -1), keepdim=True) - 80)

    @torch.inference_mode()
    def four(y: np.ndarray) -> Any:
        x = torch.from_numpy(y)
        spectrum = torch.stft(
            x, n_fft, hop, window=window, center=True, pad_mode="constant", return_complex=True
        )
        magnitude = spectrum.abs()  # [batch, bins, frames]
        mel = decibels(filters @ magnitude.square())
        peak = [magnitude[:, low:high].topk(n, 1).values.mean(1) for low, high, n in bands]
        valley = [
            magnitude[:, low:high].topk(n, 1, largest=False).values.mean(1)
            for low, high, n in bands
        ]
        contrast = decibels(torch.stack(peak, 1)) - decibels(torch.stack(valley, 1))
        padded = torch.nn.functional.pad(x[:, None], (n_fft // 2, n_fft // 2), mode="replicate")[
            :, 0
        ]
        sign = padded < -1e-10
        crossings = (sign[:, 1:] != sign[:, :-1]).unfold(1, n_fft - 1, hop).float().mean(
            2, keepdim=True
        ).mT * ((n_fft - 1) / n_fft)
        return torch.cat([mel, cosines @ mel, crossings, contrast], 1)

    return four


def check(name: str, values: np.ndarray, expected: np.ndarray, contrast_db: float = 1e-3) -> None:
    """Compares [batch, bins, frames] feature by feature.

    Spectral contrast in single precision differs where a band is nearly empty.
    """
    start = 0
    differences = []
    for feature, bins in ROWS.items():
        part = np.s_[:, start : start + bins]
        error = np.abs(values[part] - expected[part])
        limit = {"mel": 1e-2, "mfcc": 1e-2, "zcr": 1e-6, "contrast": contrast_db}[feature]
        assert error.max() <= limit, f"{name}: {feature} differs by {error.max():.2g}"
        differences.append(f"{feature} {error.max():.1g}")
        start += bins
    print(f"{name} beside librosa, largest difference: {', '.join(differences)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--tiny", action="store_true", help="a check in seconds; figures mean nothing"
    )
    arguments = parser.parse_args()
    batch, seconds, rounds = BATCH, SECONDS, arguments.rounds
    if arguments.tiny:
        batch, seconds, rounds = 2, 0.5, 1
    y = clips(batch, seconds)
    on_device, pool = jnp.asarray(y), ThreadPoolExecutor(2)
    halves = [jnp.asarray(part) for part in np.split(y, 2)]
    length = jnp.full(batch, y.shape[1], jnp.int32)
    by_torch = make_torch(torch) if torch else None
    recipe = jax.jit(make_recipe("frames", CONFIG, RATE_HZ).extract)

    expected = np.stack([by_librosa(clip) for clip in y])
    check("jdann", np.asarray(by_jdann(on_device)), expected)
    check("librosa, one STFT", np.stack([by_librosa_shared(clip) for clip in y]), expected)
    if by_torch:
        check("PyTorch", by_torch(y).numpy(), expected, 0.3)
    check("recipe", np.asarray(recipe(on_device, length)[0]).swapaxes(1, 2), expected)

    def with_yin(clip: np.ndarray) -> None:
        by_librosa(clip)
        librosa.yin(clip, fmin=65, fmax=600, sr=RATE_HZ, **FRAMING)

    ways: dict[str, Callable[[], object]] = {
        OURS: lambda: list(pool.map(lambda half: jax.block_until_ready(by_jdann(half)), halves)),
        "jdann, one call": lambda: jax.block_until_ready(by_jdann(on_device)),
        "librosa, function by function": lambda: [by_librosa(clip) for clip in y],
        "librosa, one STFT": lambda: [by_librosa_shared(clip) for clip in y],
        "PyTorch, batch": lambda: by_torch(y) if by_torch else None,
        "jdann, recipe frames with pitch, two calls": lambda: list(
            pool.map(lambda half: jax.block_until_ready(recipe(half, length[: batch // 2])), halves)
        ),
        "librosa, function by function, with yin": lambda: [with_yin(clip) for clip in y],
    }
    if by_torch is None:
        del ways["PyTorch, batch"]
    for way in ways.values():
        way()
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    load = os.getloadavg()[0]
    for _ in range(rounds):
        for name, way in ways.items():
            begun, used = time.perf_counter(), time.process_time()
            way()
            wall[name].append((time.perf_counter() - begun) / batch * 1000)
            cpu[name].append((time.process_time() - used) / batch * 1000)

    def ratio(times: dict[str, list[float]], name: str) -> float:
        return statistics.median(b / a for a, b in zip(times[OURS], times[name], strict=True))

    versions = ", ".join(
        f"{package} {version(package)}"
        for package in ("jax", "librosa", *(["torch"] if torch else []), "numpy")
    )
    print(
        f"\n{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} CPUs, "
        f"{jax.devices()[0].device_kind}, Python {platform.python_version()}, {versions}; "
        f"{rounds} rounds of {batch} utterances of {seconds:g} s; load average "
        f"{load:.1f} to {os.getloadavg()[0]:.1f}.\n"
    )
    print(
        "| ms an utterance | wall, median | fastest | slowest | CPU, median "
        "| wall beside the first row | CPU beside it |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in ways:
        times = wall[name]
        print(
            f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} | {max(times):.2f} "
            f"| {statistics.median(cpu[name]):.2f} | {ratio(wall, name):.1f}x "
            f"| {ratio(cpu, name):.1f}x |"
        )
    if torch is None:
        print("| PyTorch, batch | not installed | | | | | |")


if __name__ == "__main__":
    main()
