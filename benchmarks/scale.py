"""An ESD-sized corpus: time and peak resident memory of each stage, every one in a process of its own.

    python benchmarks/scale.py --sentences 350 --data-dir /tmp/scale

350 sentences x 5 emotions x 20 speakers are 35,000 utterances of the demo corpus. Peaks are the operating system's, of the
largest single process.
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
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:], stdout=2).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20); sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *command], stdout=subprocess.PIPE, text=True
    )
    peak_gib = float(result.stdout.splitlines()[-1])
    print(
        f"{name:12} {time.monotonic() - begun:7.0f} s  peak {peak_gib:.2f} GiB  exit {result.returncode}",
        flush=True,
    )
    if result.returncode:
        sys.exit(result.returncode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=350)
    parser.add_argument(
        "--data-dir", type=Path, default=Path(tempfile.gettempdir()) / "jdann-scale"
    )
    given = parser.parse_args()
    jdann = [sys.executable, str(Path(__file__).parents[1] / "run.py")]
    where = ["--data-dir", str(given.data_dir)]
    stage("synthesise", [*jdann, "prepare", "demo", "--sentences", str(given.sentences), *where])
    demo = given.data_dir / f"demo-10x{given.sentences}"
    stage("prepare", [*jdann, "prepare", "esd", str(demo), *where])
    config = str(Path(__file__).parents[1] / "configs" / "en2zh.py")
    train = ["--config", config, "--config.source=esd:en", "--config.target=esd:zh", "--config.seeds=1", "--config.tsne=false",
             "--config.methods=dann", "--config.baseline=false", "--overwrite"]  # fmt: skip
    features = [
        "--config.epochs=1",
        "--config.batch_size=256",
        "--workdir",
        str(given.data_dir / "run"),
    ]
    stage("features+1", [*jdann, *train, *features, *where])  # features, then one epoch
    stage("one epoch", [*jdann, *train, *features, *where])  # the features are there now


if __name__ == "__main__":
    main()
