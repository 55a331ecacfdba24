"""8 seeds x 5 strengths of one encoder: one program, separate runs, and a loop in one process.

    python benchmarks/sweep.py --output benchmarks/results/sweep.md
    python benchmarks/sweep.py --encoder mlp --recipe statistics
    python benchmarks/sweep.py --source a.csv --target b.csv --tiny    # meaningless figures

Each way runs in its own process with the same config; features are in the cache. Separate runs are
what a user would type: `jdann train` once for each seed and strength, without baseline and t-SNE.
Like a sweep, they record the target's outputs once, at the end. `--runs` of them are measured and
scaled to 40. They find their compiled programs in a cache, which a first run fills that is not
counted. The sweeps do not find theirs. The loop trains one member after the other in one process,
and compiles once; `--runs` of its trainings are measured and scaled. CPU seconds, user and system,
say what a way costs on a machine that does other work too.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SEEDS, STRENGTHS = 8, (0.0, 0.1, 0.3, 1.0, 3.0)
MEMBERS = SEEDS * len(STRENGTHS)
TINY = ("encoder.channels=8", "encoder.strides=2", "batch_size=8")


class Cost(NamedTuple):
    """Wall and CPU time of one process, or of one training."""

    wall_s: float
    cpu_s: float


def cost_of(command: list[str], cache: Path) -> tuple[Cost, str]:
    """Runs a command; returns what it cost and what it printed."""
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stderr)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.monotonic() - begun, cpu_s), done.stdout


def measure_loop(config_json: str, data_dir: str, runs: int) -> None:
    """Trains members one after the other, and prints wall and CPU seconds of each.

    It runs in its own process, with one compiled program.
    """
    # The other processes of this script do not need JAX.
    import jax.numpy as jnp

    from jdann.configuration import load_config
    from jdann.experiments import jobs
    from jdann.experiments.train import open_directions
    from jdann.training import loop
    from jdann.training.members import Members
    from jdann.training.state import Hyper

    config = load_config(config_json)
    (direction,) = open_directions(config, Path(data_dir))
    (job,) = jobs.plan_jobs(config, [direction])
    training, budget = jobs.make_job_training(job, direction, config)
    task = jobs.make_task(job, job.splits[0], direction)
    with tempfile.TemporaryDirectory() as folder:
        for run in range(runs + 1):  # the first compiles
            begun, cpu = time.monotonic(), time.process_time()
            rates = (
                config.optimiser.learning_rate,
                config.optimiser.weight_decay,
                STRENGTHS[run % len(STRENGTHS)],
            )
            hyper = Hyper(*(jnp.full(1, value, jnp.float32) for value in rates))
            members = Members((run,), hyper)
            loop.fit(training, task, budget, members, Path(folder) / str(run))
            print(time.monotonic() - begun, time.process_time() - cpu, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="conv1d")
    parser.add_argument("--recipe", default="frames")
    parser.add_argument("--source", default="demo:en")
    parser.add_argument("--target", default="demo:zh")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument(
        "--evaluate-every",
        type=int,
        default=0,
        help="epochs between records; 0: at the end only, as a sweep",
    )
    parser.add_argument("--ways", default="map,vmap", help="of config.seeds_in")
    parser.add_argument(
        "--runs", type=int, default=4, help="separate runs and loop trainings that are measured"
    )
    parser.add_argument(
        "--data-dir", type=Path, default=Path(tempfile.gettempdir()) / "jdann-sweep"
    )
    parser.add_argument("--output", type=Path, help="also append the table to this file")
    parser.add_argument(
        "--tiny", action="store_true", help="a check in seconds; figures mean nothing"
    )
    parser.add_argument("--loop", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.loop:
        return measure_loop(*arguments.loop, arguments.runs)
    more_settings: tuple[str, ...] = ()
    seeds = SEEDS
    if arguments.tiny:
        arguments.epochs, arguments.runs, arguments.ways = 1, 1, "map"
        more_settings, seeds = TINY, 1

    jdann, where = [sys.executable, str(ROOT / "run.py")], ["--data-dir", str(arguments.data_dir)]
    every = arguments.evaluate_every or arguments.epochs
    settings = (
        f"source={arguments.source}",
        f"target={arguments.target}",
        "methods=dann",
        "baseline=false",
        "tsne=false",
        f"encoder.name={arguments.encoder}",
        f"features.recipe={arguments.recipe}",
        f"epochs={arguments.epochs}",
        f"evaluate_every={every}",
        *more_settings,
    )
    common = ["--config", "en2zh", *(f"--config.{setting}" for setting in settings), "--overwrite"]
    strengths = ",".join(map(str, STRENGTHS))
    load = [os.getloadavg()[0]]
    results: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as folder:
        caches, work = Path(folder) / "caches", Path(folder) / "work"
        if arguments.source.startswith("demo:"):
            cost_of([*jdann, "prepare", "demo", *where], caches / "train")

        def report(name: str, cost: Cost) -> None:
            print(
                f"{name:30} {cost.wall_s:8.1f} s wall {cost.cpu_s:8.1f} s CPU   "
                f"load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
            load.append(os.getloadavg()[0])

        def separate(run: int) -> None:
            more = [
                "--config.seeds=1",
                f"--config.seed={run}",
                f"--config.strength.maximum={STRENGTHS[run % len(STRENGTHS)]}",
            ]
            cost, _ = cost_of(
                [*jdann, "train", *common, *more, *where, "--workdir", str(work / "train")],
                caches / "train",
            )
            report(f"separate run {run}", cost)
            if run:  # the first one computes features and compiles
                results.setdefault("separate", []).append(cost)

        ways = arguments.ways.split(",")
        for run in range(arguments.runs // 2 + 1):
            separate(run)
        for way in ways:
            more = [f"--config.seeds={seeds}", "--strengths", strengths, f"--config.seeds_in={way}"]
            cost, _ = cost_of(
                [*jdann, "sweep", *common, *more, *where, "--workdir", str(work / way)],
                caches / way,
            )
            report(f"one program, {way}", cost)
            results[way] = [cost]
        for run in range(arguments.runs // 2 + 1, arguments.runs + 1):
            separate(run)
        command = [
            sys.executable,
            __file__,
            "--runs",
            str(arguments.runs),
            "--loop",
            str(work / "train" / "config.json"),
        ]
        cost, printed = cost_of([*command, str(arguments.data_dir)], caches / "train")
        each = [Cost(*map(float, line.split())) for line in printed.splitlines()[-arguments.runs :]]
        report(
            "loop, each",
            Cost(
                statistics.median(c.wall_s for c in each), statistics.median(c.cpu_s for c in each)
            ),
        )
        results["loop"] = each

    text = table(arguments, results, ways, load)
    print(text)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        with arguments.output.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def table(
    arguments: argparse.Namespace,
    results: dict[str, list[Cost]],
    ways: list[str],
    load: list[float],
) -> str:
    """The measurement in Markdown."""

    def median(name: str, field: str) -> float:
        return statistics.median(getattr(cost, field) for cost in results[name])

    def spread(name: str) -> str:
        walls = [cost.wall_s for cost in results[name]]
        middle = median(name, "wall_s")
        return (
            f"{len(walls)} of {MEMBERS} measured: {min(walls):.1f} to {max(walls):.1f} s each, "
            f"median {middle:.1f} s"
        )

    rows = [(f"{MEMBERS} separate runs", "separate", MEMBERS, spread("separate"))]
    rows += [
        (
            f"loop of {MEMBERS} in one process",
            "loop",
            MEMBERS,
            spread("loop") + "; start and compilation left out",
        )
    ]
    rows += [
        (
            f"one program, `{way}`",
            way,
            1,
            "measured whole, with start, compilation, criteria and figures",
        )
        for way in ways
    ]
    packages = ", ".join(f"{name} {version(name)}" for name in ("jax", "jaxlib", "flax", "numpy"))
    lines = [
        f"## {arguments.encoder}, {datetime.now(UTC).date().isoformat()}",
        "",
        f"{SEEDS} seeds x strengths {', '.join(map(str, STRENGTHS))}, DANN, "
        f"{arguments.source} → {arguments.target}, "
        f"recipe {arguments.recipe}, {arguments.epochs} epochs, batch 32. {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {packages}; "
        f"load average {min(load):.1f} to {max(load):.1f} while measuring.",
        "",
        "| way | wall, s | CPU, s | separate runs take, wall | CPU | how |",
        "|---|---:|---:|---:|---:|---|",
    ]
    wall, cpu = MEMBERS * median("separate", "wall_s"), MEMBERS * median("separate", "cpu_s")
    for name, key, factor, how in rows:
        way_wall, way_cpu = factor * median(key, "wall_s"), factor * median(key, "cpu_s")
        lines.append(
            f"| {name} | {way_wall:.0f} | {way_cpu:.0f} | {wall / way_wall:.1f}x "
            f"| {cpu / way_cpu:.1f}x | {how} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
