"""A corpus of the size of ESD: time and peak resident memory of each stage.

    python benchmarks/scale.py --sentences 350 --data-dir /tmp/scale
    python benchmarks/scale.py --data-dir /tmp/scale --tiny    # one sentence; meaningless

350 sentences x 5 emotions x 20 speakers are 35,000 utterances of the demo corpus. Each stage runs
in its own process. Peaks are those that the operating system reports for the largest process.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from command_line import make_parser

ROOT = Path(__file__).parents[1]
BATCH_SIZE, TINY_BATCH_SIZE = 256, 16
# Runs a command whose output goes to stderr. The last line is the peak in GiB of the command and of
# the processes that it started.
MEASURE_PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=2).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20)
sys.exit(code)
"""


def run_stage(name: str, command: list[str], data_dir: Path) -> None:
    """Runs a command of jdann; prints its wall time and the peak of its largest process."""
    start = time.monotonic()
    command = [sys.executable, str(ROOT / "run.py"), *command, "--data-dir", str(data_dir)]
    result = subprocess.run(
        [sys.executable, "-c", MEASURE_PEAK, *command], stdout=subprocess.PIPE, text=True
    )
    peak_gib = float(result.stdout.splitlines()[-1])
    print(
        f"{name:12} {time.monotonic() - start:7.0f} s  peak {peak_gib:.2f} GiB  "
        f"exit {result.returncode}",
        flush=True,
    )
    if result.returncode:
        sys.exit(result.returncode)


def training_command(workdir: Path, batch_size: int) -> list[str]:
    """One epoch of DANN from English to Mandarin."""
    settings = (
        "source=esd:en",
        "target=esd:zh",
        "seeds=1",
        "tsne=false",
        "methods=dann",
        "baseline=false",
        "epochs=1",
        f"batch_size={batch_size}",
    )
    overrides = (f"--config.{setting}" for setting in settings)
    config = str(ROOT / "configs" / "base.py")
    return ["--config", config, "--overwrite", *overrides, "--workdir", str(workdir)]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--sentences", type=int, default=350)
    parser.add_argument(
        "--data-dir", type=Path, default=Path(tempfile.gettempdir()) / "jdann-scale"
    )
    arguments = parser.parse_args()
    sentences = 1 if arguments.tiny else arguments.sentences
    data_dir = arguments.data_dir
    synthesise = ["prepare", "demo", "--sentences", str(sentences)]
    run_stage("synthesise", synthesise, data_dir)
    run_stage("prepare", ["prepare", "esd", str(data_dir / f"demo-10x{sentences}")], data_dir)
    train = training_command(data_dir / "run", TINY_BATCH_SIZE if arguments.tiny else BATCH_SIZE)
    run_stage("features+1", train, data_dir)  # features, then one epoch
    run_stage("one epoch", train, data_dir)  # the features are there now


if __name__ == "__main__":
    main()
