"""How fast one training is by 1, 2 and 4 processes of this machine (weak scaling).

    python benchmarks/processes.py --data-dir /tmp/demo
    python benchmarks/processes.py --data-dir /tmp/demo --tiny    # one epoch; meaningless

Each process has `--batch-size` utterances of a step. So the whole batch grows with the processes,
and an epoch, which is one pass over the source, has fewer steps. A DANN with the 1-D CNN is trained
on the demo corpus. A run of many epochs and a run of few are timed from start to end, and the table
has what each of the other epochs takes: starts and compilations are left out. The ways take turns
in each round.
"""

import datetime
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from command_line import make_parser
from machine import cpus, load_average, python_and_packages
from markdown_table import header, row
from timing import measure_in_turn, round_ratios, seconds_of

COUNTS = (1, 2, 4)
NO_RECORDS = 1000  # epochs between two records of outputs: all processes compute all of these


def train(count: int, batch_size: int, epochs: int, data_dir: Path, folder: Path) -> None:
    """One training by `count` processes."""
    options = {
        "source": "demo:en",
        "target": "demo:zh",
        "methods": "dann",
        "seeds": 1,  # more seeds would be divided over the processes, and not the batch
        "epochs": epochs,
        "evaluate_every": NO_RECORDS,
        "batch_size": count * batch_size,
    }
    flags = [f"--config.{key}={value}" for key, value in options.items()]
    workdir = Path(tempfile.mkdtemp(dir=folder))
    words = ["train", "--config", "base", *flags, "--workdir", str(workdir / "run")]
    command = [sys.executable, "-m", "jdann", "launch", "--on", f"local:{count}", "--", *words]
    done = subprocess.run(
        [*command, "--data-dir", str(data_dir)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)


def seconds_of_epochs(
    count: int, batch_size: int, epochs: tuple[int, int], data_dir: Path, folder: Path
) -> float:
    """The seconds by which the longer run takes longer."""
    short, long = (
        seconds_of(partial(train, count, batch_size, number, data_dir, folder)) for number in epochs
    )
    return long - short


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--batch-size", type=int, default=32, help="utterances of each process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-dir", type=Path, required=True, help="where features are cached")
    arguments = parser.parse_args()
    epochs, rounds = ((1, 2), 1) if arguments.tiny else ((2, 12), arguments.rounds)
    counts = COUNTS[:2] if arguments.tiny else COUNTS
    load = load_average()
    with tempfile.TemporaryDirectory() as name:
        measure = partial(
            seconds_of_epochs,
            batch_size=arguments.batch_size,
            epochs=epochs,
            data_dir=arguments.data_dir,
            folder=Path(name),
        )
        train(1, arguments.batch_size, 1, arguments.data_dir, Path(name))  # makes the corpus
        times = measure_in_turn({count: partial(measure, count) for count in counts}, rounds)
    print(
        f"{datetime.date.today()}, {cpus()}, {python_and_packages(['jax'])}; {rounds} rounds in "
        f"turn; load average {load:.1f} to {load_average():.1f}.\n"
    )
    columns = ("processes", "whole batch", "s per epoch, median", "utterances/s, times one process")
    print(header(columns, ["---:"] * 4))
    for count, seconds in times.items():
        per_epoch = statistics.median(seconds) / (epochs[1] - epochs[0])
        faster = 1 / statistics.median(round_ratios(seconds, times[1]))
        batch = count * arguments.batch_size
        print(row(str(count), str(batch), f"{per_epoch:.2f}", f"{faster:.2f}"))


if __name__ == "__main__":
    main()
