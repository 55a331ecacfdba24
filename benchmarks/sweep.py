"""8 seeds x 5 strengths of one encoder: one program beside separate runs and beside a loop in one process.

    python benchmarks/sweep.py --output benchmarks/results/sweep.md
    python benchmarks/sweep.py --encoder mlp --recipe statistics

Every way is a process of its own with the same config; features are in the cache. Separate runs are what a user would type:
`jdann train` once for each seed and strength, without baseline and t-SNE and with one record of the target's outputs, at the end,
as a sweep makes it; `--runs` of them are measured and scaled to 40. They find
their compiled programs in a cache that a first run, left out, has filled; the sweeps do not find theirs. The loop trains one
member after the other in one process, compiled once; `--runs` of them are measured and scaled. CPU seconds, user and system, say
what a way costs where the machine is shared with other work.
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


class Cost(NamedTuple):
    """Of one process, or of one training."""

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
    """In a process of its own: trains members one after the other by one compiled program; prints wall and CPU seconds of each."""
    import jax.numpy as jnp

    from jdann.configuration import load_config
    from jdann.experiments import jobs
    from jdann.experiments.train import open_directions
    from jdann.training import loop
    from jdann.training.step import Hyper

    config = load_config(config_json)
    (direction,) = open_directions(config, Path(data_dir))
    (job,) = jobs.plan_jobs(config, [direction])
    train, plan = jobs.make_job_train(job, direction, config)
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
            loop.fit(train, task, plan, (run,), hyper, Path(folder) / str(run), "last")
            print(time.monotonic() - begun, time.process_time() - cpu, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="conv1d")
    parser.add_argument("--recipe", default="frames")
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
    parser.add_argument("--loop", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.loop:
        return measure_loop(*given.loop, given.runs)

    jdann, where = [sys.executable, str(ROOT / "run.py")], ["--data-dir", str(given.data_dir)]
    every = given.evaluate_every or given.epochs
    common = ["--config", "en2zh", "--config.source=demo:en", "--config.target=demo:zh", "--config.methods=dann",
              f"--config.encoder.name={given.encoder}", f"--config.features.recipe={given.recipe}",
              f"--config.epochs={given.epochs}", f"--config.evaluate_every={every}", "--config.baseline=false",
              "--config.tsne=false", "--overwrite"]  # fmt: skip
    strengths = ",".join(map(str, STRENGTHS))
    load = [os.getloadavg()[0]]
    results: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as folder:
        caches, work = Path(folder) / "caches", Path(folder) / "work"
        cost_of([*jdann, "prepare", "demo", *where], caches / "train")

        def say(name: str, cost: Cost) -> None:
            print(
                f"{name:30} {cost.wall_s:8.1f} s wall {cost.cpu_s:8.1f} s CPU   load {os.getloadavg()[0]:.1f}",
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
            say(f"separate run {run}", cost)
            if run:  # the first one computes features and compiles
                results.setdefault("separate", []).append(cost)

        ways = given.ways.split(",")
        for run in range(given.runs // 2 + 1):
            separate(run)
        for way in ways:
            more = [f"--config.seeds={SEEDS}", "--strengths", strengths, f"--config.seeds_in={way}"]
            cost, _ = cost_of(
                [*jdann, "sweep", *common, *more, *where, "--workdir", str(work / way)],
                caches / way,
            )
            say(f"one program, {way}", cost)
            results[way] = [cost]
        for run in range(given.runs // 2 + 1, given.runs + 1):
            separate(run)
        command = [
            sys.executable,
            __file__,
            "--runs",
            str(given.runs),
            "--loop",
            str(work / "train" / "config.json"),
        ]
        cost, printed = cost_of([*command, str(given.data_dir)], caches / "train")
        each = [Cost(*map(float, line.split())) for line in printed.splitlines()[-given.runs :]]
        say(
            "loop, each",
            Cost(
                statistics.median(c.wall_s for c in each), statistics.median(c.cpu_s for c in each)
            ),
        )
        results["loop"] = each

    text = table(given, results, ways, load)
    print(text)
    if given.output:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        with given.output.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def table(
    given: argparse.Namespace, results: dict[str, list[Cost]], ways: list[str], load: list[float]
) -> str:
    """The measurement in Markdown."""

    def median(name: str, field: str) -> float:
        return statistics.median(getattr(cost, field) for cost in results[name])

    def spread(name: str) -> str:
        walls = [cost.wall_s for cost in results[name]]
        middle = median(name, "wall_s")
        return f"{len(walls)} of {MEMBERS} measured: {min(walls):.1f} to {max(walls):.1f} s each, median {middle:.1f} s"

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
        f"## {given.encoder}, {datetime.now(UTC).date().isoformat()}",
        "",
        f"{SEEDS} seeds x strengths {', '.join(map(str, STRENGTHS))}, DANN, demo:en → demo:zh, recipe {given.recipe}, "
        f"{given.epochs} epochs, batch 32. {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{packages}; load average {min(load):.1f} to {max(load):.1f} while measuring.",
        "",
        "| way | wall, s | CPU, s | separate runs take, wall | CPU | how |",
        "|---|---:|---:|---:|---:|---|",
    ]
    wall, cpu = MEMBERS * median("separate", "wall_s"), MEMBERS * median("separate", "cpu_s")
    for name, key, factor, how in rows:
        own_wall, own_cpu = factor * median(key, "wall_s"), factor * median(key, "cpu_s")
        lines.append(
            f"| {name} | {own_wall:.0f} | {own_cpu:.0f} | {wall / own_wall:.1f}x | {cpu / own_cpu:.1f}x | {how} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
