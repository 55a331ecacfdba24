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

import datetime
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command_line import make_parser
from feature_peers import (
    CONFIG,
    RATE_HZ,
    ROWS,
    batch_by_jdann,
    features_of_librosa,
    features_of_librosa_with_one_stft,
    make_features_of_torch,
    pitch_of_librosa,
)
from machine import cpus, load_average, python_and_packages
from markdown_table import header, missing_row, row
from timing import Cost, cost_of_call, measure_in_turn, round_ratios

from jdann.features.recipe import make_recipe

try:
    import torch  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError:
    torch = None

BATCH, SECONDS = 32, 3.0
FIRST_ROW, PYTORCH = "jdann, two calls side by side", "PyTorch, batch"
LIMITS = {"mel": 1e-2, "mfcc": 1e-2, "zcr": 1e-6, "contrast": 1e-3}  # largest difference
# In single precision, spectral contrast differs where a band is nearly empty.
LIMITS_OF_PYTORCH = LIMITS | {"contrast": 0.3}
COLUMNS = (
    "ms an utterance",
    "wall, median",
    "fastest",
    "slowest",
    "CPU, median",
    "wall beside the first row",
    "CPU beside it",
)

Way = Callable[[], object]
FeatureFunction = Callable[[Any], Any]


def synthetic_voices(batch: int, seconds: float) -> np.ndarray:
    """[batch, samples] float32: harmonic sounds with moving pitch, and noise."""
    random = np.random.default_rng(0)
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    pitch_hz = random.uniform(90, 280, (batch, 1)) * (
        1 + 0.2 * np.sin(2 * np.pi * random.uniform(0.5, 3, (batch, 1)) * t)
    )
    phase = 2 * np.pi * np.cumsum(pitch_hz, 1) / RATE_HZ
    voice = np.zeros(phase.shape)
    for k in range(1, 20):
        voice += np.sin(k * phase) / k
    return (0.1 * voice + 0.01 * random.normal(size=voice.shape)).astype(np.float32)


def check(
    name: str, values: np.ndarray, expected: np.ndarray, limits: dict[str, float] = LIMITS
) -> None:
    """Compares [batch, bins, frames] feature by feature, and prints the largest differences."""
    start = 0
    differences = []
    for feature, bins in ROWS.items():
        part = np.s_[:, start : start + bins]
        error = np.abs(values[part] - expected[part]).max()
        assert error <= limits[feature], f"{name}: {feature} differs by {error:.2g}"
        differences.append(f"{feature} {error:.1g}")
        start += bins
    print(f"{name} beside librosa, largest difference: {', '.join(differences)}", flush=True)


def check_all(y: np.ndarray, recipe: FeatureFunction, by_torch: FeatureFunction | None) -> None:
    """Compares the features of all peers with librosa's."""
    expected = np.stack([features_of_librosa(clip) for clip in y])
    one_stft = np.stack([features_of_librosa_with_one_stft(clip) for clip in y])
    check("jdann", np.asarray(batch_by_jdann(jnp.asarray(y))), expected)
    check("librosa, one STFT", one_stft, expected)
    if by_torch:
        check("PyTorch", by_torch(y).numpy(), expected, LIMITS_OF_PYTORCH)
    check("recipe", np.asarray(recipe(jnp.asarray(y))).swapaxes(1, 2), expected)


def make_ways(
    y: np.ndarray, recipe: FeatureFunction, by_torch: FeatureFunction | None
) -> dict[str, Way]:
    """What is timed, by the name of its row."""
    pool, whole = ThreadPoolExecutor(2), jnp.asarray(y)
    halves = [jnp.asarray(part) for part in np.split(y, 2)]

    def in_two_calls(function: FeatureFunction) -> object:
        return list(pool.map(lambda half: jax.block_until_ready(function(half)), halves))

    def features_and_pitch_of_librosa(clip: np.ndarray) -> None:
        features_of_librosa(clip)
        pitch_of_librosa(clip)

    def for_each_clip(function: FeatureFunction) -> object:
        return [function(clip) for clip in y]

    ways: dict[str, Way] = {
        FIRST_ROW: partial(in_two_calls, batch_by_jdann),
        "jdann, one call": lambda: jax.block_until_ready(batch_by_jdann(whole)),
        "librosa, function by function": partial(for_each_clip, features_of_librosa),
        "librosa, one STFT": partial(for_each_clip, features_of_librosa_with_one_stft),
    }
    if by_torch:
        ways[PYTORCH] = partial(by_torch, y)
    ways |= {
        "jdann, recipe frames with pitch, two calls": partial(in_two_calls, recipe),
        "librosa, function by function, with yin": partial(
            for_each_clip, features_and_pitch_of_librosa
        ),
    }
    return ways


def make_recipe_function() -> FeatureFunction:
    """A function that computes the recipe "frames" [batch, frames, bins] of [batch, samples]."""
    extract = jax.jit(make_recipe("frames", CONFIG, RATE_HZ).extract)

    def compute(y: jax.Array) -> jax.Array:
        return extract(y, jnp.full(len(y), y.shape[1], jnp.int32))[0]

    return compute


def print_table(costs: dict[str, list[Cost]], batch: int) -> None:
    print(header(COLUMNS, ("---", *["---:"] * 6)))
    first_wall, first_cpu = zip(*costs[FIRST_ROW], strict=True)
    for name, way_costs in costs.items():
        wall, cpu = zip(*way_costs, strict=True)
        seconds = (statistics.median(wall), min(wall), max(wall), statistics.median(cpu))
        ratios = (
            statistics.median(round_ratios(wall, first_wall)),
            statistics.median(round_ratios(cpu, first_cpu)),
        )
        cells = [f"{1000 * value / batch:.2f}" for value in seconds]
        print(row(name, *cells, *(f"{ratio:.1f}x" for ratio in ratios)))
    if torch is None:
        print(missing_row(PYTORCH, len(COLUMNS)))


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    batch, seconds, rounds = BATCH, SECONDS, arguments.rounds
    if arguments.tiny:
        batch, seconds, rounds = 2, 0.5, 1
    y = synthetic_voices(batch, seconds)
    by_torch = make_features_of_torch(torch) if torch else None
    recipe = make_recipe_function()
    check_all(y, recipe, by_torch)
    ways = make_ways(y, recipe, by_torch)
    for way in ways.values():
        way()  # compiles
    load = load_average()
    costs = measure_in_turn(
        {name: partial(cost_of_call, way) for name, way in ways.items()}, rounds
    )
    packages = ("jax", "librosa", *(["torch"] if torch else []), "numpy")
    print(
        f"\n{datetime.date.today()}, {cpus()}, {jax.devices()[0].device_kind}, "
        f"{python_and_packages(packages)}; {rounds} rounds of {batch} utterances of {seconds:g} s; "
        f"load average {load:.1f} to {load_average():.1f}.\n"
    )
    print_table(costs, batch)


if __name__ == "__main__":
    main()
