"""Pretrained speech encoders: jdann's time and memory beside those of PyTorch.

    python benchmarks/encoders.py
    python benchmarks/encoders.py --encoders WavLM-base --rounds 3
    python benchmarks/encoders.py --tiny    # tiny networks, one round; the figures mean nothing

A turn computes all hidden states of a batch of clips, without gradients. The networks have the
published sizes and random weights. Each way runs in its own process. All processes of an encoder
are made ready, and then take turns: one works while the others wait. The peak of memory is the
largest resident memory of the process, with its library, the weights and what it compiled.

As published, Whisper hears each clip with silence to 30 s. jdann cuts the silence off. Both
libraries are measured in both ways; PyTorch's table of positions is cut for that. jdann's time
includes the log-mels of Whisper, and PyTorch is given them.

PyTorch's networks are those of `transformers`. If it or PyTorch is not installed, the rows say so.
"""

import argparse
import itertools
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
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
ENCODERS: dict[str, dict[str, Any]] = {  # settings as in config.json; the other sizes are defaults
    "HuBERT-base": {"model_type": "hubert"},
    "WavLM-base": {"model_type": "wavlm"},
    "Whisper-base": {
        "model_type": "whisper",
        "d_model": 512,
        "encoder_layers": 6,
        "encoder_attention_heads": 8,
        "encoder_ffn_dim": 2048,
    },
}
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [4] * 7,
    "num_conv_pos_embedding_groups": 2,
}
TINY_WHISPER = {
    "d_model": 16,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
}
LIBRARIES, PRECISIONS = ("jdann", "PyTorch"), ("float32", "bfloat16")
COLUMNS = (
    "encoder and way",
    "a batch, s: median",
    "min to max",
    "time beside jdann's: median",
    "min to max",
    "CPU, s: median",
    "peak, MiB",
)
PAUSE_S = 0.3  # after a turn, in which the system takes back the memory that the turn has freed
MELS_PER_SECOND = 100  # frames of Whisper's log-mels


class Way(NamedTuple):
    """How an encoder is computed."""

    library: str
    precision: str
    padded: bool = False  # Whisper as published: with silence to 30 s

    def __str__(self) -> str:
        padding = ", silence to 30 s" if self.padded else ""
        return f"{self.library} {self.precision}{padding}"


class Measurement(NamedTuple):
    """What was measured of each way of an encoder."""

    costs: dict[Way, list[Cost]]  # of a batch, by round
    peak_mib: dict[Way, float]


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of a clip")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
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
    loads, rows = [load_average()], []
    for encoder in arguments.encoders:
        ways = [way for way in ways_of(encoder) if has_peers or way.library == "jdann"]
        measurement = measure(arguments, encoder, ways, loads)
        rows += [format_row(encoder, way, measurement) for way in ways]
    if not has_peers:
        rows.append(missing_row("PyTorch", len(COLUMNS)))
    print(describe(arguments, loads, has_peers) + "\n")
    print(header(COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1))), *rows, sep="\n")


def ways_of(encoder: str) -> list[Way]:
    """The ways that are compared."""
    paddings = (False, True) if is_whisper(ENCODERS[encoder]) else (False,)
    return [Way(*way) for way in itertools.product(LIBRARIES, PRECISIONS, paddings)]


def is_whisper(settings: Mapping[str, Any]) -> bool:
    return settings["model_type"] == "whisper"


# One process for each way. It answers each line of its standard input with a number.


def answer_questions(arguments: argparse.Namespace) -> None:
    """The work of one process. It gets ready, then answers "turn", "cpu" and "peak".

    "turn" gives the seconds of a turn, and "cpu" the CPU time of the turn before.
    """
    sys.path.insert(0, str(ROOT))
    (encoder,) = arguments.encoders
    settings = ENCODERS[encoder]
    if arguments.tiny:
        settings = settings | (TINY_WHISPER if is_whisper(settings) else TINY)
    library, precision, padding = arguments.work
    way = Way(library, precision, padding == "padded")
    # A process loads only the library that it measures.
    make_turn = {"jdann": make_jdann_turn, "PyTorch": make_pytorch_turn}[library]
    turn = make_turn(settings, way, arguments.clips, arguments.seconds)
    cost = cost_of_call(turn)  # compiles
    print(cost.wall_s, flush=True)
    for line in sys.stdin:
        if line.strip() == "turn":
            cost = cost_of_call(turn)
            time.sleep(PAUSE_S)
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        answers = {"turn": cost.wall_s, "cpu": cost.cpu_s, "peak": peak_mib}
        print(answers[line.strip()], flush=True)


def ask_cost(worker: Worker) -> Cost:
    """The cost of one turn of a worker."""
    return Cost(worker.ask("turn"), worker.ask("cpu"))


def make_jdann_turn(
    settings: dict[str, Any], way: Way, clips: int, seconds: float
) -> Callable[[], Any]:
    """Returns a function that computes the states of one batch."""
    import jax
    import jax.numpy as jnp

    from jdann.pretrained.contract import SpeechEncoder
    from jdann.pretrained.load import in_bfloat16, make_architecture

    architecture = make_architecture(settings, Path("benchmark"))
    if is_whisper(settings):
        module = architecture.module.clone(pad_to_window=way.padded)
        architecture = architecture._replace(module=module)
    samples = jax.random.normal(jax.random.key(0), (clips, round(seconds * SAMPLE_RATE_HZ)))
    length = jnp.full(clips, samples.shape[1])
    make_params = jax.jit(architecture.module.init)
    params = make_params(jax.random.key(1), samples[:1, :4000], length[:1])["params"]
    encoder = SpeechEncoder("benchmark", architecture, params, digest="")
    if way.precision == "bfloat16":
        encoder = in_bfloat16(encoder)
    del params  # otherwise bfloat16 would keep the kernels in float32, too
    apply = jax.jit(encoder.architecture.module.apply)
    variables = {"params": encoder.params}
    return lambda: jax.block_until_ready(apply(variables, samples, length))


def make_pytorch_turn(
    settings: dict[str, Any], way: Way, clips: int, seconds: float
) -> Callable[[], Any]:
    """Returns a function that computes the states of one batch, on a GPU if there is one."""
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import AutoConfig, AutoModel  # pyright: ignore[reportMissingImports]
    from transformers.models.whisper.modeling_whisper import (  # pyright: ignore[reportMissingImports]
        WhisperEncoder,
    )

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, way.precision)
    config: Any = AutoConfig.for_model(**settings)
    shape = (clips, round(seconds * SAMPLE_RATE_HZ))
    if is_whisper(settings):
        if not way.padded:
            config.max_source_positions = round(seconds * MELS_PER_SECOND) // 2
        shape = (clips, config.num_mel_bins, 2 * config.max_source_positions)
        network: Any = WhisperEncoder(config)
    else:
        network = AutoModel.from_config(config)
    network = network.eval().to(device, dtype)
    inputs = torch.randn(shape, device=device, dtype=dtype)

    def turn() -> float:
        with torch.inference_mode():
            output = network(inputs, output_hidden_states=True)
        return output.last_hidden_state[0, 0, 0].item()  # waits for the GPU

    return turn


def measure(
    arguments: argparse.Namespace, encoder: str, ways: list[Way], loads: list[float]
) -> Measurement:
    """Measures the ways of one encoder in turn, and adds the load after each round to `loads`."""
    options = ["--encoders", encoder, "--clips", str(arguments.clips)]
    options += ["--seconds", str(arguments.seconds), *(["--tiny"] if arguments.tiny else [])]
    command = [sys.executable, __file__, *options, "--work"]
    # One starts after the other, because side by side they would disturb each other.
    workers = {
        way: start_worker(
            str(way), [*command, way.library, way.precision, "padded" if way.padded else "cut"]
        )
        for way in ways
    }
    turns = {str(way): partial(ask_cost, worker) for way, worker in workers.items()}
    costs = measure_in_turn(turns, arguments.rounds, lambda: loads.append(load_average()))
    peak_mib = {way: worker.ask("peak") for way, worker in workers.items()}
    for worker in workers.values():
        worker.stop()
    return Measurement({way: costs[str(way)] for way in ways}, peak_mib)


def describe(arguments: argparse.Namespace, loads: list[float], has_peers: bool) -> str:
    """What was measured, and on which machine."""
    packages = ("jax", "jaxlib", "flax", *(["torch", "transformers"] if has_peers else []))
    used = len(os.sched_getaffinity(0))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}. {arguments.clips} clips of {arguments.seconds:g} s; "
        f"{arguments.rounds} rounds. {processor_name()}, {used} of them used, "
        f"{python_and_packages(packages)}; load average {min(loads):.1f} to {max(loads):.1f} "
        "while measuring."
    )


def format_row(encoder: str, way: Way, measurement: Measurement) -> str:
    """The row of one way. Its time is also given beside that of jdann, cut, in each round."""
    costs = measurement.costs
    seconds = [cost.wall_s for cost in costs[way]]
    reference = [cost.wall_s for cost in costs[Way("jdann", way.precision)]]
    ratios = round_ratios(seconds, reference)
    return row(
        f"{encoder}, {way}",
        f"{statistics.median(seconds):.2f}",
        f"{min(seconds):.2f} to {max(seconds):.2f}",
        f"{statistics.median(ratios):.2f}x",
        f"{min(ratios):.2f} to {max(ratios):.2f}",
        f"{median_cost(costs[way]).cpu_s:.2f}",
        f"{measurement.peak_mib[way]:.0f}",
    )


if __name__ == "__main__":
    main()
