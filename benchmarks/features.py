"""The four features of 3 s utterances at 16 kHz beside librosa and PyTorch, in turn in one process.

    python benchmarks/features.py

Log-mels, MFCC, spectral contrast and zero crossings with the sizes of configs/base.py: jdann in one jitted pass over a batch,
and in two such calls from two threads with half of it each; librosa function by function and with one STFT shared by hand, one
utterance after the other, as it works; PyTorch on the whole batch as its users write it (`torch.stft`, products, `topk`), in
single precision. Before anything is timed every peer's numbers are compared with librosa's. The last two rows add pitch: jdann's
recipe "frames" and librosa with `librosa.yin`.

Times are medians over rounds, in each of which every way runs once; ratios are medians of each round's ratios. CPU time is that of
the process in all its threads: on a machine that does other work too it says more than the clock. `OMP_NUM_THREADS=1
OPENBLAS_NUM_THREADS=1` before the command keeps the peers' threads from waiting for each other there.
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

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import scipy.fft
import torch

from jdann import features
from jdann.configuration import base_config
from jdann.features.recipe import make_recipe
from jdann.features.spectral import spectrogram

BATCH, SECONDS, RATE_HZ = 32, 3.0, 16000
CONFIG = base_config().features
SIZES = {"n_fft": CONFIG.n_fft, "hop_length": CONFIG.hop_length}
FRAMING = {"frame_length": CONFIG.n_fft, "hop_length": CONFIG.hop_length}
OURS = "jdann, two calls side by side"
ROWS = {"mel": CONFIG.n_mels, "mfcc": CONFIG.n_mfcc, "zcr": 1, "contrast": 7}
FMIN_HZ, QUANTILE = 200.0, 0.02  # librosa's defaults of spectral contrast


def clips() -> np.ndarray:
    """[BATCH, samples] float32: harmonic sounds with moving pitch, and noise."""
    random = np.random.default_rng(0)
    t = np.arange(int(SECONDS * RATE_HZ)) / RATE_HZ
    pitch_hz = random.uniform(90, 280, (BATCH, 1)) * (
        1 + 0.2 * np.sin(2 * np.pi * random.uniform(0.5, 3, (BATCH, 1)) * t)
    )
    phase = 2 * np.pi * np.cumsum(pitch_hz, 1) / RATE_HZ
    voice = sum(np.sin(k * phase) / k for k in range(1, 20))
    return (0.1 * voice + 0.01 * random.normal(size=voice.shape)).astype(np.float32)


def four_of(y: jax.Array) -> jax.Array:
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
    return jax.lax.map(four_of, y)


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


def make_torch() -> Callable[[np.ndarray], torch.Tensor]:
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

    def decibels(power: torch.Tensor) -> torch.Tensor:
        db = 10 * torch.log10(power.clamp(min=1e-10))
        return torch.maximum(db, db.amax((-2, -1), keepdim=True) - 80)

    @torch.inference_mode()
    def four(y: np.ndarray) -> torch.Tensor:
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


def check(name: str, found: np.ndarray, expected: np.ndarray, contrast_db: float = 1e-3) -> None:
    """Compares [batch, bins, frames] feature by feature; the contrast of single precision differs where a band is nearly empty."""
    start = 0
    said = []
    for feature, bins in ROWS.items():
        part = np.s_[:, start : start + bins]
        error = np.abs(found[part] - expected[part])
        limit = {"mel": 1e-2, "mfcc": 1e-2, "zcr": 1e-6, "contrast": contrast_db}[feature]
        assert error.max() <= limit, f"{name}: {feature} differs by {error.max():.2g}"
        said.append(f"{feature} {error.max():.1g}")
        start += bins
    print(f"{name} beside librosa, largest difference: {', '.join(said)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    y = clips()
    on_device, halves, pool = (
        jnp.asarray(y),
        [jnp.asarray(part) for part in np.split(y, 2)],
        ThreadPoolExecutor(2),
    )
    length = jnp.full(BATCH, y.shape[1], jnp.int32)
    by_torch, recipe = make_torch(), jax.jit(make_recipe("frames", CONFIG, RATE_HZ).extract)

    expected = np.stack([by_librosa(one) for one in y])
    check("jdann", np.asarray(by_jdann(on_device)), expected)
    check("librosa, one STFT", np.stack([by_librosa_shared(one) for one in y]), expected)
    check("PyTorch", by_torch(y).numpy(), expected, 0.3)
    check("recipe", np.asarray(recipe(on_device, length)[0]).swapaxes(1, 2), expected)

    def with_yin(one: np.ndarray) -> None:
        by_librosa(one)
        librosa.yin(one, fmin=65, fmax=600, sr=RATE_HZ, **FRAMING)

    ways: dict[str, Callable[[], object]] = {
        OURS: lambda: list(pool.map(lambda half: jax.block_until_ready(by_jdann(half)), halves)),
        "jdann, one call": lambda: jax.block_until_ready(by_jdann(on_device)),
        "librosa, function by function": lambda: [by_librosa(one) for one in y],
        "librosa, one STFT": lambda: [by_librosa_shared(one) for one in y],
        "PyTorch, batch": lambda: by_torch(y),
        "jdann, recipe frames with pitch, two calls": lambda: list(
            pool.map(lambda half: jax.block_until_ready(recipe(half, length[: BATCH // 2])), halves)
        ),
        "librosa, function by function, with yin": lambda: [with_yin(one) for one in y],
    }
    for way in ways.values():
        way()
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    load = os.getloadavg()[0]
    for _ in range(given.rounds):
        for name, way in ways.items():
            begun, used = time.perf_counter(), time.process_time()
            way()
            wall[name].append((time.perf_counter() - begun) / BATCH * 1000)
            cpu[name].append((time.process_time() - used) / BATCH * 1000)

    def ratio(times: dict[str, list[float]], name: str) -> float:
        return statistics.median(b / a for a, b in zip(times[OURS], times[name], strict=True))

    versions = ", ".join(
        f"{package} {version(package)}" for package in ("jax", "librosa", "torch", "numpy")
    )
    print(
        f"\n{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} CPUs, {jax.devices()[0].device_kind}, Python "
        f"{platform.python_version()}, {versions}; {given.rounds} rounds of {BATCH} utterances of {SECONDS:g} s; load average "
        f"{load:.1f} to {os.getloadavg()[0]:.1f}.\n"
    )
    print(
        "| ms an utterance | wall, median | fastest | slowest | CPU, median | wall beside the first row | CPU beside it |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in ways:
        times = wall[name]
        print(
            f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} | {max(times):.2f} | {statistics.median(cpu[name]):.2f} "
            f"| {ratio(wall, name):.1f}x | {ratio(cpu, name):.1f}x |"
        )


if __name__ == "__main__":
    main()
