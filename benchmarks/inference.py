"""A recogniser in use: warm latency, cold start of the command line, memory of a file of hours.

python benchmarks/inference.py runs/en2zh
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the work directory of a finished run")
    parser.add_argument("--hours", type=float, default=3.0, help="length of the long file")
    given = parser.parse_args()
    recogniser = Recogniser.load(given.model)
    card = recogniser.card
    print(
        f"Python {platform.python_version()}, jax {version('jax')}, {platform.machine()}, {os.cpu_count()} CPUs"
    )
    print(f"load before: {os.getloadavg()[0]:.1f}")
    print(
        f"{card['method']}, {card['encoder']}, recipe {card['config']['features']['recipe']}, {len(card['members'])} members"
    )

    clip = voiced(3.0)
    recogniser(clip, RATE_HZ)
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        recogniser(clip, RATE_HZ)
        times.append(1e3 * (time.perf_counter() - begun))
    found = {
        "warm, a 3 s clip in Python, ms, median": statistics.median(times),
        "the same, fastest": min(times),
    }
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        short, long = Path(folder) / "clip.wav", Path(folder) / "hours.wav"
        soundfile.write(short, clip, RATE_HZ)
        found["jdann predict of one clip, s, empty compile cache"] = run(
            [str(given.model), str(short)], cache
        )[0]
        again = [run([str(given.model), str(short)], cache)[0] for _ in range(3)]
        found["the same, warm compile cache, median of 3"] = statistics.median(again)
        write_hours(long, given.hours)
        seconds, mib = run(
            [str(given.model), str(long), "--timeline", "--csv", str(Path(folder) / "out.csv")],
            cache,
        )
        found[f"timeline of {given.hours:g} h, windows of 3 s each second, s"] = seconds
        found["the same, largest resident memory, MiB"] = mib
    for name, value in found.items():
        print(f"{name:60} {value:.1f}")
    print(f"load after: {os.getloadavg()[0]:.1f}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
