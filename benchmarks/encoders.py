"""Pretrained speech encoders: jdann's time and memory beside those of PyTorch.

    python benchmarks/encoders.py
    python benchmarks/encoders.py --encoder WavLM-base --rounds 3
    python benchmarks/encoders.py --tiny    # a tiny network, one round; the figures mean nothing

A turn computes all hidden states of a batch of clips, without gradients. The networks have the
published sizes and random weights. Each way runs in its own process. All processes are made ready,
and then take turns: one works while the others wait. The peak of memory is the largest resident
memory of the process, with its library, the weights and what it compiled. PyTorch's networks are
those of `transformers`; if it or PyTorch is not installed, their rows say so.
"""

import argparse
import resource
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from command_line import make_parser
from machine import is_installed, load_average, processor_name, python_and_packages
from markdown_table import header, missing_row, row
from timing import Cost, cost_of_call, measure_in_turn, median_cost, round_ratios
from workers import Worker, start_worker

ROOT = Path(__file__).parents[1]
SAMPLE_RATE_HZ = 16000
ENCODERS: dict[str, dict[str, Any]] = {  # settings as in config.json; sizes are the defaults
    "HuBERT-base": {"model_type": "hubert"},
    "WavLM-base": {"model_type": "wavlm"},
}
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [4] * 7,
    "num_conv_pos_embedding_groups": 2,
}
PEERS = {  # way: the way that it is compared with
    "jdann float32": "PyTorch float32",
    "jdann bfloat16": "PyTorch bfloat16",
    "PyTorch float32": "",
    "PyTorch bfloat16": "",
}
COLUMNS = (
    "way",
    "a batch, s: median",
    "min to max",
    "speed: median",
    "min to max",
    "CPU, s: median",
    "peak, MiB",
)


class Measurement(NamedTuple):
    """What was measured of each way."""

    costs: dict[str, list[Cost]]  # of a batch, by round
    peak_mib: dict[str, float]
    loads: list[float]


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--encoder", choices=ENCODERS, default="HuBERT-base")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of a clip")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ways", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--output", type=Path, help="a Markdown file that the table is added to")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.tiny:
        arguments.clips, arguments.seconds, arguments.rounds = 2, 0.5, 1
    return arguments


def main() -> None:
    arguments = parse_arguments()
    if arguments.work:
        answer_questions(arguments)
        return
    has_peers = is_installed("torch") and is_installed("transformers")
    missing = [] if has_peers else [way for way in arguments.ways if "PyTorch" in way]
    ways = [way for way in arguments.ways if way not in missing]
    lines = [format_table(arguments, measure(arguments, ways))]
    lines += [missing_row(way, len(COLUMNS)) for way in missing]
    text = "\n".join(lines)
    print(text)
    if arguments.output:
        with arguments.output.open("a", encoding="utf-8") as file:
            file.write("\n" + text + "\n")


# One process for each way. It answers each line of its standard input with a number.


def answer_questions(arguments: argparse.Namespace) -> None:
    """The work of one process. It gets ready, then answers "turn", "cpu" and "peak".

    "turn" gives the seconds of a turn, and "cpu" the CPU time of the turn before.
    """
    sys.path.insert(0, str(ROOT))
    settings = ENCODERS[arguments.encoder] | (TINY if arguments.tiny else {})
    shape = (arguments.clips, round(arguments.seconds * SAMPLE_RATE_HZ))
    library, precision = arguments.work.split()
    # A process loads only the library that it measures.
    make_turn = {"jdann": make_jdann_turn, "PyTorch": make_pytorch_turn}[library]
    turn = make_turn(settings, shape, precision)
    cost = cost_of_call(turn)  # compiles
    print(cost.wall_s, flush=True)
    for line in sys.stdin:
        if line.strip() == "turn":
            cost = cost_of_call(turn)
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        answers = {"turn": cost.wall_s, "cpu": cost.cpu_s, "peak": peak_mib}
        print(answers[line.strip()], flush=True)


def ask_cost(worker: Worker) -> Cost:
    """The cost of one turn of a worker."""
    return Cost(worker.ask("turn"), worker.ask("cpu"))


def make_jdann_turn(
    settings: dict[str, Any], shape: tuple[int, int], precision: str
) -> Callable[[], Any]:
    """Returns a function that computes the states of one batch."""
    from importlib import import_module

    import jax
    import jax.numpy as jnp

    module = "wavlm" if settings["model_type"] == "wavlm" else "wav2vec2"
    network = import_module(f"jdann.pretrained.{module}").architecture(settings).module
    network = network.clone(dtype=jnp.dtype(precision))
    samples = jax.random.normal(jax.random.key(0), shape)
    length = jnp.full(shape[:1], shape[1])
    variables = jax.jit(network.init)(jax.random.key(1), samples[:1, :4000], length[:1])
    apply = jax.jit(network.apply)
    return lambda: jax.block_until_ready(apply(variables, samples, length))


def make_pytorch_turn(
    settings: dict[str, Any], shape: tuple[int, int], precision: str
) -> Callable[[], Any]:
    """Returns a function that computes the states of one batch, on a GPU if there is one."""
    import os

    import torch  # pyright: ignore[reportMissingImports]
    from transformers import AutoConfig, AutoModel  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, precision)
    network = AutoModel.from_config(AutoConfig.for_model(**settings))
    network = network.eval().to(device, dtype)
    samples = torch.randn(shape, device=device, dtype=dtype)

    def turn() -> float:
        with torch.no_grad():
            output = network(samples, output_hidden_states=True)
        return output.last_hidden_state[0, 0, 0].item()  # waits for the GPU

    return turn


def measure(arguments: argparse.Namespace, ways: list[str]) -> Measurement:
    options = ["--encoder", arguments.encoder, "--clips", str(arguments.clips)]
    options += ["--seconds", str(arguments.seconds), *(["--tiny"] if arguments.tiny else [])]
    command = [sys.executable, __file__, *options, "--work"]
    # One starts after the other, because side by side they would disturb each other.
    workers = {way: start_worker(way, [*command, way]) for way in ways}
    loads = [load_average()]
    turns = {way: partial(ask_cost, worker) for way, worker in workers.items()}
    costs = measure_in_turn(turns, arguments.rounds, lambda: loads.append(load_average()))
    peak_mib = {way: worker.ask("peak") for way, worker in workers.items()}
    for worker in workers.values():
        worker.stop()
    return Measurement(costs, peak_mib, loads)


def format_table(arguments: argparse.Namespace, measurement: Measurement) -> str:
    """The Markdown section of one run."""
    has_pytorch = any("PyTorch" in way for way in measurement.costs)
    packages = ("jax", "jaxlib", "flax", *(["torch", "transformers"] if has_pytorch else []))
    loads = measurement.loads
    description = (
        f"{arguments.clips} clips of {arguments.seconds:g} s; {arguments.rounds} rounds. "
        f"{processor_name()}, {python_and_packages(packages)}; load average {min(loads):.1f} to "
        f"{max(loads):.1f} while measuring."
    )
    lines = [
        f"## {arguments.encoder}, {datetime.now(UTC):%Y-%m-%d}",
        "",
        description,
        "",
        header(COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1))),
        *(format_row(way, measurement) for way in measurement.costs),
    ]
    return "\n".join(lines)


def format_row(way: str, measurement: Measurement) -> str:
    """The row of one way. Its speed is the ratio to its peer in each round."""
    costs, peer = measurement.costs, PEERS[way]
    seconds = [cost.wall_s for cost in costs[way]]
    speed, spread = "", ""
    if peer in costs:
        ratios = round_ratios([cost.wall_s for cost in costs[peer]], seconds)
        speed = f"{statistics.median(ratios):.2f}x of {peer}"
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return row(
        way,
        f"{statistics.median(seconds):.2f}",
        f"{min(seconds):.2f} to {max(seconds):.2f}",
        speed,
        spread,
        f"{median_cost(costs[way]).cpu_s:.2f}",
        f"{measurement.peak_mib[way]:.0f}",
    )


if __name__ == "__main__":
    main()
