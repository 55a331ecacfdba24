"""Milliseconds of one training step: jdann's encoders beside the same networks of plain Flax layers.

    python benchmarks/train_step.py --encoder conv1d --batch 64 --frames 200 --bins 114
    python benchmarks/train_step.py --encoder resnet50 --batch 16 --frames 128 --bins 114

A step is forward, backward and AdamW. Columns: one step on its own; one step inside `lax.scan`, where training spends
its time; then a step of three seeds: three steps one after the other, under `vmap`, under `lax.map`. Inside a loop of
XLA's CPU backend plain Flax takes up to minutes a step; `--skip-plain-loops` leaves those cells out.
"""

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import lax

from configs.base import get_config
from jdann.encoders import make_encoder

SEEDS = 3


class PlainConv1d(nn.Module):
    """What a Flax user would write for `conv1d`, without masks."""

    channels: tuple[int, ...]
    kernel_size: int
    strides: tuple[int, ...]

    @nn.compact
    def __call__(self, features, length, train):
        x = features
        for channels, stride in zip(self.channels, self.strides, strict=True):
            x = nn.Conv(channels, (self.kernel_size,), stride, use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(not train, momentum=0.9)(x))
        return {"representation": jnp.concatenate([x.mean(axis=1), x.std(axis=1)], axis=-1)}


class PlainResNet(nn.Module):
    """What a Flax user would write for `resnet50`, without masks."""

    @nn.compact
    def __call__(self, features, length, train):
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        conv = functools.partial(nn.Conv, use_bias=False)
        x = nn.relu(norm()(conv(64, (7, 7), (2, 2))(features[..., None])))
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for stage, blocks in enumerate((3, 4, 6, 3)):
            channels = 64 * 2**stage
            for block in range(blocks):
                strides = (2, 2) if stage > 0 and block == 0 else (1, 1)
                y = nn.relu(norm()(conv(channels, (1, 1))(x)))
                y = nn.relu(norm()(conv(channels, (3, 3), strides)(y)))
                y = norm(scale_init=nn.initializers.zeros)(conv(4 * channels, (1, 1))(y))
                if block == 0:
                    x = norm()(conv(4 * channels, (1, 1), strides)(x))
                x = nn.relu(x + y)
        return {"representation": x.mean(axis=(1, 2))}


def make_step(module: nn.Module, features: jax.Array, length: jax.Array) -> tuple[Callable, Callable]:
    """Returns `init(key) -> state` and `step(state) -> state`."""
    optimiser = optax.adamw(1e-3)

    def init(key):
        variables = module.init({"params": key}, features, length, False)
        return variables["params"], variables["batch_stats"], optimiser.init(variables["params"])

    def step(state):
        params, batch_stats, moments = state

        def loss(params):
            variables = {"params": params, "batch_stats": batch_stats}
            outputs, updated = module.apply(variables, features, length, True, mutable=["batch_stats"])
            return jnp.square(outputs["representation"] - 1).mean(), updated["batch_stats"]

        gradients, batch_stats = jax.grad(loss, has_aux=True)(params)
        updates, moments = optimiser.update(gradients, moments, params)
        return optax.apply_updates(params, updates), batch_stats, moments

    return init, step


def milliseconds(function: Callable, argument: Any, repeats: int) -> float:
    """Returns the fastest of `repeats` runs, compilation left out."""
    jax.block_until_ready(function(argument))
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(function(argument))
        times.append(time.perf_counter() - begun)
    return 1e3 * min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", choices=("conv1d", "resnet50"), default="conv1d")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--bins", type=int, default=114)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--skip-plain-loops", action="store_true")
    arguments = parser.parse_args()

    config = get_config().encoder
    config.name, config.dropout = arguments.encoder, 0.0
    plain = PlainConv1d(config.channels, config.kernel_size, config.strides)
    modules = {"jdann": make_encoder(config), "plain Flax": plain if arguments.encoder == "conv1d" else PlainResNet()}
    features = jax.random.normal(jax.random.key(0), (arguments.batch, arguments.frames, arguments.bins))
    length = jnp.full((arguments.batch,), arguments.frames)

    shape = f"batch {arguments.batch}, {arguments.frames} x {arguments.bins}"
    print(f"{arguments.encoder}, {shape}, {jax.default_backend()}, milliseconds")
    print(f"{'':12}{'step':>10}{'in scan':>10}{f'{SEEDS} steps':>10}{'vmap':>10}{'lax.map':>10}")
    for name, module in modules.items():
        init, step = make_step(module, features, length)
        one = jax.jit(init)(jax.random.key(0))
        seeds = jax.jit(jax.vmap(init))(jax.random.split(jax.random.key(0), SEEDS))
        run = functools.partial(milliseconds, repeats=arguments.repeats)
        single = run(jax.jit(step), one)
        cells = [single, float("nan"), SEEDS * single, run(jax.jit(jax.vmap(step)), seeds), float("nan")]
        if name == "jdann" or not arguments.skip_plain_loops:
            two_steps = functools.partial(lax.fori_loop, 0, 2, lambda _, state, step=step: step(state))
            cells[1] = run(jax.jit(two_steps), one) / 2
            cells[4] = run(jax.jit(functools.partial(lax.map, step)), seeds)
        print(f"{name:12}" + "".join(f"{cell:10.0f}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
