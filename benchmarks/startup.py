"""Start-up: imports, the first training step, and a prediction from the command line.

    python benchmarks/startup.py [--repeats 5]
    python benchmarks/startup.py --tiny    # one small model, one repeat; the figures mean nothing

Each measurement is a process of its own, and all of them take turns. A first step and a prediction
are timed with what an earlier process has compiled and traced ("warm"), and without it ("cold").
PyTorch, which compiles nothing, takes the same step if it is installed. Times are those of whole
processes, including the start and the end of the interpreter. CPU times depend less than wall
times on what else the machine does.
"""

import os
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

from command_line import make_parser
from machine import cpus, is_installed, load_average, python_and_packages
from markdown_table import header, missing_row, row
from startup_models import CLIP, PAUSED_CLIP, write_models
from timing import Cost, measure_in_turn, run_process

# The config of each model. It has as many seeds as its config trains.
MODELS = {"conv1d on frames, 3 seeds": "base", "mlp on statistics, 5 seeds": "best"}
TINY_MODELS = {"conv1d on frames, tiny": "base"}
COLUMNS = ("", "wall, median (fastest to slowest)", "CPU, median (least to most)")


class Job(NamedTuple):
    """A program that is measured."""

    code: str
    is_cold: bool = False  # whether it starts with an empty cache


def make_jobs(folder: Path, models: dict[str, str]) -> dict[str, Job]:
    """The programs that are measured, by the name of their row."""
    step = "import first_steps; first_steps.step_jdann()"
    jobs = {
        "`import jax`": Job("import jax"),
        "`import jdann`": Job("import jdann"),
        "first step of the 1-D CNN, cold": Job(step, is_cold=True),
        "first step of the 1-D CNN, warm": Job(step),
    }
    if is_installed("torch"):
        jobs["the same in PyTorch"] = Job("import first_steps; first_steps.step_pytorch()")
    for name, config in models.items():
        for clip, ending in ((CLIP, ""), (PAUSED_CLIP, ", a clip with a pause")):
            command = ["predict", str(folder / config), str(folder / clip)]
            code = f"from jdann.cli import main; main({command!r})"
            jobs[f"`jdann predict`, {name}{ending}, cold"] = Job(code, is_cold=True)
            jobs[f"`jdann predict`, {name}{ending}, warm"] = Job(code)
    return jobs


def run_job(job: Job, folder: Path) -> Cost:
    """Runs one process. The processes that are warm share one cache."""
    cache = Path(tempfile.mkdtemp(dir=folder)) if job.is_cold else folder / "cache"
    environment = {
        "XDG_CACHE_HOME": str(cache),
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), *sys.path)),
        # As the command line sets it, for processes that do not use the command line.
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jdann" / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    return run_process([sys.executable, "-c", job.code], environment).cost


def print_table(costs: dict[str, list[Cost]]) -> None:
    print(header(COLUMNS, ("---", "---", "---")))
    for name, job_costs in costs.items():
        cells = (
            f"{statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"
            for times in zip(*job_costs, strict=True)
        )
        print(row(name, *cells), flush=True)
    if not is_installed("torch"):
        print(missing_row("the same step in PyTorch", len(COLUMNS)))


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="processes of each")
    arguments = parser.parse_args()
    repeats = 1 if arguments.tiny else arguments.repeats
    models = TINY_MODELS if arguments.tiny else MODELS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_models(folder, list(models.values()), arguments.tiny)
        jobs = make_jobs(folder, models)
        # A first round fills the warm cache, and the cache of the file system.
        for job in jobs.values():
            if not job.is_cold:
                run_job(job, folder)
        load = load_average()
        ways = {name: partial(run_job, job, folder) for name, job in jobs.items()}
        costs = measure_in_turn(ways, repeats)
    packages = [name for name in ("jax", "flax", "torch") if is_installed(name)]
    print(f"{python_and_packages(packages)}, {cpus()}")
    print(
        f"{repeats} processes each, in turn; load {load:.1f} before and "
        f"{load_average():.1f} after\n"
    )
    print_table(costs)


if __name__ == "__main__":
    main()
