"""A training step of jdann's encoders, of plain Flax layers and of PyTorch, on the same networks.

    python benchmarks/train_step.py --encoder conv1d
    python benchmarks/train_step.py --encoder resnet50
    python benchmarks/train_step.py --tiny    # a tiny batch, one round; the figures mean nothing

A step is the forward pass in training mode, the backward pass and AdamW. Each way runs in its own
process. All processes are made ready, and then take turns: one works while the others wait. jdann's
steps run inside a compiled loop, as in training. Plain Flax's do not, because XLA's CPU backend may
be many times slower there. PyTorch uses the faster of its two memory layouts; if it is not
installed, its rows say so. The rows of several seeds are jdann's in float32: the steps one by one,
or one program for all seeds.

The ceiling is one product of matrices of size 4096 in the same library. The achieved rate counts
three times the operations of plain Flax's forward pass, whatever operations a way uses instead.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from command_line import make_parser
from machine import is_installed, load_average, processor_name, python_and_packages
from markdown_table import header, missing_row, row
from network_sizes import SHAPES
from timing import measure_in_turn, round_ratios, seconds_of
from workers import Worker, start_worker

ROOT = Path(__file__).parents[1]
STEPS = {"conv1d": 8, "resnet50": 2}  # in a turn
MATRIX_SIZE, TINY_MATRIX_SIZE = 4096, 64
PRODUCTS = 3  # of which the fastest is the ceiling

PEERS = {  # way: the way that it is compared with
    "plain Flax float32": "PyTorch float32",
    "jdann float32": "PyTorch float32",
    "jdann mixed": "PyTorch bf16 autocast",
    "PyTorch float32": "",
    "PyTorch bf16 autocast": "",
    "one by one": "",
    "vmap": "one by one",
    "lax.map": "one by one",
}
WAYS_OF_SEEDS = ("one by one", "vmap", "lax.map")
COLUMNS = ("way", "a step, ms: median", "min to max", "speed", "GFLOP/s", "ceiling")

Shape = tuple[int, int, int]  # batch, frames, bins


class Measurement(NamedTuple):
    """What was measured."""

    gigaflops: float  # of one step
    step_s: dict[str, list[float]]  # seconds a step of each way, by round
    ceilings: dict[str, float]  # gigaflops a second
    loads: list[float]


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--encoder", choices=SHAPES, default="conv1d")
    parser.add_argument(
        "--shape",
        type=int,
        nargs=3,
        metavar=("BATCH", "FRAMES", "BINS"),
        help="default: that of the table",
    )
    parser.add_argument(
        "--seeds", type=int, default=8, help="0: leaves the rows of several seeds out"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ways", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--output", type=Path, help="a Markdown file that the table is added to")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.tiny:
        arguments.shape, arguments.rounds, arguments.seeds = (2, 16, 8), 1, 0
    arguments.shape = tuple(arguments.shape or SHAPES[arguments.encoder])
    return arguments


def main() -> None:
    arguments = parse_arguments()
    if arguments.work:
        steps = STEPS[arguments.encoder]
        if arguments.work in WAYS_OF_SEEDS:
            steps = arguments.seeds
        answer_questions(arguments.work, arguments.encoder, arguments.shape, steps)
        return
    ways = [way for way in arguments.ways if arguments.seeds or way not in WAYS_OF_SEEDS]
    missing = [] if is_installed("torch") else [way for way in ways if "PyTorch" in way]
    ways = [way for way in ways if way not in missing]
    matrix_size = TINY_MATRIX_SIZE if arguments.tiny else MATRIX_SIZE
    measurement = measure(arguments, ways, matrix_size)
    lines = [format_table(arguments, measurement)]
    lines += [missing_row(way, len(COLUMNS)) for way in missing]
    text = "\n".join(lines)
    print(text)
    if arguments.output:
        with arguments.output.open("a", encoding="utf-8") as file:
            file.write("\n" + text + "\n")


# One process for each way. It answers each line of its standard input with a number.


def answer_questions(way: str, encoder: str, shape: Shape, steps: int) -> None:
    """The work of one process. It gets ready, then prints the gigaflops of a step.

    Afterwards it answers each line of its standard input. To "turn" it prints the seconds of a
    step, and to "ceiling" and a matrix size the gigaflops a second of a matrix product.
    """
    sys.path.insert(0, str(ROOT))
    gigaflops = float("nan")
    # A process loads only the library that it measures.
    if "PyTorch" in way:
        from train_step_pytorch import make_product, make_turn
    else:
        from train_step_jax import gigaflops_of_step, make_product, make_turn

        gigaflops = gigaflops_of_step(encoder, shape)
    turn = make_turn(way, encoder, shape, steps)
    turn()  # compiles
    print(gigaflops, flush=True)
    for line in sys.stdin:
        question, *size = line.split()
        if question == "ceiling":
            product = make_product(int(size[0]), is_bfloat16="bf16" in way or "mixed" in way)
            product()  # compiles
            product_s = min(seconds_of(product) for _ in range(PRODUCTS))
            print(2e-9 * int(size[0]) ** 3 / product_s, flush=True)
        else:
            print(seconds_of(turn) / steps, flush=True)


def start_way(arguments: argparse.Namespace, way: str) -> Worker:
    """Starts the process of a way and waits until it is ready."""
    options = ["--encoder", arguments.encoder, "--seeds", str(arguments.seeds)]
    options += ["--shape", *map(str, arguments.shape)]
    return start_worker(way, [sys.executable, __file__, *options, "--work", way])


def measure(arguments: argparse.Namespace, ways: Sequence[str], matrix_size: int) -> Measurement:
    # One starts after the other. Side by side they would disturb each other's compilation and
    # choice of layout.
    workers = {way: start_way(arguments, way) for way in ways}
    known = [worker.ready for worker in workers.values() if worker.ready > 0]
    loads = [load_average()]
    turns = {way: partial(worker.ask, "turn") for way, worker in workers.items()}
    step_s = measure_in_turn(turns, arguments.rounds, lambda: loads.append(load_average()))
    question = f"ceiling {matrix_size}"
    ceilings = {way: workers[way].ask(question) for way in ways if way not in WAYS_OF_SEEDS}
    for worker in workers.values():
        worker.stop()
    return Measurement(known[0] if known else float("nan"), step_s, ceilings, loads)


def describe_measurement(arguments: argparse.Namespace, measurement: Measurement) -> str:
    batch, frames, bins = arguments.shape
    has_pytorch = any("PyTorch" in way for way in measurement.step_s)
    packages = ("jax", "jaxlib", "flax", "numpy", *(["torch"] if has_pytorch else []))
    loads = measurement.loads
    return (
        f"Batch {batch}, {frames} x {bins}, {measurement.gigaflops:.1f} GFLOP a step; "
        f"{arguments.rounds} rounds of {STEPS[arguments.encoder]} steps. "
        f"{processor_name()}, {python_and_packages(packages)}; "
        f"load average {min(loads):.1f} to {max(loads):.1f} while measuring."
    )


def format_table(arguments: argparse.Namespace, measurement: Measurement) -> str:
    """The Markdown section of one run."""
    lines = [
        f"## {arguments.encoder}, {datetime.now(UTC):%Y-%m-%d}",
        "",
        describe_measurement(arguments, measurement),
        "",
        header(COLUMNS, ("---", *["---:"] * 5)),
        *(format_row(arguments.seeds, way, measurement) for way in measurement.step_s),
    ]
    return "\n".join(lines)


def format_row(seeds: int, way: str, measurement: Measurement) -> str:
    """The row of one way. Its speed is the median over rounds of the ratio to its peer."""
    seconds, peer = measurement.step_s[way], PEERS[way]
    speed = ""
    if peer in measurement.step_s:
        ratio = statistics.median(round_ratios(measurement.step_s[peer], seconds))
        speed = f"{ratio:.2f}x of {peer}"
    ceiling = f"{measurement.ceilings[way]:.0f}" if way in measurement.ceilings else ""
    median = statistics.median(seconds)
    return row(
        f"{seeds} seeds, {way}" if way in WAYS_OF_SEEDS else way,
        f"{1e3 * median:.0f}",
        f"{1e3 * min(seconds):.0f} to {1e3 * max(seconds):.0f}",
        speed,
        f"{measurement.gigaflops / median:.0f}",
        ceiling,
    )


if __name__ == "__main__":
    main()
