"""Whisper-base's encoder with random weights, in jdann and in PyTorch, in turn in one process.

    python benchmarks/whisper_speed.py
    python benchmarks/whisper_speed.py --tiny    # a tiny network; the figures mean nothing

A batch of 8 clips of 3 s gives all hidden states. jdann computes the log-mels, too; PyTorch (the
network of transformers) is given them. As published, PyTorch hears each clip with silence to 30 s.
"3 s" is the same network with its table of positions cut to 3 s, so that both do the same work.
Speeds are medians over rounds of the ratio in each round. In bfloat16 PyTorch runs by autocast.
"""

import os
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command_line import make_parser
from machine import is_installed, load_average, processor_name, python_and_packages
from markdown_table import header, missing_row, row
from timing import measure_in_turn, round_ratios, seconds_of

from jdann.pretrained import whisper

BATCH, SECONDS, WINDOW_SECONDS = 8, 3, 30
BASE = {
    "d_model": 512,
    "encoder_layers": 6,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
}
TINY = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
PRECISIONS = ("float32", "bfloat16")
COLUMNS = ("way", "ms a batch: median", "min to max", "speed of jdann beside it")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    settings, rounds = (TINY, 1) if arguments.tiny else (BASE, arguments.rounds)
    ways = {f"jdann, {name}": make_jdann(settings, name) for name in PRECISIONS}
    has_peer = is_installed("torch") and is_installed("transformers")
    if has_peer:
        for name in PRECISIONS:
            ways[f"PyTorch, 3 s, {name}"] = make_pytorch(settings, SECONDS, name)
            ways[f"PyTorch, 30 s as published, {name}"] = make_pytorch(
                settings, WINDOW_SECONDS, name
            )
    for way in ways.values():
        way()  # compiles
    timed = {name: lambda way=way: seconds_of(way) for name, way in ways.items()}
    seconds = measure_in_turn(timed, rounds)
    packages = ("jax", "flax", *(("torch", "transformers") if has_peer else ()))
    print(f"{processor_name()}, {python_and_packages(packages)}, ", end="")
    print(f"load average {load_average():.1f}, {rounds} rounds\n")
    print(header(COLUMNS, ("---", *["---:"] * 3)))
    for name, times in seconds.items():
        precision = name.split(", ")[-1]
        ratio = statistics.median(round_ratios(times, seconds[f"jdann, {precision}"]))
        cells = f"{1e3 * min(times):.0f} to {1e3 * max(times):.0f}", f"{ratio:.2f}x"
        print(row(name, f"{1e3 * statistics.median(times):.0f}", *cells))
    if not has_peer:
        print(missing_row("PyTorch", len(COLUMNS)))


def make_jdann(settings: dict[str, int], precision: str) -> Callable[[], object]:
    module = whisper.architecture(settings).module.clone(dtype=jnp.dtype(precision))
    random = np.random.default_rng(0)
    samples = jnp.asarray(random.normal(0, 0.1, (BATCH, SECONDS * 16000)), jnp.float32)
    length = jnp.full(BATCH, samples.shape[1], jnp.int32)
    variables = jax.jit(module.init)(jax.random.key(0), samples, length)
    encode = jax.jit(lambda *inputs: module.apply(*inputs))
    return lambda: jax.block_until_ready(encode(variables, samples, length))


def make_pytorch(settings: dict[str, int], seconds: int, precision: str) -> Callable[[], object]:
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import WhisperConfig  # pyright: ignore[reportMissingImports]
    from transformers.models.whisper.modeling_whisper import (  # pyright: ignore[reportMissingImports]
        WhisperEncoder,
    )

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    config: Any = WhisperConfig(**settings, max_source_positions=50 * seconds)
    encoder = WhisperEncoder(config).eval()
    log_mels = torch.randn(BATCH, config.num_mel_bins, 100 * seconds)

    def encode() -> object:
        is_rounded = precision == "bfloat16"
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_rounded):
            return encoder(log_mels, output_hidden_states=True)

    return encode


if __name__ == "__main__":
    main()
