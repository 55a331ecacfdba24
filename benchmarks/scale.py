"""A corpus of the size of ESD: time and peak resident memory of each stage.

    python benchmarks/scale.py --sentences 350 --data-dir /tmp/scale
    python benchmarks/scale.py --data-dir /tmp/scale --tiny    # one sentence; meaningless

350 sentences x 5 emotions x 20 speakers are 35,000 utterances of the demo corpus. Each stage runs
in its own process. Peaks are those that the operating system reports for the largest process.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def stage(name: str, command: list[str]) -> None:
    """Runs a command; prints its wall time and the peak of its process group so far."""
    begun = time.monotonic()
    program = (
        "import resource, subprocess, sys; "
        "code = subprocess.run(sys.argv[1:], stdout=2).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20); sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *command], stdout=subprocess.PIPE, text=True
    )
    peak_gib = float(result.stdout.splitlines()[-1])
    print(
        f"{name:12} {time.monotonic() - begun:7.0f} s  peak {peak_gib:.2f} GiB  "
        f"exit {result.returncode}",
        flush=True,
    )
    if result.returncode:
        sys.exit(result.returncode)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sentences", type=int, default=350)
    parser.add_argument(
        "--data-dir", type=Path, default=Path(tempfile.gettempdir()) / "jdann-scale"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="a check in seconds; figures mean nothing"
    )
    arguments = parser.parse_args()
    sentences = 1 if arguments.tiny else arguments.sentences
    jdann = [sys.executable, str(Path(__file__).parents[1] / "run.py")]
    where = ["--data-dir", str(arguments.data_dir)]
    stage("synthesise", [*jdann, "prepare", "demo", "--sentences", str(sentences), *where])
    demo = arguments.data_dir / f"demo-10x{sentences}"
    stage("prepare", [*jdann, "prepare", "esd", str(demo), *where])
    config = str(Path(__file__).parents[1] / "configs" / "en2zh.py")
    settings = ("source=esd:en", "target=esd:zh", "seeds=1", "tsne=false", "methods=dann")
    settings = (*settings, "baseline=false")
    train = ["--config", config, "--overwrite", *(f"--config.{setting}" for setting in settings)]
    features = [
        "--config.epochs=1",
        f"--config.batch_size={16 if arguments.tiny else 256}",
        "--workdir",
        str(arguments.data_dir / "run"),
    ]
    stage("features+1", [*jdann, *train, *features, *where])  # features, then one epoch
    stage("one epoch", [*jdann, *train, *features, *where])  # the features are there now


if __name__ == "__main__":
    main()
