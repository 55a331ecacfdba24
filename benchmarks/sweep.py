"""8 seeds x 5 strengths of one encoder: one program, separate runs, and a loop in one process.

    python benchmarks/sweep.py --output benchmarks/results/sweep.md
    python benchmarks/sweep.py --encoder mlp --recipe statistics
    python benchmarks/sweep.py --source a.csv --target b.csv --tiny    # meaningless figures

Each way runs in its own process with the same config; features are in the cache. Separate runs are
what a user would type: `jdann train` once for each seed and strength, without baseline and t-SNE.
Like a sweep, they record the target's outputs once, at the end. `--runs` of them are measured and
scaled to 40. They find their compiled programs in a cache. A first run fills this cache and is not
counted. The sweeps compile their programs. The loop trains one member after the other in one
process, and compiles once; `--runs` of its trainings are measured and scaled. CPU seconds, user and
system, say what a way costs on a machine that does other work too.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from command_line import make_parser
from machine import cpus, load_average, python_and_packages
from markdown_table import header, row
from timing import Cost, ProcessResult, cost_of_call, median_cost, run_process

ROOT = Path(__file__).parents[1]
SEEDS, STRENGTHS = 8, (0.0, 0.1, 0.3, 1.0, 3.0)
MEMBERS = SEEDS * len(STRENGTHS)
TINY = ("encoder.channels=8", "encoder.strides=2", "batch_size=8")


class Measurement(NamedTuple):
    """What all ways have in common."""

    options: list[str]  # of `jdann train` and `jdann sweep`
    data_dir: Path
    folder: Path  # of work directories and compile caches
    runs: int  # separate runs and loop trainings that are measured


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
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
    parser.add_argument("--loop", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.tiny and not arguments.loop:
        arguments.epochs, arguments.runs, arguments.ways = 1, 1, "map"
    return arguments


def main() -> None:
    arguments = parse_arguments()
    if arguments.loop:
        config_json, data_dir = arguments.loop
        print_loop_costs(config_json, data_dir, arguments.runs)
        return
    with tempfile.TemporaryDirectory() as folder:
        measurement = Measurement(
            options_of_jdann(arguments), arguments.data_dir, Path(folder), arguments.runs
        )
        if arguments.source.startswith("demo:"):
            run_jdann(measurement, ["prepare", "demo"], "train")
        seeds = 1 if arguments.tiny else SEEDS
        costs, loads = measure(measurement, arguments.ways.split(","), seeds)
    text = format_table(arguments, costs, loads)
    print(text)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        with arguments.output.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def options_of_jdann(arguments: argparse.Namespace) -> list[str]:
    """The options that separate runs and sweeps have in common."""
    settings = (
        f"source={arguments.source}",
        f"target={arguments.target}",
        "methods=dann",
        "baseline=false",
        "tsne=false",
        f"encoder.name={arguments.encoder}",
        f"features.recipe={arguments.recipe}",
        f"epochs={arguments.epochs}",
        f"evaluate_every={arguments.evaluate_every or arguments.epochs}",
        *(TINY if arguments.tiny else ()),
    )
    overrides = (f"--config.{setting}" for setting in settings)
    return ["--config", "base", *overrides, "--overwrite"]


def run_script(measurement: Measurement, command: list[str], cache: str) -> ProcessResult:
    """Runs a Python script of the repository.

    Args:
      command: the script and its arguments.
      cache: the name of its compile cache.
    """
    cache_path = measurement.folder / "caches" / cache
    environment = {"JAX_COMPILATION_CACHE_DIR": str(cache_path), "PYTHONPATH": str(ROOT)}
    return run_process([sys.executable, *command], environment, ROOT)


def run_jdann(measurement: Measurement, command: list[str], cache: str) -> Cost:
    """Runs a command of jdann with the data directory of the measurement."""
    command = [str(ROOT / "run.py"), *command, "--data-dir", str(measurement.data_dir)]
    return run_script(measurement, command, cache).cost


def work_directory(measurement: Measurement, name: str) -> Path:
    return measurement.folder / "work" / name


def measure(
    measurement: Measurement, ways: list[str], seeds: int
) -> tuple[dict[str, list[Cost]], list[float]]:
    """Measures all ways.

    Half of the separate runs come before the sweeps, the other half after them.

    Returns:
      The costs of each way, and the load averages while measuring.
    """
    loads = [load_average()]

    def report(name: str, cost: Cost) -> Cost:
        loads.append(load_average())
        print(
            f"{name:30} {cost.wall_s:8.1f} s wall {cost.cpu_s:8.1f} s CPU   load {loads[-1]:.1f}",
            flush=True,
        )
        return cost

    def separate_runs(runs: range) -> list[Cost]:
        return [report(f"separate run {run}", separate_run(measurement, run)) for run in runs]

    half = measurement.runs // 2
    # The first run computes the features and compiles. It is not counted.
    costs = {"separate": separate_runs(range(half + 1))[1:]}
    for way in ways:
        costs[way] = [report(f"one program, {way}", one_program(measurement, way, seeds))]
    costs["separate"] += separate_runs(range(half + 1, measurement.runs + 1))
    costs["loop"] = loop_costs(measurement)
    report("loop, each", median_cost(costs["loop"]))
    return costs, loads


def separate_run(measurement: Measurement, run: int) -> Cost:
    """The cost of `jdann train` with one seed and one strength."""
    member = [
        "--config.seeds=1",
        f"--config.seed={run}",
        f"--config.strength.maximum={STRENGTHS[run % len(STRENGTHS)]}",
    ]
    workdir = ["--workdir", str(work_directory(measurement, "train"))]
    return run_jdann(measurement, ["train", *measurement.options, *member, *workdir], "train")


def one_program(measurement: Measurement, way: str, seeds: int) -> Cost:
    """The cost of `jdann sweep` with all seeds and strengths."""
    members = [
        f"--config.seeds={seeds}",
        "--strengths",
        ",".join(map(str, STRENGTHS)),
        f"--config.seeds_in={way}",
    ]
    workdir = ["--workdir", str(work_directory(measurement, way))]
    return run_jdann(measurement, ["sweep", *measurement.options, *members, *workdir], way)


def loop_costs(measurement: Measurement) -> list[Cost]:
    """The cost of each training of a loop, which runs in its own process."""
    config = work_directory(measurement, "train") / "config.json"
    runs = ["--runs", str(measurement.runs)]
    command = [__file__, *runs, "--loop", str(config), str(measurement.data_dir)]
    lines = run_script(measurement, command, "train").output.splitlines()[-measurement.runs :]
    return [Cost(*map(float, line.split())) for line in lines]


def print_loop_costs(config_json: str, data_dir: str, runs: int) -> None:
    """Trains members one after the other with one program; prints what each cost.

    The first member compiles the program. It is printed too.
    """
    with tempfile.TemporaryDirectory() as folder:
        train_member = make_loop(config_json, Path(data_dir), Path(folder))
        for run in range(runs + 1):
            cost = cost_of_call(lambda run=run: train_member(run))
            print(cost.wall_s, cost.cpu_s, flush=True)


def make_loop(config_json: str, data_dir: Path, folder: Path) -> Callable[[int], object]:
    """A function that trains the member with a number."""
    # Only the process of the loop needs JAX.
    import jax.numpy as jnp

    from jdann.configuration import load_config
    from jdann.experiments.job_training import make_job_training, make_task
    from jdann.experiments.jobs import plan_jobs
    from jdann.experiments.train import open_directions
    from jdann.training import loop
    from jdann.training.members import Members
    from jdann.training.state import Hyper

    config = load_config(config_json)
    (direction,) = open_directions(config, data_dir)
    (job,) = plan_jobs(config, [direction])
    training, budget = make_job_training(job, direction, config)
    task = make_task(job, job.splits[0], direction)
    optimiser: Any = config.optimiser

    def train_member(run: int) -> object:
        strength = STRENGTHS[run % len(STRENGTHS)]
        values = (optimiser.learning_rate, optimiser.weight_decay, strength)
        learning_rate, weight_decay, maximum = (jnp.full(1, v, jnp.float32) for v in values)
        members = Members((run,), Hyper(learning_rate, weight_decay, maximum))
        return loop.fit(training, task, budget, members, folder / str(run))

    return train_member


def describe_costs(costs: list[Cost]) -> str:
    """How many runs were measured, and the range of their wall times."""
    walls = [cost.wall_s for cost in costs]
    return (
        f"{len(walls)} of {MEMBERS} measured: {min(walls):.1f} to {max(walls):.1f} s each, "
        f"median {median_cost(costs).wall_s:.1f} s"
    )


def describe_measurement(arguments: argparse.Namespace, loads: list[float]) -> str:
    return (
        f"{SEEDS} seeds x strengths {', '.join(map(str, STRENGTHS))}, DANN, "
        f"{arguments.source} → {arguments.target}, "
        f"recipe {arguments.recipe}, {arguments.epochs} epochs, batch 32. {cpus('cores')}, "
        f"{python_and_packages(('jax', 'jaxlib', 'flax', 'numpy'))}; "
        f"load average {min(loads):.1f} to {max(loads):.1f} while measuring."
    )


def format_table(
    arguments: argparse.Namespace, costs: dict[str, list[Cost]], loads: list[float]
) -> str:
    """The measurement in Markdown."""
    loop_note = f"{describe_costs(costs['loop'])}; start and compilation left out"
    sweep_note = "measured whole, with start, compilation, criteria and figures"
    # Name of the row, way, number of processes or trainings in the whole sweep, note.
    rows = [
        (f"{MEMBERS} separate runs", "separate", MEMBERS, describe_costs(costs["separate"])),
        (f"loop of {MEMBERS} in one process", "loop", MEMBERS, loop_note),
        *(
            (f"one program, `{w}`", w, 1, sweep_note)
            for w in costs
            if w not in ("separate", "loop")
        ),
    ]
    lines = [
        f"## {arguments.encoder}, {datetime.now(UTC).date().isoformat()}",
        "",
        describe_measurement(arguments, loads),
        "",
        header(
            ("way", "wall, s", "CPU, s", "separate runs take, wall", "CPU", "how"),
            ("---", "---:", "---:", "---:", "---:", "---"),
        ),
    ]
    separate = median_cost(costs["separate"])
    for name, way, count, note in rows:
        wall_s, cpu_s = (count * value for value in median_cost(costs[way]))
        ratios = (MEMBERS * separate.wall_s / wall_s, MEMBERS * separate.cpu_s / cpu_s)
        cells = (f"{wall_s:.0f}", f"{cpu_s:.0f}", *(f"{ratio:.1f}x" for ratio in ratios))
        lines.append(row(name, *cells, note))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
