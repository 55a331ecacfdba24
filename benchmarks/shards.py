"""The features of many short clips: by one process, by shards in two processes, and by Ray.

    python benchmarks/shards.py
    python benchmarks/shards.py --tiny    # eight clips, one round; the figures mean nothing

It prints the seconds of `jdann prepare` from start to end, with imports, and their ratio to those
of one process. Programs are compiled before. The clips are synthetic voices of 1 to 2 s at 16 kHz;
each voice stands under many names. Shards are as many as CPUs, each in a process of its own. Ray
runs on one node of this machine, with as many CPUs, and has been started before. The ways take
turns in each round, and all have to write the same bytes.
"""

import datetime
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from command_line import make_parser
from machine import cpus, is_installed, load_average, python_and_packages
from markdown_table import header, row
from synthetic_speech import synthetic_speech
from timing import measure_in_turn, round_ratios, seconds_of

RATE_HZ, VOICES = 16000, 200
ONE = "one process"
STORE_BYTES = 200 * 2**20  # of Ray


def write_corpus(folder: Path, count: int) -> Path:
    """Writes clips, most of which are other names of the same files; returns the manifest."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for i in range(min(VOICES, count)):
        y = synthetic_speech(random.uniform(1, 2), random, RATE_HZ, random.uniform(90, 280))
        soundfile.write(folder / f"{i}.wav", y, RATE_HZ)
    for i in range(VOICES, count):
        os.link(folder / f"{i % VOICES}.wav", folder / f"{i}.wav")
    lines = ["file,emotion", *(f"{i}.wav,{('happy', 'sad')[i % 2]}" for i in range(count))]
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder / "list.csv"


def prepare(manifest: Path, data_dir: Path, *more: str) -> subprocess.Popen[bytes]:
    """Starts `jdann prepare`."""
    words = ["-m", "jdann", "prepare", str(manifest), "--quiet", "--data-dir", str(data_dir), *more]
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)


def finish(processes: list[subprocess.Popen[bytes]]) -> None:
    assert not any([process.wait() for process in processes])


class Ways:
    """Each way writes into a new folder, and is timed."""

    def __init__(self, manifest: Path, folder: Path):
        self._manifest, self._folder = manifest, folder
        self.written: list[dict[str, bytes]] = []

    def seconds(self, start: Callable[[Path, Path], list[subprocess.Popen[bytes]]]) -> float:
        """Seconds of all processes that `start` starts."""
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            data_dir = Path(name)
            seconds = seconds_of(lambda: finish(start(self._manifest, data_dir)))
            (features,) = data_dir.glob("jdann/features/*")
            self.written.append({path.name: path.read_bytes() for path in features.iterdir()})
        assert self.written[-1] == self.written[0], "the ways wrote different features"
        del self.written[1:]
        return seconds


def alone(manifest: Path, data_dir: Path) -> list[subprocess.Popen[bytes]]:
    return [prepare(manifest, data_dir)]


def in_shards(manifest: Path, data_dir: Path) -> list[subprocess.Popen[bytes]]:
    count = os.cpu_count() or 1
    return [prepare(manifest, data_dir, "--shard", f"{i + 1}/{count}") for i in range(count)]


@contextmanager
def ray_node():
    """The address of a cluster of one node."""
    from ray.cluster_utils import Cluster

    options = {"num_cpus": os.cpu_count(), "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def print_table(times: dict[str, list[float]], clips: int) -> None:
    """Prints the seconds of each way, clips per second, and the ratio to one process."""
    columns = ("", "s, median (fastest, slowest)", "clips/s", "times one process")
    print(header(columns, ("---", "---:", "---:", "---:")))
    for name, seconds in times.items():
        median = statistics.median(seconds)
        ratio = statistics.median(round_ratios(seconds, times[ONE]))
        spread = f"{median:.1f} ({min(seconds):.1f}, {max(seconds):.1f})"
        print(row(name, spread, f"{clips / median:.0f}", f"{ratio:.2f}"))


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    clips, rounds = (8, 1) if arguments.tiny else (arguments.clips, arguments.rounds)
    load = load_average()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ways = Ways(write_corpus(folder / "corpus", clips), folder)
        kinds = {ONE: alone, f"shards in {os.cpu_count()} processes": in_shards}
        if is_installed("ray"):
            address = stack.enter_context(ray_node())
            kinds["Ray"] = lambda *place: [prepare(*place, "--on", f"ray:{address}")]
        else:
            print("Ray: not installed", file=sys.stderr)
        ways.seconds(alone)  # compiles, and JAX keeps the programs
        times = measure_in_turn(
            {name: partial(ways.seconds, start) for name, start in kinds.items()}, rounds
        )
    packages = ["jax", "numpy", *(["ray"] if is_installed("ray") else [])]
    print(
        f"{datetime.date.today()}, {cpus()}, {python_and_packages(packages)}; {clips} clips, "
        f"{rounds} rounds in turn; load average {load:.1f} to {load_average():.1f}.\n"
    )
    print_table(times, clips)


if __name__ == "__main__":
    main()
