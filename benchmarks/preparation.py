"""From audio files to features on disk beside librosa in two processes: real-time factor and files per second.

    python benchmarks/preparation.py

Both read the same 48 kHz, 16 bit wav files (synthetic voices with silence at both ends), resample to 16 kHz (soxr HQ), trim,
bring to -26 dB and compute log-mels, MFCC, zero crossings, spectral contrast and pitch with the sizes of configs/base.py.
jdann runs `features.store.extract`, which also keeps the features on disk; librosa runs function by function in a pool of two
processes, with `librosa.yin` for pitch, and keeps nothing. The pool and the compiled programs are warm; jdann's first run, with
compilation, is given beside. Before anything is timed the features of some clips are compared. Rounds run in turn; ratios are
medians of the rounds' ratios.
"""

import argparse
import csv
import datetime
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import librosa
import numpy as np
import soundfile

from jdann import corpora
from jdann.audio import AudioSettings
from jdann.configuration import base_config
from jdann.features import store

RATE_HZ = 48000
CONFIG = base_config()
SIZES = {"n_fft": CONFIG.features.n_fft, "hop_length": CONFIG.features.hop_length}
FRAMING = {"frame_length": CONFIG.features.n_fft, "hop_length": CONFIG.features.hop_length}


def write_corpus(folder: Path, count: int) -> tuple[Path, float]:
    """Writes voices of 2 to 4 s, their first and last 0.2 s nearly silent; returns the manifest and the seconds in all."""
    random, seconds = np.random.default_rng(0), 0.0
    folder.mkdir(parents=True)
    with (folder / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "emotion", "speaker", "language"))
        for i in range(count):
            t = np.arange(int(RATE_HZ * random.uniform(2, 4))) / RATE_HZ
            pitch_hz = random.uniform(90, 280) * (
                1 + 0.2 * np.sin(2 * np.pi * random.uniform(0.5, 3) * t)
            )
            phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
            voice = sum(np.sin(k * phase) / k for k in range(1, 12)) * (t > 0.2) * (t < t[-1] - 0.2)
            soundfile.write(
                folder / f"{i}.wav", 0.1 * voice + 2e-4 * random.normal(size=len(t)), RATE_HZ
            )
            rows.writerow((f"{i}.wav", ("happy", "sad")[i % 2], f"s{i % 10}", "en"))
            seconds += len(t) / RATE_HZ
    return folder / "list.csv", seconds


def prepared_by_librosa(path: Path) -> np.ndarray:
    """[samples] at 16 kHz, trimmed and levelled."""
    y, _ = librosa.load(path, sr=CONFIG.audio.sample_rate_hz)
    y, _ = librosa.effects.trim(y, top_db=CONFIG.audio.trim_db)
    y = y[: int(CONFIG.audio.max_duration_s * CONFIG.audio.sample_rate_hz)]
    return y * np.float32(
        10 ** (CONFIG.audio.level_db / 20) / np.sqrt(np.mean(y.astype(np.float64) ** 2))
    )


def by_librosa(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The four features [bins, frames] and the pitch [frames] of one file."""
    y, sr = prepared_by_librosa(path), CONFIG.audio.sample_rate_hz
    mel = librosa.power_to_db(
        librosa.feature.melspectrogram(y=y, sr=sr, n_mels=CONFIG.features.n_mels, **SIZES)
    )
    mfcc = librosa.feature.mfcc(
        y=y, sr=sr, n_mfcc=CONFIG.features.n_mfcc, n_mels=CONFIG.features.n_mels, **SIZES
    )
    crossings = librosa.feature.zero_crossing_rate(y, **FRAMING)
    contrast = librosa.feature.spectral_contrast(y=y, sr=sr, **SIZES)
    return np.concatenate([mel, mfcc, crossings, contrast]), librosa.yin(
        y, fmin=65, fmax=600, sr=sr, **FRAMING
    )


def work(path: Path) -> int:
    return by_librosa(path)[0].shape[1]


def extracted(corpus: corpora.Corpus, folder: Path) -> store.FeatureSet:
    return store.extract(
        corpus,
        recipe_name=CONFIG.features.recipe,
        settings=CONFIG.features,
        audio_settings=AudioSettings(**CONFIG.audio),
        cache=folder / "cache",
    )


def check(found: store.FeatureSet) -> None:
    """Compares jdann's features on disk with librosa's of the same files."""
    worst = 0.0
    for i in range(0, len(found.utterances), max(1, len(found.utterances) // 8)):
        expected = by_librosa(Path(found.utterances[i].path))[0].T
        ours = next(found.read([i]))[:, : expected.shape[1]]
        assert ours.shape == expected.shape, (ours.shape, expected.shape)
        worst = max(worst, float(np.abs(ours - expected).max()))
    assert worst < 2e-2, worst
    print(
        f"features beside librosa's, largest difference: {worst:.1g}", file=sys.stderr, flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # of librosa's two processes
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(2, get_context("spawn")) as pool,
    ):
        folder = Path(name)
        manifest, seconds = write_corpus(folder / "corpus", given.files)
        corpus = corpora.load(str(manifest), tuple(CONFIG.emotions), folder)
        paths = [Path(utterance.path) for utterance in corpus.utterances]

        def by_jdann() -> float:
            shutil.rmtree(folder / "cache", ignore_errors=True)
            begun = time.perf_counter()
            found = extracted(corpus, folder)
            took = time.perf_counter() - begun
            assert len(found.utterances) == given.files
            return took

        def in_pool() -> float:
            begun = time.perf_counter()
            list(pool.map(work, paths, chunksize=8))
            return time.perf_counter() - begun

        first = by_jdann()
        check(extracted(corpus, folder))
        list(pool.map(work, paths[:16]))  # imports, and what librosa compiles
        ours, theirs = [], []
        for _ in range(given.rounds):
            ours.append(by_jdann())
            theirs.append(in_pool())
    packages = ", ".join(
        f"{package} {version(package)}"
        for package in ("jax", "librosa", "soxr", "soundfile", "numpy")
    )
    print(
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {packages}; "
        f"{given.files} files, {seconds:.0f} s of audio, {given.rounds} rounds in turn; load average {load:.1f} to "
        f"{os.getloadavg()[0]:.1f}.\n"
    )
    print("| | s, median (fastest, slowest) | files/s | times real time |\n|---|---:|---:|---:|")
    for label, times in (
        ("jdann", ours),
        ("jdann, first run, with compilation", [first]),
        ("librosa, two processes", theirs),
    ):
        middle = statistics.median(times)
        spread = f"{middle:.1f} ({min(times):.1f}, {max(times):.1f})"
        print(f"| {label} | {spread} | {given.files / middle:.0f} | {seconds / middle:.0f}x |")
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    print(
        f"| ratio | {statistics.median(ratios):.1f}x ({min(ratios):.1f}, {max(ratios):.1f}) | | |"
    )


if __name__ == "__main__":
    main()
