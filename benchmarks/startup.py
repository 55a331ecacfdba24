"""Start-up: imports, the first training step, and a prediction from the command line.

    python benchmarks/startup.py [--repeats 5]
    python benchmarks/startup.py --tiny    # one small model, one repeat; the figures mean nothing

Each measurement is a process of its own, and all of them take turns. A first step and a prediction
are timed with what an earlier process has compiled and traced ("warm"), and without it ("cold").
PyTorch, which compiles nothing, takes the same step if it is installed. Times are those of whole
processes, including the start and the end of the interpreter. CPU times depend less than wall
times on what else the machine does.
"""

import argparse
import importlib.util
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

# The 1-D CNN of benchmarks/train_step.py.
CHANNELS, KERNEL, STRIDES, CLASSES = (128,) * 4, 5, (2, 1, 2, 1), 5
BATCH, FRAMES, BINS = 128, 251, 176
# Models with random parameters, one for each recipe, with as many seeds as their configs train.
MODELS = {"conv1d on frames, 3 seeds": "en2zh", "mlp on statistics, 5 seeds": "best"}
TINY_MODELS = {"conv1d on frames, tiny": "en2zh"}
NOT_INSTALLED = "not installed"


class Times(NamedTuple):
    """Wall and CPU time of one process, in s."""

    wall: float
    cpu: float


def step_jdann() -> None:
    """The first step of training, by jdann's own loop."""
    # The imports are part of what is measured.
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jdann.data.batches import BatchIndices, Frames, TrainingData
    from jdann.methods import make_method
    from jdann.models import make_encoder
    from jdann.training.members import CompiledTraining
    from jdann.training.state import Hyper, Program, TrainingSettings

    sizes = {"channels": CHANNELS, "kernel_size": KERNEL, "strides": STRIDES}
    program = Program(
        encoder=make_encoder("conv1d", sizes),
        method=make_method("source_only"),
        settings=TrainingSettings(),
        classes=CLASSES,
        speakers=0,
        bins=BINS,
        window=FRAMES,
        phase_steps=(10,),
    )
    training = CompiledTraining(program)
    random = np.random.default_rng(0)
    values = random.normal(size=((BATCH + 1) * FRAMES, BINS)).astype(np.float16)
    start, length = np.arange(BATCH, dtype=np.int32) * FRAMES, np.full(BATCH, FRAMES, np.int32)
    frames = Frames(jnp.asarray(values), jnp.asarray(start), jnp.asarray(length))
    data = TrainingData(
        frames,
        jnp.asarray(np.arange(BATCH) % CLASSES, jnp.int32),
        jnp.full(BATCH, -1, jnp.int32),
        frames,
    )
    keys, ones = jax.vmap(jax.random.key)(jnp.zeros(1, jnp.uint32)), jnp.ones(1)
    hyper = Hyper(1e-3 * ones, 0 * ones, ones)
    index = jnp.arange(BATCH, dtype=jnp.int32)[None, None]
    labels = jnp.zeros((1, BATCH, CLASSES))
    indices = BatchIndices(index, index)
    state = training.init(keys)
    _, metrics = training.train_epoch(0, state, keys, hyper, data, indices, labels)
    assert np.isfinite(metrics["loss"]).all()


def step_pytorch() -> None:
    """The same step in PyTorch, eager."""
    # The imports are part of what is measured.
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for i, (channels, stride) in enumerate(zip(CHANNELS, STRIDES, strict=True)):
        layers += [
            nn.Conv1d(CHANNELS[i - 1] if i else BINS, channels, KERNEL, stride, KERNEL // 2),
            nn.BatchNorm1d(channels),
        ]
        layers += [nn.ReLU()]
    encoder, dropout, classifier = (
        nn.Sequential(*layers),
        nn.Dropout(0.3),
        nn.Linear(2 * CHANNELS[-1], CLASSES),
    )
    optimiser = torch.optim.AdamW([*encoder.parameters(), *classifier.parameters()], 1e-3)
    x = encoder(torch.randn(BATCH, BINS, FRAMES))
    logits = classifier(dropout(torch.cat([x.mean(-1), x.std(-1)], 1)))
    loss = nn.functional.cross_entropy(logits, torch.arange(BATCH) % CLASSES)
    loss.backward()
    optimiser.step()
    assert torch.isfinite(loss)


def write_models(folder: Path, names: Sequence[str], tiny: bool = False) -> None:
    """Writes a model with random parameters for each config in `names`, and a clip of 3 s."""
    # The processes that are measured import this module and must not load more than they measure.
    import jax
    import jax.numpy as jnp
    import numpy as np
    import soundfile

    from jdann.configuration import load_config, to_dict
    from jdann.features import make_recipe
    from jdann.inference import model
    from jdann.models import make_encoder

    rate_hz = 16000
    t = np.arange(3 * rate_hz) / rate_hz
    wave = (
        sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 8))
        * (1 + np.sin(2 * np.pi * 3 * t))
        / 20
    )
    soundfile.write(folder / "clip.wav", wave, rate_hz)
    overrides = [("encoder.channels", "8"), ("encoder.strides", "2")] if tiny else []
    for name in names:
        config = load_config(name, overrides)
        encoder = make_encoder(config.encoder.name, config.encoder)
        recipe = make_recipe(config.features.recipe, config.features, rate_hz)
        shape = (1, len(recipe.bins)) if recipe.is_vector else (1, FRAMES, len(recipe.bins))

        def random_parameters(key, encoder=encoder, shape=shape):
            inputs = jnp.zeros(shape), jnp.full(1, shape[1])
            variables = encoder.init(key, *inputs, False)
            width = encoder.apply(variables, *inputs, False)["representation"].shape[-1]
            return {
                "encoder": variables,
                "classifier": {"kernel": jnp.ones((width, CLASSES)), "bias": jnp.zeros(CLASSES)},
            }

        keys = jax.random.split(jax.random.key(0), 1 if tiny else config.seeds)
        variables = jax.device_get(jax.jit(jax.vmap(random_parameters))(keys))
        run = {
            "source": {"name": "random"},
            "target": {"name": "random"},
            "method": "dann",
            "encoder": config.encoder.name,
            "direction": 0,
            "order": 0,
            "temperature": 1.0,
        }
        card = {"labels": list(config.emotions), **run, "config": to_dict(config)}
        card["seeds"] = list(range(len(keys)))
        std = np.ones((1, len(recipe.bins)), np.float32)
        normaliser = model.Normaliser(0 * std, std, np.zeros((1, 0), np.float32))
        model.save_model(folder / name, model.Model(variables, normaliser, card))


def run(code: str, cache: Path) -> Times:
    """One process; what it compiles and traces is kept in `cache`."""
    environment = os.environ | {
        "XDG_CACHE_HOME": str(cache),
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), *sys.path)),
    }
    # The compile cache as the command line sets it, for processes that do not use the command line.
    environment["JAX_COMPILATION_CACHE_DIR"] = str(cache / "jdann" / "xla")
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    message = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise SystemExit(f"{code} failed: {message}")
    return Times(time.perf_counter() - begun, usage.ru_utime + usage.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="processes of each")
    parser.add_argument(
        "--tiny", action="store_true", help="a check in seconds; figures mean nothing"
    )
    arguments = parser.parse_args()
    repeats = 1 if arguments.tiny else arguments.repeats
    models = TINY_MODELS if arguments.tiny else MODELS
    with tempfile.TemporaryDirectory() as folder:
        root, warm = Path(folder), Path(folder) / "cache"
        write_models(root, list(models.values()), arguments.tiny)

        def cold() -> Path:
            return Path(tempfile.mkdtemp(dir=root))

        def shared() -> Path:
            return warm

        jobs: dict[str, tuple[str, Callable[[], Path]]] = {
            "`import jax`": ("import jax", shared),
            "`import jdann`": ("import jdann", shared),
            "first step of the 1-D CNN, cold": ("import startup; startup.step_jdann()", cold),
            "first step of the 1-D CNN, warm": ("import startup; startup.step_jdann()", shared),
        }
        if importlib.util.find_spec("torch"):
            jobs["the same in PyTorch"] = ("import startup; startup.step_pytorch()", shared)
        for name, config in models.items():
            predict = ["predict", str(root / config), str(root / "clip.wav")]
            code = f"from jdann.cli import main; main({predict!r})"
            jobs[f"`jdann predict`, {name}, cold"] = (code, cold)
            jobs[f"`jdann predict`, {name}, warm"] = (code, shared)
        # A first round fills the warm cache, and the cache of the file system.
        for code, cache in jobs.values():
            if cache is shared:
                run(code, warm)
        load = os.getloadavg()[0]
        measured: dict[str, list[Times]] = {name: [] for name in jobs}
        for _ in range(repeats):
            for name, (code, cache) in jobs.items():
                measured[name].append(run(code, cache()))
    versions = ", ".join(
        f"{p} {version(p)}" for p in ("jax", "flax", "torch") if importlib.util.find_spec(p)
    )
    print(
        f"Python {platform.python_version()}, {versions}, {platform.machine()}, "
        f"{os.cpu_count()} CPUs"
    )
    print(
        f"{repeats} processes each, in turn; load {load:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after\n"
    )
    print("| | wall, median (fastest to slowest) | CPU, median (least to most) |\n|---|---|---|")
    for name, times in measured.items():
        cells = (
            f"{statistics.median(t):.2f} s ({min(t):.2f} to {max(t):.2f})"
            for t in zip(*times, strict=True)
        )
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    if not importlib.util.find_spec("torch"):
        print(f"| the same step in PyTorch | {NOT_INSTALLED} | |")


if __name__ == "__main__":
    main()
