"""Jobs of Slurm that run jdann commands, by submitit."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jdann.cluster.launching import program
from jdann.errors import InputError


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """The options of sbatch, from words such as "nodes=2" or "ntasks-per-node=4".

    Raises:
      InputError: a word has another form, or the time is missing.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not key or not separator or not value:
            raise InputError(
                f"--slurm {pair}: expected an option of sbatch and its value, e.g. --slurm nodes=2"
            )
        options[key.lstrip("-").replace("-", "_")] = int(value) if value.isdecimal() else value
    if "time" not in options:  # submitit would take five minutes, whatever the partition allows
        raise InputError(
            "--on slurm: say how long the job may take, in minutes, e.g. --slurm time=120"
        )
    return options


def submit(
    commands: Sequence[Sequence[str]],
    options: Mapping[str, Any],
    folder: Path,
    cluster: str = "slurm",
) -> list[Any]:
    """Submits jdann commands: one as a job, several as an array of jobs.

    Args:
      commands: the words of each, without "jdann".
      options: from `parse_options`.
      folder: for the logs and for submitit's own files; all nodes have to see it.
      cluster: "slurm"; "local" runs the jobs on this machine, without Slurm.

    Returns:
      The jobs of submitit.

    Raises:
      InputError: submitit or Slurm is missing, or Slurm refuses the job.
    """
    try:
        import submitit  # an optional dependency, in the extra "cluster"
        from submitit.core.utils import FailedJobError
    except ImportError:
        raise InputError(
            '--on slurm needs submitit, which is not installed: pip install "jdann[cluster]"'
        ) from None
    folder.mkdir(parents=True, exist_ok=True)
    try:
        executor = submitit.AutoExecutor(folder=folder.absolute(), cluster=cluster)
    except RuntimeError:
        raise InputError(
            "--on slurm: this machine has no srun; start it where Slurm is installed, for example "
            "on the login node"
        ) from None
    try:
        executor.update_parameters(
            name="jdann", **{f"slurm_{key}": value for key, value in options.items()}
        )
        if len(commands) == 1:
            return [executor.submit(run_command, list(commands[0]))]
        return executor.map_array(run_command, [list(words) for words in commands])
    except NameError as error:  # submitit's, for options that it does not know
        reason = str(error).splitlines()[0]
        raise InputError(f"--slurm: {reason}") from None
    except (subprocess.CalledProcessError, FailedJobError) as error:
        raise InputError(
            f"--on slurm: the job was refused: {' '.join(str(error).split())}"
        ) from None


def run_command(words: Sequence[str]) -> None:
    """Runs a jdann command in a job; the job fails if the command does."""
    subprocess.run(program(words), check=True)
