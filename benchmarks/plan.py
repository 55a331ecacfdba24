"""A plan for preparing a million hours of speech: machines, network, disk, cost.

    python benchmarks/plan.py
    python benchmarks/plan.py --hours 1000 --machines 2 8 --gigabytes-per-s .5
    python benchmarks/plan.py --tiny    # a hundredth of the hours

The first table is arithmetic with rates that were measured (benchmarks/results/preparation.md and
scale.md): what one machine of two cores does, multiplied. Prices and the speed of the shared
folder are assumptions; options change them. The second and third tables come from a simulation of
a queue of shards. Shards take different times, machines fail and come back, a shard on a failed
machine is computed again from its beginning, and all machines share the speed of the folder.
"""

import heapq
from typing import NamedTuple

import numpy as np
from command_line import make_parser
from markdown_table import header, row

TIMES_REAL_TIME = 1469.0  # of a machine of two cores: benchmarks/results/preparation.md
START_S = 8.9  # of a process, to compile: its first run, 10.5 s, less a later one, 1.6 s
SPREAD = 0.06  # standard deviation of a time relative to its median: 1.5 to 1.7 s in three rounds
FEATURES_BYTES_PER_S = 0.24 * 2**30 / (3.1 * 3600)  # of audio: benchmarks/results/scale.md
EPOCH_TIMES_REAL_TIME = (34 - 3.1) * 3600 / (46 - 17)  # an epoch from the cache, same page
AUDIO_BYTES_PER_S = {"48 kHz wav": 96_000, "16 kHz wav": 32_000, "opus, 32 kbit/s": 4_000}
CORES = 2
SEEDS = 5
FINISHED, FAILED, BACK = range(3)  # events


class Folder(NamedTuple):
    """What all machines share."""

    bytes_per_s: float  # of reading, all machines together
    audio_bytes_per_s: float  # of one second of audio


class Machine(NamedTuple):
    """How a machine fails."""

    failures_per_day: float
    restart_s: float


class Outcome(NamedTuple):
    """What a simulated queue of shards took."""

    hours: float  # until the last shard was finished
    repeated: float  # share of the machines' time that was lost with failed machines


def effective_rate(machines: int, folder: Folder) -> float:
    """Seconds of audio that one of several machines prepares in a second."""
    return min(TIMES_REAL_TIME, folder.bytes_per_s / (machines * folder.audio_bytes_per_s))


def simulate(
    hours: float, shards: int, machines: int, folder: Folder, machine: Machine, seed: int
) -> Outcome:
    """Simulates machines that take shards from a queue until all are finished.

    Args:
      hours: of audio.
      shards: of equal length.
      machines: that work at the same time.
      folder: from which they read.
      machine: how each of them fails.
      seed: of all random numbers.
    """
    random = np.random.default_rng(seed)
    shard_s = 3600 * hours / shards / effective_rate(machines, folder)
    failures_per_s = machine.failures_per_day / 86400
    waiting, idle = shards, machines
    events: list[tuple[float, int]] = []  # when, and what; equal ones are alike
    now = lost = busy = 0.0
    finished = 0
    while finished < shards:
        while idle and waiting:
            idle, waiting = idle - 1, waiting - 1
            duration = START_S + shard_s * float(np.exp(SPREAD * random.normal()))
            failure = float(random.exponential(1 / failures_per_s)) if failures_per_s else np.inf
            fails = failure < duration
            busy += min(duration, failure)
            lost += failure if fails else 0.0
            heapq.heappush(events, (now + min(duration, failure), FAILED if fails else FINISHED))
        now, event = heapq.heappop(events)
        if event == FAILED:
            waiting += 1
            heapq.heappush(events, (now + machine.restart_s, BACK))
        else:
            idle += 1
            finished += event == FINISHED
    return Outcome(now / 3600, lost / busy)


def print_arithmetic(hours: float, dollars_core: float, dollars_tb: float) -> None:
    """The first table: totals that do not depend on the number of machines."""
    machine_hours = hours / TIMES_REAL_TIME
    epoch_hours = hours / EPOCH_TIMES_REAL_TIME
    features_tb = 3600 * hours * FEATURES_BYTES_PER_S / 1e12
    print(header([f"for {hours:,.0f} hours of speech", "amount"], ["---", "---:"]))
    print(row("preparation, machine-hours of two cores", f"{machine_hours:,.1f}"))
    print(row("its cost, $", f"{machine_hours * CORES * dollars_core:,.0f}"))
    print(row("features on disk, TB", f"{features_tb:,.2f}"))
    print(row("their cost, $ per month", f"{features_tb * dollars_tb:,.0f}"))
    print(row("an epoch of training from the cache, machine-hours", f"{epoch_hours:,.1f}"))
    for name, size in AUDIO_BYTES_PER_S.items():
        amount = f"{3600 * hours * size / 1e12:,.2f} TB, {TIMES_REAL_TIME * size / 1e6:,.0f} MB/s"
        print(row(f"audio as {name}: size, and reading of one machine", amount))


def simulated(hours: float, shards: int, machines: int, folder: Folder, machine: Machine) -> str:
    """Mean and spread of the hours over the seeds, and the share that was repeated."""
    outcomes = [simulate(hours, shards, machines, folder, machine, s) for s in range(SEEDS)]
    took = np.array([outcome.hours for outcome in outcomes])
    repeated = np.mean([outcome.repeated for outcome in outcomes])
    return f"{took.mean():.3g} ({took.std(ddof=1):.2g}) | {100 * repeated:.1f} %"


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--hours", type=float, default=1e6, help="of speech; default: 1,000,000")
    parser.add_argument("--machines", type=int, nargs="+", default=[1, 8, 64, 512])
    parser.add_argument("--shards", type=int, nargs="+", default=[100, 1000, 10000, 100000])
    parser.add_argument("--gigabytes-per-s", type=float, default=10.0, help="of the shared folder")
    parser.add_argument("--failures-per-day", type=float, default=0.5, help="of each machine")
    parser.add_argument("--restart-s", type=float, default=300.0, help="after a failure")
    parser.add_argument("--dollars-per-core-hour", type=float, default=0.04)
    parser.add_argument("--dollars-per-tb-month", type=float, default=23.0)
    arguments = parser.parse_args()
    hours = arguments.hours / 100 if arguments.tiny else arguments.hours
    shard_counts = arguments.shards[:2] if arguments.tiny else arguments.shards
    machine = Machine(arguments.failures_per_day, arguments.restart_s)
    print_arithmetic(hours, arguments.dollars_per_core_hour, arguments.dollars_per_tb_month)

    shards = 1000
    columns = ["machines", "audio", "h, arithmetic", "GB/s", "h, simulated (spread)", "repeated"]
    print(f"\n{shards} shards:\n\n{header(columns, ['---:', '---', *['---:'] * 4])}")
    for name, size in AUDIO_BYTES_PER_S.items():
        folder = Folder(arguments.gigabytes_per_s * 1e9, size)
        for machines in arguments.machines:
            rate = effective_rate(machines, folder)
            binds = "" if rate == TIMES_REAL_TIME else ", all that the folder gives"
            cells = (str(machines), name, f"{hours / rate / machines:.3g}")
            reading = f"{machines * rate * size / 1e9:.2g}{binds}"
            print(row(*cells, reading, simulated(hours, shards, machines, folder, machine)))

    machines = min(64, max(arguments.machines))
    folder = Folder(arguments.gigabytes_per_s * 1e9, AUDIO_BYTES_PER_S["16 kHz wav"])
    columns = ["shards", "h of speech in each", "min for each", "h, simulated (spread)", "repeated"]
    print(f"\n{machines} machines, 16 kHz wav:\n\n{header(columns, ['---:'] * 5)}")
    for shards in shard_counts:
        each = hours / shards
        minutes = 60 * each / effective_rate(machines, folder)
        cells = (f"{shards:,}", f"{each:,.0f}", f"{minutes:.{0 if minutes >= 10 else 1}f}")
        print(row(*cells, simulated(hours, shards, machines, folder, machine)))


if __name__ == "__main__":
    main()
