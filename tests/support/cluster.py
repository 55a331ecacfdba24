"""Trainings by several processes on this machine, for tests.

    python -m tests.support.cluster --cases dann --out one.npz
    python -m tests.support.cluster --cases dann --out two.npz --coordinator 127.0.0.1:5000 \\
        --processes 2 --process-id 0 --folder checkpoints

Each process of a training runs this module. Process 0 writes the parameters that were trained.
"""

import argparse
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
STEPS, EPOCHS = 25, 2


class Case(NamedTuple):
    """A training on toy data."""

    method: str
    seeds: tuple[int, ...]  # one seed: all devices share each batch
    encoder: str = "conv1d"
    stored: bool = False  # the features stay on disk


CASES = {
    "dann": Case("dann", (0,)),
    "co_training": Case("co_training", (0, 1), "mlp"),
    "mcc+self_training": Case("mcc+self_training", (0,)),
    "dann, stored": Case("dann", (0,), stored=True),
}


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(arguments: list[str], devices: int = 1) -> subprocess.Popen[str]:
    """Starts a Python program with so many devices of its CPU."""
    flags = f"--xla_force_host_platform_device_count={devices} --xla_cpu_multi_thread_eigen=false"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def flags(count: int, port: int) -> list[list[str]]:
    """The flags of each of several processes on this machine."""
    return [
        ["--coordinator", f"127.0.0.1:{port}", "--processes", str(count), "--process-id", str(i)]
        for i in range(count)
    ]


def finish(processes: list[subprocess.Popen[str]], timeout_s: float) -> list[tuple[int, str, str]]:
    """Waits for processes; returns the exit status, the output and the messages of each."""
    try:
        outputs = [process.communicate(timeout=timeout_s) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *output) for p, output in zip(processes, outputs, strict=True)]


def train_cases(
    names: list[str],
    out: Path,
    count: int = 1,
    *,
    folder: Path | None = None,
    stop_after: int = 0,
    devices: int = 1,
    timeout_s: float = 900.0,
) -> None:
    """Trains cases by `count` processes and writes their parameters to `out`, a .npz."""
    arguments = ["-m", "tests.support.cluster", "--out", str(out), "--cases", *names]
    arguments += ["--stop-after", str(stop_after)]
    arguments += ["--folder", str(folder)] if folder else []
    places = flags(count, free_port()) if count > 1 else [[]]
    processes = [start([*arguments, *place], devices) for place in places]
    for status, _, errors in finish(processes, timeout_s):
        assert status == 0, errors


def train(case: Case, folder: Path, stop_after: int = 0) -> dict:
    """The trained parameters of a case; nothing if it stops after so many epochs."""
    import jax

    from jdann.cluster.mesh import gather, make_mesh
    from jdann.experiments.settings import make_training_settings
    from jdann.methods import make_method
    from jdann.models import make_encoder
    from jdann.training import loop
    from jdann.training.members import CompiledTraining, Members
    from jdann.training.state import Program
    from jdann.training.task import make_budget
    from tests.support import toy_training as toys

    toy = toys.make_vectors() if case.encoder == "mlp" else toys.make_toy()
    task = toys.make_task(toys.on_disk(toy) if case.stored else toy)
    config = toys.toy_config(augment=True)
    config.encoder.channels, config.encoder.strides = (8, 8), (1, 2)
    config.encoder.kernel_size, config.encoder.hidden = 3, (16, 8)
    method = make_method(case.method)
    budget = make_budget(
        [task.split],
        method,
        epochs=EPOCHS,
        batch_size=toys.BATCH,
        evaluate_every=1,
        checkpoint_every_s=0.0,
    )._replace(steps=STEPS)
    window, bins = toys.WINDOW, toys.BINS
    if case.encoder == "mlp":
        window, bins = None, toy.data.source.values.shape[1]
    program = Program(
        encoder=make_encoder(case.encoder, config.encoder, "float32"),
        method=method,
        settings=make_training_settings(config),
        classes=toys.CLASSES,
        speakers=toys.SPEAKERS,
        bins=bins,
        window=window,
        phase_steps=tuple(STEPS * n for n in budget.phases),
    )
    training = CompiledTraining(program, "auto", make_mesh(len(case.seeds), toys.BATCH))
    members = Members(case.seeds, toys.make_hyper(members=len(case.seeds)))

    class _Stop(Exception):
        pass

    def stop(epoch, values):
        if stop_after and epoch == stop_after + 1:  # the epoch before has left a checkpoint
            raise _Stop

    try:
        fitted = loop.fit(training, task, budget, members, folder, on_epoch=stop)
    except _Stop:
        return {}
    state = gather((fitted.state.params, fitted.chosen_state.average))
    paths = jax.tree_util.tree_leaves_with_path(state)
    values = {jax.tree_util.keystr(path): value for path, value in paths}
    return values | {"test_logits": fitted.test_logits, "loss": fitted.history["loss"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", nargs="+")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--stop-after", type=int, default=0, help="epochs; 0: to the end")
    parser.add_argument("--coordinator")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process-id", type=int)
    arguments = parser.parse_args()
    import numpy as np

    from jdann.cluster import processes
    from jdann.cluster.places import find_place

    place = find_place(arguments.coordinator, arguments.processes, arguments.process_id, 60)
    if place is not None:
        processes.join(place, 60)
    with processes.together():
        folder = arguments.folder or arguments.out.with_suffix(".checkpoints")
        trained = {
            f"{name}: {key}": value
            for name in arguments.cases
            for key, value in train(CASES[name], folder / name, arguments.stop_after).items()
        }
        if processes.is_first():
            np.savez(arguments.out, **trained)
    processes.leave()


if __name__ == "__main__":
    main()
