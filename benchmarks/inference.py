"""A recogniser in use: time of a warm prediction, of a cold start, and memory for a file of hours.

python benchmarks/inference.py runs/en2zh
python benchmarks/inference.py runs/en2zh --tiny    # shorter; the figures mean nothing
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import soundfile

from jdann.inference.recogniser import Recogniser

RATE_HZ = 16000
COMMAND = [sys.executable, "-c", "from jdann.cli import main; main()", "predict"]
REPEATS = 200


def voiced(seconds: float) -> np.ndarray:
    """Something like speech, [samples] float32: harmonics of a moving pitch in syllables."""
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(180 * (1 + 0.2 * np.sin(2 * np.pi * 0.7 * t))) / RATE_HZ
    wave = sum(np.sin(k * phase) / k for k in range(1, 12)) * (1 + np.sin(2 * np.pi * 4 * t)) / 2
    return (0.1 * wave + 0.002 * np.random.default_rng(0).normal(size=len(t))).astype(np.float32)


def write_hours(path: Path, hours: float) -> None:
    """Writes a long file, a minute at a time."""
    minute = voiced(60)
    with soundfile.SoundFile(path, "w", RATE_HZ, 1) as file:
        for _ in range(round(60 * hours)):
            file.write(minute)


def run(arguments: list[str], cache: Path) -> tuple[float, float]:
    """Wall time in s and largest resident memory in MiB of one command."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    begun = time.perf_counter()
    process = subprocess.Popen(
        COMMAND + arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    if status:
        raise SystemExit(f"{' '.join(arguments)} failed: {process.stderr.read().decode()}")
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="the work directory of a finished run")
    parser.add_argument("--hours", type=float, default=3.0, help="length of the long file")
    parser.add_argument(
        "--tiny", action="store_true", help="a check in seconds; figures mean nothing"
    )
    arguments = parser.parse_args()
    hours, repeats, starts = arguments.hours, REPEATS, 3
    if arguments.tiny:
        hours, repeats, starts = 1 / 60, 2, 1
    recogniser = Recogniser.load(arguments.model)
    card = recogniser.card
    print(
        f"Python {platform.python_version()}, jax {version('jax')}, {platform.machine()}, "
        f"{os.cpu_count()} CPUs"
    )
    print(f"load before: {os.getloadavg()[0]:.1f}")
    print(
        f"{card['method']}, {card['encoder']}, recipe {card['config']['features']['recipe']}, "
        f"{len(card['seeds'])} seeds"
    )

    clip = voiced(3.0)
    recogniser(clip, RATE_HZ)
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        recogniser(clip, RATE_HZ)
        times.append(1e3 * (time.perf_counter() - begun))
    measured = {
        "warm, a 3 s clip in Python, ms, median": statistics.median(times),
        "the same, fastest": min(times),
    }
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        short, long = Path(folder) / "clip.wav", Path(folder) / "hours.wav"
        soundfile.write(short, clip, RATE_HZ)
        measured["jdann predict of one clip, s, empty compile cache"] = run(
            [str(arguments.model), str(short)], cache
        )[0]
        again = [run([str(arguments.model), str(short)], cache)[0] for _ in range(starts)]
        measured[f"the same, warm compile cache, median of {starts}"] = statistics.median(again)
        write_hours(long, hours)
        seconds, mib = run(
            [str(arguments.model), str(long), "--timeline", "--csv", str(Path(folder) / "out.csv")],
            cache,
        )
        measured[f"timeline of {hours:g} h, windows of 3 s each second, s"] = seconds
        measured["the same, largest resident memory, MiB"] = mib
    for name, value in measured.items():
        print(f"{name:60} {value:.1f}")
    print(f"load after: {os.getloadavg()[0]:.1f}")
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
