"""Arguments of the commands that train recognisers, or start others that do."""

import argparse
from pathlib import Path

from jdann.arguments.shared import processes_arguments, resume_arguments, run_arguments


def train_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jdann train`."""
    run_arguments(parser, "en2zh", "runs/<config name>")
    resume_arguments(parser)
    processes_arguments(parser)


def sweep_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jdann sweep`."""
    run_arguments(parser, "base", "runs/<config name>-sweep")
    parser.add_argument("--strengths", help="config.sweep.strength, e.g. 0,0.3,1")
    parser.add_argument("--learning-rates", help="config.sweep.learning_rate, e.g. 3e-4,1e-3,3e-3")
    parser.add_argument("--weight-decays", help="config.sweep.weight_decay, e.g. 0,1e-2")
    resume_arguments(parser)
    processes_arguments(parser)


def tune_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jdann tune`."""
    run_arguments(parser, "tune_poster", "runs/<config name>")
    parser.add_argument(
        "--storage",
        help="where workers on several machines meet: a file that ends in .journal in a shared "
        "folder, or a database, e.g. postgresql://...; default: tune.db in the work directory",
    )
    parser.add_argument("--study", default="jdann", help="the study's name in the storage")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that try side by side on one storage"
    )


def launch_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jdann launch`."""
    parser.usage = "jdann launch --on WHERE [options] -- COMMAND ..."
    parser.add_argument(
        "--on",
        required=True,
        metavar="WHERE",
        help="local:N, N processes on this machine; slurm; ray, the cluster of this "
        "machine; or ray:ADDRESS",
    )
    parser.add_argument(
        "--tasks",
        type=int,
        default=1,
        metavar="N",
        help="slurm, ray: start the command N times; {i} in it becomes 1 to N, and {n} N",
    )
    parser.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of sbatch, e.g. nodes=2, ntasks-per-node=4 or time=120; repeatable",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("runs/launched"),
        help="slurm: where logs go, in a folder that all nodes see; default: runs/launched",
    )
    parser.add_argument("--cpus", type=float, default=1.0, help="ray: CPUs per task; default: 1")
    parser.add_argument("--gpus", type=float, default=0.0, help="ray: GPUs per task; default: 0")
