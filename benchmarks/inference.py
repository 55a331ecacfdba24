"""A recogniser in use: time of a warm prediction, of a cold start, and memory for a file of hours.

python benchmarks/inference.py runs/base
python benchmarks/inference.py runs/base --tiny    # shorter; the figures mean nothing
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from command_line import make_parser
from machine import cpus, load_average, python_and_packages
from synthetic_speech import synthetic_speech
from timing import ProcessResult, run_process, seconds_of

from jdann.inference.recogniser import Recogniser

RATE_HZ, CLIP_S = 16000, 3.0
PREDICT = (sys.executable, "-c", "from jdann.cli import main; main()", "predict")
REPEATS, TINY_REPEATS = 200, 2  # warm predictions in Python
STARTS, TINY_STARTS = 3, 1  # commands with a warm compile cache
TINY_HOURS = 1 / 60


def clip_of(seconds: float) -> np.ndarray:
    """Something like speech, [samples]."""
    return synthetic_speech(seconds, np.random.default_rng(0), RATE_HZ)


def write_long_file(path: Path, hours: float) -> None:
    """Writes a long file, a minute at a time."""
    minute = clip_of(60)
    with soundfile.SoundFile(path, "w", RATE_HZ, 1) as file:
        for _ in range(round(60 * hours)):
            file.write(minute)


def measure_python(recogniser: Recogniser, repeats: int) -> dict[str, float]:
    """Times of predictions in this process."""
    clip = clip_of(CLIP_S)
    recogniser(clip, RATE_HZ)  # compiles
    times_ms = [1e3 * seconds_of(lambda: recogniser(clip, RATE_HZ)) for _ in range(repeats)]
    return {
        "warm, a 3 s clip in Python, ms, median": statistics.median(times_ms),
        "the same, fastest": min(times_ms),
    }


def measure_commands(model: Path, hours: float, starts: int) -> dict[str, float]:
    """Times and memory of `jdann predict`, each in a process of its own with the same cache."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip, long_file = folder / "clip.wav", folder / "hours.wav"
        soundfile.write(clip, clip_of(CLIP_S), RATE_HZ)
        write_long_file(long_file, hours)

        def predict(path: Path, *options: str) -> ProcessResult:
            environment = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
            return run_process([*PREDICT, str(model), str(path), *options], environment)

        cold_s = predict(clip).cost.wall_s
        warm_s = statistics.median(predict(clip).cost.wall_s for _ in range(starts))
        timeline = predict(long_file, "--timeline", "--csv", str(folder / "out.csv"))
    return {
        "jdann predict of one clip, s, empty compile cache": cold_s,
        f"the same, warm compile cache, median of {starts}": warm_s,
        f"timeline of {hours:g} h, windows of 3 s each second, s": timeline.cost.wall_s,
        "the same, largest resident memory, MiB": timeline.peak_mib,
    }


def print_description(card: dict) -> None:
    print(f"{python_and_packages(['jax'])}, {cpus()}")
    print(f"load before: {load_average():.1f}")
    print(
        f"{card['method']}, {card['encoder']}, recipe {card['config']['features']['recipe']}, "
        f"{len(card['seeds'])} seeds"
    )


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("model", type=Path, help="the work directory of a finished run")
    parser.add_argument("--hours", type=float, default=3.0, help="length of the long file")
    arguments = parser.parse_args()
    hours, repeats, starts = arguments.hours, REPEATS, STARTS
    if arguments.tiny:
        hours, repeats, starts = TINY_HOURS, TINY_REPEATS, TINY_STARTS
    recogniser = Recogniser.load(arguments.model)
    print_description(recogniser.card)
    measured = measure_python(recogniser, repeats)
    measured |= measure_commands(arguments.model, hours, starts)
    for name, value in measured.items():
        print(f"{name:60} {value:.1f}")
    print(f"load after: {load_average():.1f}")
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
