"""From audio files to features on disk: jdann, and librosa in two processes.

    python benchmarks/preparation.py
    python benchmarks/preparation.py --tiny    # four files, one round; the figures mean nothing

It prints files per second and how many times faster than real time each is. Both read the same
48 kHz, 16 bit wav files (synthetic voices with silence at both ends), resample to 16 kHz (soxr
HQ), trim, bring to -26 dB, and compute log-mels, MFCC, zero crossings, spectral contrast and
pitch with the sizes of configs/base.py. jdann runs `features.store.extract`, which also keeps
the features on disk. librosa runs function by function in a pool of two processes, with
`librosa.yin` for pitch, and keeps nothing. The pool and the compiled programs are warm; jdann's
first run, with compilation, has its own row. Before anything is timed, the features of some
clips are compared. The two take turns in each round; ratios are medians of the ratios of the
rounds.
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
    """Writes voices of 2 to 4 s whose first and last 0.2 s are nearly silent.

    Returns:
      The manifest, and the total length in s.
    """
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


def count_frames(path: Path) -> int:
    """Computes librosa's features, and returns only their number of frames."""
    return by_librosa(path)[0].shape[1]


def extract_features(corpus: corpora.Corpus, folder: Path) -> store.FeatureSet:
    return store.extract(
        corpus,
        recipe_name=CONFIG.features.recipe,
        settings=CONFIG.features,
        audio_settings=AudioSettings(**CONFIG.audio),
        cache=folder / "cache",
    )


def check(features: store.FeatureSet) -> None:
    """Compares jdann's features on disk with librosa's of the same files."""
    worst = 0.0
    for i in range(0, len(features.utterances), max(1, len(features.utterances) // 8)):
        expected = by_librosa(Path(features.utterances[i].path))[0].T
        ours = next(features.read([i]))[:, : expected.shape[1]]
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
    parser.add_argument(
        "--tiny", action="store_true", help="a check in seconds; figures mean nothing"
    )
    arguments = parser.parse_args()
    files, rounds = (4, 1) if arguments.tiny else (arguments.files, arguments.rounds)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # of librosa's two processes
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(2, get_context("spawn")) as pool,
    ):
        folder = Path(name)
        manifest, seconds = write_corpus(folder / "corpus", files)
        corpus = corpora.load(str(manifest), tuple(CONFIG.emotions), folder)
        paths = [Path(utterance.path) for utterance in corpus.utterances]

        def by_jdann() -> float:
            shutil.rmtree(folder / "cache", ignore_errors=True)
            begun = time.perf_counter()
            features = extract_features(corpus, folder)
            took = time.perf_counter() - begun
            assert len(features.utterances) == files
            return took

        def in_pool() -> float:
            begun = time.perf_counter()
            list(pool.map(count_frames, paths, chunksize=8))
            return time.perf_counter() - begun

        first = by_jdann()
        check(extract_features(corpus, folder))
        # Before the first round: the imports, and what librosa compiles.
        list(pool.map(count_frames, paths[:16]))
        jdann_s, librosa_s = [], []
        for _ in range(rounds):
            jdann_s.append(by_jdann())
            librosa_s.append(in_pool())
    packages = ", ".join(
        f"{package} {version(package)}"
        for package in ("jax", "librosa", "soxr", "soundfile", "numpy")
    )
    print(
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}, {packages}; {files} files, {seconds:.0f} s of audio, "
        f"{rounds} rounds in turn; load average {load:.1f} to {os.getloadavg()[0]:.1f}.\n"
    )
    print("| | s, median (fastest, slowest) | files/s | times real time |\n|---|---:|---:|---:|")
    for label, times in (
        ("jdann", jdann_s),
        ("jdann, first run, with compilation", [first]),
        ("librosa, two processes", librosa_s),
    ):
        middle = statistics.median(times)
        spread = f"{middle:.1f} ({min(times):.1f}, {max(times):.1f})"
        print(f"| {label} | {spread} | {files / middle:.0f} | {seconds / middle:.0f}x |")
    ratios = [b / a for a, b in zip(jdann_s, librosa_s, strict=True)]
    print(
        f"| ratio | {statistics.median(ratios):.1f}x ({min(ratios):.1f}, {max(ratios):.1f}) | | |"
    )


if __name__ == "__main__":
    main()
