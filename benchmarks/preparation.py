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

import csv
import datetime
import os
import shutil
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import librosa
import numpy as np
import soundfile
from command_line import make_parser
from feature_peers import features_of_librosa, pitch_of_librosa
from machine import cpus, load_average, python_and_packages
from markdown_table import header, row
from synthetic_speech import synthetic_speech
from timing import measure_in_turn, round_ratios, seconds_of

from jdann import corpora
from jdann.audio import AudioSettings
from jdann.configuration import base_config
from jdann.features import store

RATE_HZ = 48000
CONFIG = base_config()
PROCESSES, FILES_AT_A_TIME = 2, 8  # of librosa
PEER = "librosa, two processes"
LIMIT = 2e-2  # the largest difference of a feature


class Measurement(NamedTuple):
    """Times in s."""

    first: float  # of jdann, with compilation
    by_round: dict[str, list[float]]


def write_corpus(folder: Path, count: int) -> tuple[Path, float]:
    """Writes voices of 2 to 4 s.

    Returns:
      The manifest, and the total length in s.
    """
    random, seconds = np.random.default_rng(0), 0.0
    folder.mkdir(parents=True)
    with (folder / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "emotion", "speaker", "language"))
        for i in range(count):
            y = synthetic_voice(random)
            soundfile.write(folder / f"{i}.wav", y, RATE_HZ)
            rows.writerow((f"{i}.wav", ("happy", "sad")[i % 2], f"s{i % 10}", "en"))
            seconds += len(y) / RATE_HZ
    return folder / "list.csv", seconds


def synthetic_voice(random: np.random.Generator) -> np.ndarray:
    """A voice [samples] of 2 to 4 s whose first and last 0.2 s are nearly silent."""
    voice = synthetic_speech(random.uniform(1.6, 3.6), random, RATE_HZ, random.uniform(90, 280))
    silence = np.zeros(round(0.2 * RATE_HZ))
    samples = np.concatenate([silence, voice, silence])
    return samples + 2e-4 * random.normal(size=len(samples))


def prepare_with_librosa(path: Path) -> np.ndarray:
    """[samples] at 16 kHz, trimmed and levelled."""
    audio = CONFIG.audio
    y, _ = librosa.load(path, sr=audio.sample_rate_hz)
    y, _ = librosa.effects.trim(y, top_db=audio.trim_db)
    y = y[: int(audio.max_duration_s * audio.sample_rate_hz)]
    rms = np.sqrt(np.mean(y.astype(np.float64) ** 2))
    return y * np.float32(10 ** (audio.level_db / 20) / rms)


def count_frames(path: Path) -> int:
    """Computes librosa's features and pitch, and returns only the number of frames."""
    y = prepare_with_librosa(path)
    pitch_of_librosa(y)
    return features_of_librosa(y).shape[1]


def extract_with_jdann(corpus: corpora.Corpus, folder: Path) -> store.FeatureSet:
    return store.extract(
        corpus,
        recipe_name=CONFIG.features.recipe,
        settings=CONFIG.features,
        audio_settings=AudioSettings(**CONFIG.audio),
        cache=folder / "cache",
    )


def check(features: store.FeatureSet) -> None:
    """Compares jdann's features on disk with librosa's of the same files."""
    largest = 0.0
    for i in range(0, len(features.utterances), max(1, len(features.utterances) // 8)):
        y = prepare_with_librosa(Path(features.utterances[i].path))
        expected = features_of_librosa(y).T  # [frames, bins]
        ours = next(features.read([i]))[:, : expected.shape[1]]
        assert ours.shape == expected.shape, (ours.shape, expected.shape)
        largest = max(largest, float(np.abs(ours - expected).max()))
    assert largest < LIMIT, largest
    print(
        f"features beside librosa's, largest difference: {largest:.1g}", file=sys.stderr, flush=True
    )


def seconds_of_jdann(corpus: corpora.Corpus, folder: Path) -> float:
    """Time of an extraction without cached features."""
    shutil.rmtree(folder / "cache", ignore_errors=True)
    return seconds_of(lambda: extract_with_jdann(corpus, folder))


def seconds_of_librosa(corpus: corpora.Corpus, pool: ProcessPoolExecutor) -> float:
    paths = [Path(utterance.path) for utterance in corpus.utterances]
    return seconds_of(lambda: list(pool.map(count_frames, paths, chunksize=FILES_AT_A_TIME)))


def measure(corpus: corpora.Corpus, folder: Path, rounds: int) -> Measurement:
    """Checks jdann's features, then measures both ways in turn."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # of librosa's two processes
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        first = seconds_of_jdann(corpus, folder)
        features = extract_with_jdann(corpus, folder)
        assert len(features.utterances) == len(corpus.utterances)
        check(features)
        # Before the first round: the imports, and what librosa compiles.
        paths = [Path(utterance.path) for utterance in corpus.utterances[:16]]
        list(pool.map(count_frames, paths))
        ways = {
            "jdann": partial(seconds_of_jdann, corpus, folder),
            PEER: partial(seconds_of_librosa, corpus, pool),
        }
        return Measurement(first, measure_in_turn(ways, rounds))


def print_table(measurement: Measurement, files: int, seconds: float) -> None:
    """Prints the times, files per second, and how many times faster than real time each is."""
    columns = ("", "s, median (fastest, slowest)", "files/s", "times real time")
    print(header(columns, ("---", "---:", "---:", "---:")))
    times = measurement.by_round
    for name, values in (
        ("jdann", times["jdann"]),
        ("jdann, first run, with compilation", [measurement.first]),
        (PEER, times[PEER]),
    ):
        median = statistics.median(values)
        spread = f"{median:.1f} ({min(values):.1f}, {max(values):.1f})"
        print(row(name, spread, f"{files / median:.0f}", f"{seconds / median:.0f}x"))
    ratios = round_ratios(times[PEER], times["jdann"])
    spread = f"{statistics.median(ratios):.1f}x ({min(ratios):.1f}, {max(ratios):.1f})"
    print(row("ratio", spread, "", ""))


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--files", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    files, rounds = (4, 1) if arguments.tiny else (arguments.files, arguments.rounds)
    load = load_average()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest, seconds = write_corpus(folder / "corpus", files)
        corpus = corpora.load(str(manifest), tuple(CONFIG.emotions), folder)
        measurement = measure(corpus, folder, rounds)
    packages = ("jax", "librosa", "soxr", "soundfile", "numpy")
    print(
        f"{datetime.date.today()}, {cpus()}, {python_and_packages(packages)}; "
        f"{files} files, {seconds:.0f} s of audio, "
        f"{rounds} rounds in turn; load average {load:.1f} to {load_average():.1f}.\n"
    )
    print_table(measurement, files, seconds)


if __name__ == "__main__":
    main()
