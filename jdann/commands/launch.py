"""`jdann launch`."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from jdann.cluster.launching import TOGETHER, Destination, make_copies, parse_destination
from jdann.commands.reading import expanded
from jdann.errors import InputError

_ELSEWHERE = (
    "use --on slurm, or start the command on each machine with --coordinator, --processes and "
    "--process-id (docs/cluster.md)"
)


def execute(arguments: Namespace) -> int:
    """Starts a command several times on this machine, on Slurm or on Ray."""
    destination = parse_destination(arguments.on)
    words, started = arguments.started_words, arguments.started
    is_together = started.command in TOGETHER
    if is_together and started.coordinator is not None:
        raise InputError("jdann launch sets --coordinator by itself; leave it out after --")
    _check_options(arguments, destination)
    if destination.kind == "local":
        return _on_this_machine(words, destination.processes, is_together)
    if is_together and (arguments.tasks > 1 or destination.kind == "ray"):
        raise InputError(_refusal(started.command, destination))
    copies = make_copies(words, arguments.tasks)
    if destination.kind == "slurm":
        return _on_slurm(copies, arguments.slurm, expanded(arguments.folder))
    from jdann.cluster.ray_tasks import run_on_ray

    return run_on_ray(copies, destination.address, arguments.cpus, arguments.gpus)


def _check_options(arguments: Namespace, destination: Destination) -> None:
    """Refuses options that the destination would ignore."""
    if arguments.tasks < 1:
        raise InputError(f"--tasks is {arguments.tasks}; expected at least 1")
    if destination.kind == "local" and arguments.tasks > 1:
        raise InputError("--tasks is for slurm and ray; write --on local:N for N processes")
    if arguments.slurm and destination.kind != "slurm":
        raise InputError(f"--slurm is for --on slurm, and --on is {arguments.on}")


def _refusal(command: str, destination: Destination) -> str:
    if destination.kind == "slurm":
        return (
            f"--tasks starts independent commands, and jdann {command} is one training; say how "
            "many processes it has by --slurm nodes=2 --slurm ntasks-per-node=4"
        )
    return (
        f"jdann {command} is not started on Ray: on CPUs its workers would train alone, each a "
        f"model of its own, and say nothing; {_ELSEWHERE}"
    )


def _on_this_machine(words: Sequence[str], count: int, is_together: bool) -> int:
    from jdann.cluster.local_processes import divide_gpus, places, run_side_by_side

    variables = divide_gpus(count)
    if not is_together:
        return run_side_by_side(make_copies(words, count), variables, first=1)
    flags = places(count) if count > 1 else [["--processes", "1"]]
    return run_side_by_side([[*words, *flag] for flag in flags], variables)


def _on_slurm(copies: Sequence[Sequence[str]], options: Sequence[str], folder: Path) -> int:
    from jdann.cluster.slurm_jobs import parse_options, submit

    jobs = submit(copies, parse_options(options), folder)
    for job in jobs:
        print(f"job {job.job_id}: {job.paths.stdout}, {job.paths.stderr.name}")
    print(f"{len(jobs)} submitted. squeue shows them, scancel {jobs[0].job_id} ends them.")
    return 0
