"""Gradient checkpointing of the trained blocks of a pretrained encoder: its memory and its time.

    python benchmarks/encoder_gradients.py FOLDER
    python benchmarks/encoder_gradients.py FOLDER --tiny    # tiny batches; the figures mean nothing

FOLDER is an encoder (or an id of the Hub) whose top blocks are trained. The memory is what the
compiled gradient needs beside weights and results. The time is the CPU time of a gradient of a
batch, the least of three, and the gradients with and without checkpointing are compared.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from command_line import make_parser
from machine import load_average, processor_name, python_and_packages
from markdown_table import header, row
from timing import cost_of_call

from jdann.models import make_encoder
from jdann.models.network import with_weights
from jdann.pretrained.load import load_encoder

WAYS = {"all weights": 0, "LoRA of rank 8": 8}
COLUMNS = ("way", "batch", "plain", "checkpointed", "plain, CPU s", "checkpointed, CPU s")


class Batch(NamedTuple):
    """The size of a batch."""

    clips: int
    frames: int

    def __str__(self) -> str:
        return f"{self.clips} x {self.frames} frames"


def compile_gradient(network: Any, batch: Batch, width: int) -> tuple[int, Callable[[], Any]]:
    """The bytes that a compiled gradient needs, and a function that computes it."""
    samples = jax.random.normal(jax.random.key(0), (*batch, width))
    length = jnp.full(batch.clips, batch.frames)
    params = network.init(jax.random.key(0), samples[:1], length[:1], False)["params"]
    weights = jax.tree.map(jnp.asarray, network.weights)

    def loss(params: Any, weights: Any, samples: jax.Array) -> jax.Array:
        bound = with_weights(network, weights)
        outputs = bound.apply({"params": params}, samples, length, False)
        return jnp.sin(outputs["representation"]).mean()

    compiled = jax.jit(jax.grad(loss)).lower(params, weights, samples).compile()
    used = compiled.memory_analysis()
    assert used is not None
    compute = functools.partial(compiled, params, weights, samples)
    return used.temp_size_in_bytes, lambda: jax.block_until_ready(compute())


def measure(arguments: argparse.Namespace, rank: int, batch: Batch) -> list[str]:
    """The last four cells of a row."""
    architecture = load_encoder(arguments.encoder).architecture
    first = architecture.layers - 1 - arguments.blocks
    features = {"recipe": "pretrained_frames", "encoder": arguments.encoder, "layers": str(first)}
    memory, seconds, gradients = [], [], []
    for checkpointing in (False, True):
        settings = {
            "blocks": arguments.blocks,
            "lora_rank": rank,
            "dropout": 0.0,
            "gradient_checkpointing": checkpointing,
        }
        network = make_encoder("pretrained_top", settings, features=features)
        used, compute = compile_gradient(network, batch, architecture.width)
        gradients.append(compute())
        memory.append(f"{used / 2**20:.0f} MiB")
        seconds.append(f"{min(cost_of_call(compute).cpu_s for _ in range(3)):.2f}")
    check_equal(*gradients)
    return [*memory, *seconds]


def check_equal(a: Any, b: Any) -> None:
    """Raises AssertionError if two gradients differ by more than rounding."""
    largest = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(a))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert float(jnp.abs(x - y).max()) <= 1e-4 * largest, "other gradients"


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("encoder", help="a folder, an id of the Hub, or smart-turn-v3.2")
    parser.add_argument("--blocks", type=int, default=2, help="how many of the top; default: 2")
    arguments = parser.parse_args()
    batches = [Batch(2, 16)] if arguments.tiny else [Batch(8, 96), Batch(32, 192)]
    rows = [
        row(way, str(batch), *measure(arguments, rank, batch))
        for way, rank in WAYS.items()
        for batch in batches
    ]
    print(
        f"{processor_name()}; {python_and_packages(('jax', 'jaxlib', 'flax'))}; "
        f"load average {load_average():.1f}\n"
    )
    print(header(COLUMNS, ("---", "---", *["---:"] * 4)), *rows, sep="\n")


if __name__ == "__main__":
    main()
