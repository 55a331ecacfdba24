"""Features of a corpus by a pretrained encoder: clips per second, peak memory, size of a batch.

    python benchmarks/encoder_features.py FOLDER
    python benchmarks/encoder_features.py FOLDER --clips 100 300 --batches
    python benchmarks/encoder_features.py FOLDER --tiny    # a few clips; the figures mean nothing

FOLDER is that of an encoder. Its weights may be random, because time and memory do not depend on
them. The first table is about `layer_statistics` of a corpus of synthetic speech. Each number of
clips has a process of its own. It reads the weights, compiles, decodes, and writes the features to
disk. The peak of memory is the largest resident memory of that process. The second table is about
batches of different sizes, two at the same time, as `jdann.features.store` computes them. The sizes
take turns in one process.
"""

import argparse
import csv
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from command_line import make_parser
from machine import load_average, processor_name, python_and_packages
from markdown_table import header, row
from synthetic_speech import synthetic_speech
from timing import measure_in_turn, round_ratios, run_process, seconds_of

ROOT = Path(__file__).parents[1]
RATE_HZ, SHORTEST_S, LONGEST_S = 16000, 2.1, 2.9  # all are padded to 3 s: one program is compiled
CALLS = 2  # at the same time
SPEECH = 10  # different voices; the corpus repeats them
RECIPE = "layer_statistics"
CORPUS_COLUMNS = ("clips", "s", "clips per s", "peak, MiB", "load average")
BATCH_COLUMNS = (
    "clips in a batch",
    "s a clip: median",
    "min to max",
    "time beside the first",
    "work, MiB",
)


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("encoder", help="folder of an encoder")
    parser.add_argument("--clips", type=int, nargs="*", default=[100, 300, 1000])
    parser.add_argument("--batches", type=int, nargs="*", default=[4, 8, 16])
    parser.add_argument("--rounds", type=int, default=5, help="of each size of a batch")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.tiny:
        arguments.clips, arguments.batches, arguments.rounds = [2, 4], [1, 2], 1
    return arguments


def main() -> None:
    arguments = parse_arguments()
    if arguments.work:
        work(arguments)
        return
    packages = python_and_packages(("jax", "jaxlib", "flax"))
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, {packages}")
    if arguments.clips:
        with tempfile.TemporaryDirectory() as folder:
            print_corpora(arguments, Path(folder))
    if arguments.batches:
        print_batches(arguments)


# The work of one process. It prints its result as JSON.


def work(arguments: argparse.Namespace) -> None:
    sys.path.insert(0, str(ROOT))
    subject, value = arguments.work
    if subject == "corpus":
        print(json.dumps(seconds_of(partial(extract, arguments.encoder, Path(value)))))
    else:
        print(json.dumps(measure_batches(arguments)))


def extract(encoder: str, manifest: Path) -> None:
    """Computes the features of a corpus and writes them beside its manifest."""
    from jdann import corpora
    from jdann.audio import AudioSettings
    from jdann.features import store

    corpus = corpora.load(str(manifest), ("happy", "sad"), manifest.parent)
    features = store.extract(
        corpus,
        recipe_name=RECIPE,
        settings={"encoder": encoder},
        audio_settings=AudioSettings(),
        cache=manifest.parent / f"cache-{manifest.stem}",
    )
    assert len(features.utterances) == int(manifest.stem), features.skipped[:3]


def measure_batches(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds per clip of each size of a batch, by round, and the MiB that one call works in."""
    import jax
    import jax.numpy as jnp

    from jdann.features import make_recipe

    recipe = make_recipe(RECIPE, {"encoder": arguments.encoder}, RATE_HZ)
    weights, compute = jax.device_put(recipe.weights), jax.jit(recipe.compute)
    clips = CALLS * max(arguments.batches)  # of one turn
    ways, work_mib = {}, {}
    for size in arguments.batches:
        samples = jax.random.normal(jax.random.key(0), (size, round(3 * RATE_HZ)))
        inputs = (weights, samples, jnp.full(size, samples.shape[1]))
        program = compute.lower(*inputs).compile()
        ways[str(size)] = partial(time_of_clip, partial(program, *inputs), clips // size, clips)
        work_mib[str(size)] = program.memory_analysis().temp_size_in_bytes / 2**20
    for way in ways.values():
        way()
    loads = [load_average()]
    seconds = measure_in_turn(ways, arguments.rounds, lambda: loads.append(load_average()))
    return {"seconds": seconds, "work_mib": work_mib, "loads": loads}


def time_of_clip(call: Callable[[], Any], calls: int, clips: int) -> float:
    """Seconds per clip of so many calls of a program, `CALLS` of them at the same time."""

    def turn() -> None:
        with ThreadPoolExecutor(CALLS) as pool:
            for future in [pool.submit(lambda: np.asarray(call()[0])) for _ in range(calls)]:
                future.result()

    return seconds_of(turn) / clips


# What the parent prints.


def print_corpora(arguments: argparse.Namespace, folder: Path) -> None:
    """Prints a row for each number of clips."""
    print(f"\nClips of {SHORTEST_S:g} to {LONGEST_S:g} s; each row is a process of its own.\n")
    print(header(CORPUS_COLUMNS, ["---:"] * len(CORPUS_COLUMNS)), flush=True)
    for manifest in write_manifests(folder, arguments.clips):
        process = run_process(command(arguments, "corpus", str(manifest)), {})
        count, seconds = int(manifest.stem), json.loads(process.output)
        print(
            row(
                str(count),
                f"{seconds:.1f}",
                f"{count / seconds:.2f}",
                f"{process.peak_mib:.0f}",
                f"{load_average():.1f}",
            ),
            flush=True,
        )


def write_manifests(folder: Path, counts: list[int]) -> Iterator[Path]:
    """Yields a manifest of each number of clips, which share their files."""
    random = np.random.default_rng(0)
    voices = [
        synthetic_speech(random.uniform(SHORTEST_S, LONGEST_S), random, RATE_HZ)
        for _ in range(SPEECH)
    ]
    for i in range(max(counts)):
        # Otherwise the clips that repeat a voice would be duplicates.
        clip = voices[i % SPEECH] * np.float32(1 - 4e-4 * (i // SPEECH))
        soundfile.write(folder / f"{i}.wav", clip, RATE_HZ)
    for count in counts:
        manifest = folder / f"{count}.csv"
        with manifest.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("file", "emotion", "speaker", "language"))
            rows.writerows((f"{i}.wav", ("happy", "sad")[i % 2], "", "en") for i in range(count))
        yield manifest


def print_batches(arguments: argparse.Namespace) -> None:
    """Prints a row for each size of a batch."""
    measured = json.loads(run_process(command(arguments, "batches", "-"), {}).output)
    seconds, loads = measured["seconds"], measured["loads"]
    reference = next(iter(seconds.values()))
    print(f"\nClips of 3 s, {CALLS} batches at the same time; {arguments.rounds} rounds;", end=" ")
    print(f"load average {min(loads):.1f} to {max(loads):.1f}.\n")
    print(header(BATCH_COLUMNS, ["---:"] * len(BATCH_COLUMNS)))
    for size, times in seconds.items():
        ratios = round_ratios(times, reference)
        print(
            row(
                size,
                f"{statistics.median(times):.3f}",
                f"{min(times):.3f} to {max(times):.3f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                f"{measured['work_mib'][size]:.0f}",
            )
        )


def command(arguments: argparse.Namespace, *subject: str) -> list[str]:
    """The command of one process."""
    options = ["--rounds", str(arguments.rounds), *(["--tiny"] if arguments.tiny else [])]
    sizes = ["--batches", *map(str, arguments.batches)]
    return [sys.executable, __file__, arguments.encoder, *options, *sizes, "--work", *subject]


if __name__ == "__main__":
    main()
