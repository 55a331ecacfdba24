"""A training step of jdann's encoders, of plain Flax layers and of PyTorch, on the same networks.

    python benchmarks/train_step.py --encoder conv1d
    python benchmarks/train_step.py --encoder resnet50
    python benchmarks/train_step.py --tiny    # a tiny batch, one round; the figures mean nothing

A step is the forward pass in training mode, the backward pass and AdamW. Each way runs in its own
process. All processes are made ready, and then take turns: one works while the others wait. jdann's
steps run inside `lax.scan`, where training spends its time. Plain Flax's do not, because XLA's CPU
backend may be many times slower there. PyTorch uses the memory layout that is faster here of its
two; if it is not installed, its rows say so. The rows of several seeds are jdann's in float32: the
steps one by one, or one program for all seeds.

The ceiling is one product of matrices of size 4096 in the same library. The achieved rate counts
three times the operations of plain Flax's forward pass, whatever operations a way uses instead.
"""

import argparse
import functools
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SHAPES = {"conv1d": (128, 251, 176), "resnet50": (32, 128, 188)}  # batch, frames, bins
CHANNELS, KERNEL_SIZE, STRIDES = (128, 128, 128, 128), 5, (2, 1, 2, 1)  # of conv1d
BLOCKS = (3, 4, 6, 3)  # of resnet50
STEPS = {"conv1d": 8, "resnet50": 2}  # in a turn

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
SEEDS = ("one by one", "vmap", "lax.map")


def plain_flax(encoder: str) -> Any:
    """What a Flax user would write, without masks."""
    import jax.numpy as jnp
    from flax import linen as nn

    class Conv1d(nn.Module):
        @nn.compact
        def __call__(self, features, length, train):
            x = features
            for channels, stride in zip(CHANNELS, STRIDES, strict=True):
                x = nn.Conv(channels, (KERNEL_SIZE,), stride, use_bias=False)(x)
                x = nn.relu(nn.BatchNorm(not train, momentum=0.9)(x))
            return {"representation": jnp.concatenate([x.mean(axis=1), x.std(axis=1)], axis=-1)}

    class ResNet50(nn.Module):
        @nn.compact
        def __call__(self, features, length, train):
            norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
            conv = functools.partial(nn.Conv, use_bias=False)
            x = nn.relu(norm()(conv(64, (7, 7), (2, 2))(features[..., None])))
            x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
            for stage, blocks in enumerate(BLOCKS):
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

    return Conv1d() if encoder == "conv1d" else ResNet50()


def jdann(encoder: str, precision: str) -> Any:
    """The encoder of the package."""
    from jdann.models import make_encoder

    sizes = {"channels": CHANNELS, "kernel_size": KERNEL_SIZE, "strides": STRIDES}
    return make_encoder(encoder, {"dropout": 0.0, **sizes}, precision)


def jax_step(module: Any, shape: tuple[int, int, int]) -> tuple[Callable, Callable]:
    """Returns `init(key) -> state` and `step(state) -> state`."""
    import jax
    import jax.numpy as jnp
    import optax

    features, length = jax.random.normal(jax.random.key(0), shape), jnp.full(shape[:1], shape[1])
    optimiser = optax.adamw(1e-3)

    def init(key):
        variables = module.init({"params": key}, features, length, False)
        return variables["params"], variables["batch_stats"], optimiser.init(variables["params"])

    def step(state):
        params, batch_stats, moments = state

        def loss(params):
            variables = {"params": params, "batch_stats": batch_stats}
            outputs, updated = module.apply(
                variables, features, length, True, mutable=["batch_stats"]
            )
            return jnp.square(outputs["representation"] - 1).mean(), updated["batch_stats"]

        gradients, batch_stats = jax.grad(loss, has_aux=True)(params)
        updates, moments = optimiser.update(gradients, moments, params)
        return optax.apply_updates(params, updates), batch_stats, moments

    return init, step


def jax_turn(
    way: str, encoder: str, shape: tuple[int, int, int], steps: int
) -> tuple[Callable[[], Any], float]:
    """Returns a function for one turn, and the gigaflops of one step.

    A turn is `steps` steps of one seed, or one step of each of `steps` seeds.
    """
    import jax
    import jax.numpy as jnp

    module = (
        plain_flax(encoder)
        if way.startswith("plain")
        else jdann(encoder, way.split()[1] if "jdann" in way else "float32")
    )
    init, step = jax_step(module, shape)

    # jdann's own convolutions take fewer operations than they count for, so plain Flax is counted.
    plain = plain_flax(encoder)

    def forward(variables, features):
        outputs, _ = plain.apply(variables, features, None, True, mutable=["batch_stats"])
        return outputs["representation"]

    features = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(lambda x: plain.init(jax.random.key(0), x, None, True), features)
    cost = jax.jit(forward).lower(variables, features).cost_analysis()
    gigaflops = 3e-9 * (cost or {}).get("flops", float("nan"))

    states = jax.jit(jax.vmap(init))(jax.random.split(jax.random.key(0), steps))
    first_state = jax.tree.map(lambda x: x[0], states)
    if way in ("one by one", "plain Flax float32"):
        compiled = jax.jit(step)
        each = [jax.tree.map(lambda x, i=i: x[i], states) for i in range(steps)]
        return lambda: [jax.block_until_ready(compiled(state)) for state in each], gigaflops
    many = {"vmap": jax.vmap(step), "lax.map": functools.partial(jax.lax.map, step)}.get(way)
    whole = jax.jit(
        many or functools.partial(jax.lax.fori_loop, 0, steps, lambda _, state: step(state))
    )
    return lambda: jax.block_until_ready(whole(states if many else first_state)), gigaflops


def torch_turn(
    way: str, encoder: str, shape: tuple[int, int, int], steps: int
) -> Callable[[], Any]:
    """Returns a function that makes `steps` steps in PyTorch, on a GPU if there is one."""
    import torch
    from torch import nn

    torch.set_num_threads(os.cpu_count() or 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    class Conv1d(nn.Module):
        def __init__(self):
            super().__init__()
            sizes = zip((shape[2], *CHANNELS), CHANNELS, STRIDES, strict=False)
            convolutions = [
                nn.Conv1d(i, o, KERNEL_SIZE, s, KERNEL_SIZE // 2, bias=False) for i, o, s in sizes
            ]
            self.layers = nn.Sequential(
                *(
                    layer
                    for c in convolutions
                    for layer in (c, nn.BatchNorm1d(c.out_channels), nn.ReLU())
                )
            )

        def forward(self, x):
            x = self.layers(x)
            return torch.cat([x.mean(-1), (x.var(-1, unbiased=False) + 1e-5).sqrt()], -1)

    class Bottleneck(nn.Module):
        def __init__(self, into, channels, stride):
            super().__init__()
            self.main = nn.Sequential(
                *(nn.Conv2d(into, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()),
                *(
                    nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                ),
                *(nn.Conv2d(channels, 4 * channels, 1, bias=False), nn.BatchNorm2d(4 * channels)),
            )
            nn.init.zeros_(self.main[-1].weight)
            self.shortcut = nn.Identity()
            if into != 4 * channels:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(into, 4 * channels, 1, stride, bias=False),
                    nn.BatchNorm2d(4 * channels),
                )

        def forward(self, x):
            return torch.relu(self.main(x) + self.shortcut(x))

    class ResNet50(nn.Module):
        def __init__(self):
            super().__init__()
            stem = (
                nn.Conv2d(1, 64, 7, 2, 3, bias=False),
                nn.BatchNorm2d(64),
                nn.ReLU(),
                nn.MaxPool2d(3, 2, 1),
            )
            layers, into = [*stem], 64
            for stage, blocks in enumerate(BLOCKS):
                for block in range(blocks):
                    layers.append(
                        Bottleneck(into, 64 * 2**stage, 2 if stage > 0 and block == 0 else 1)
                    )
                    into = 256 * 2**stage
            self.layers = nn.Sequential(*layers)

        def forward(self, x):
            return self.layers(x[:, None]).mean((2, 3))

    torch.manual_seed(0)
    features = torch.randn(shape, device=device)

    def make(memory_format):
        network = (Conv1d() if encoder == "conv1d" else ResNet50()).to(device).train()
        if memory_format is torch.channels_last and encoder == "resnet50":
            network = network.to(memory_format=memory_format)
        x = features.transpose(1, 2).contiguous() if encoder == "conv1d" else features
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)

        def turn(steps=steps):
            for _ in range(steps):
                with torch.autocast(device, torch.bfloat16, enabled="bf16" in way):
                    loss = torch.square(network(x).float() - 1).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            return loss.item()

        return turn

    turns = [
        make(layout)
        for layout in ([torch.contiguous_format] + [torch.channels_last] * (encoder == "resnet50"))
    ]
    for turn in turns:
        turn(1)
    return min(turns, key=lambda turn: timed(functools.partial(turn, 1)))


def ceiling(way: str, size: int) -> float:
    """Gigaflops a second of one product of square matrices, in the precision of a way."""
    repeats, narrow = 3, "bf16" in way or "mixed" in way
    if "PyTorch" in way:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        a = torch.randn(
            size, size, dtype=torch.bfloat16 if narrow else torch.float32, device=device
        )
        product = lambda: (a @ a)[0, 0].item()  # noqa: E731
    else:
        import jax
        import jax.numpy as jnp

        a = jax.random.normal(jax.random.key(0), (size, size)).astype(
            jnp.bfloat16 if narrow else jnp.float32
        )
        multiply = jax.jit(lambda a: jnp.matmul(a, a, preferred_element_type=jnp.float32))
        product = lambda: jax.block_until_ready(multiply(a))  # noqa: E731
    product()
    return 2e-9 * size**3 / min(timed(product) for _ in range(repeats))


def timed(function: Callable[[], Any]) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def work(way: str, encoder: str, shape: tuple[int, int, int], steps: int) -> None:
    """The work of one process: it gets ready, then answers each line of its standard input.

    A line is "turn", or "ceiling" and a matrix size.
    """
    sys.path.insert(0, str(ROOT))
    gigaflops = float("nan")
    if "PyTorch" in way:
        turn = torch_turn(way, encoder, shape, steps)
    else:
        turn, gigaflops = jax_turn(way, encoder, shape, steps)
    turn()
    print(gigaflops, flush=True)
    for line in sys.stdin:
        question, *size = line.split()
        answer = ceiling(way, int(size[0])) if question == "ceiling" else timed(turn) / steps
        print(answer, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    parser.add_argument(
        "--tiny", action="store_true", help="a check in seconds; figures mean nothing"
    )
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = 4096
    if arguments.tiny:
        size, arguments.shape, arguments.rounds, arguments.seeds = 64, (2, 16, 8), 1, 0
    shape = tuple(arguments.shape or SHAPES[arguments.encoder])
    if arguments.work:
        steps = arguments.seeds if arguments.work in SEEDS else STEPS[arguments.encoder]
        return work(arguments.work, arguments.encoder, shape, steps)

    ways = [way for way in arguments.ways if arguments.seeds or way not in SEEDS]
    missing: list[str] = []
    if find_spec("torch") is None:
        missing = [way for way in ways if "PyTorch" in way]
        ways = [way for way in ways if way not in missing]
    options = [
        "--encoder",
        arguments.encoder,
        "--seeds",
        str(arguments.seeds),
        "--shape",
        *map(str, shape),
    ]
    command = [sys.executable, __file__, *options, "--work"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers, gigaflops = {}, float("nan")
    # One at a time: they would disturb each other's compilation and choice of layout.
    for way in ways:
        workers[way] = subprocess.Popen([*command, way], **pipes)
        ready = workers[way].stdout.readline()
        if not ready:
            sys.exit(f"{way}: its process ended")
        gigaflops = gigaflops if gigaflops == gigaflops else float(ready)

    def ask(way: str, what: str) -> float:
        workers[way].stdin.write(what + "\n")
        workers[way].stdin.flush()
        return float(workers[way].stdout.readline())

    seconds: dict[str, list[float]] = {way: [] for way in ways}
    load = [os.getloadavg()[0]]
    for _ in range(arguments.rounds):
        for way in ways:
            seconds[way].append(ask(way, "turn"))
        load.append(os.getloadavg()[0])
    ceilings = {way: ask(way, f"ceiling {size}") for way in ways if way not in SEEDS}
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    text = table(arguments, shape, seconds, ceilings, gigaflops, load)
    text += "".join(f"\n| {way} | not installed | | | | |" for way in missing)
    print(text)
    if arguments.output:
        with arguments.output.open("a", encoding="utf-8") as file:
            file.write("\n" + text + "\n")


def table(
    arguments: Any,
    shape: tuple[int, ...],
    seconds: dict[str, list[float]],
    ceilings: dict[str, float],
    gigaflops: float,
    load: list,
) -> str:
    """The Markdown section of one run."""
    names = (
        "jax",
        "jaxlib",
        "flax",
        "numpy",
        *(["torch"] if any("PyTorch" in way for way in seconds) else []),
    )
    batch, frames, bins = shape
    lines = [
        f"## {arguments.encoder}, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"Batch {batch}, {frames} x {bins}, {gigaflops:.1f} GFLOP a step; "
        f"{arguments.rounds} rounds of {STEPS[arguments.encoder]} steps. "
        f"{processor()}, Python {platform.python_version()}, "
        f"{', '.join(f'{name} {version(name)}' for name in names)}; "
        f"load average {min(load):.1f} to "
        f"{max(load):.1f} while measuring.",
        "",
        "| way | a step, ms: median | min to max | speed | GFLOP/s | ceiling |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for way, values in seconds.items():
        median, peer = statistics.median(values), PEERS[way]
        # The ratio is a median over rounds: the two took their turns one shortly after the other.
        ratios = [b / a for a, b in zip(values, seconds.get(peer, []), strict=False)]
        ratio = f"{statistics.median(ratios):.2f}x of {peer}" if ratios else ""
        name = f"{arguments.seeds} seeds, {way}" if way in SEEDS else way
        top = f"{ceilings[way]:.0f}" if way in ceilings else ""
        lines.append(
            f"| {name} | {1e3 * median:.0f} | {1e3 * min(values):.0f} to "
            f"{1e3 * max(values):.0f} | {ratio} | {gigaflops / median:.0f} | {top} |"
        )
    return "\n".join(lines)


def processor() -> str:
    """The processor's or the GPU's name."""
    import jax

    if jax.default_backend() != "cpu":
        return jax.devices()[0].device_kind
    information = Path("/proc/cpuinfo")
    names = (
        [
            line.split(":")[1].strip()
            for line in information.read_text().splitlines()
            if line.startswith("model name")
        ]
        if (information.exists())
        else [platform.machine()]
    )
    return f"{os.cpu_count()} cores of {names[0]}"


if __name__ == "__main__":
    main()
