"""What importing jdann adds to importing jax: medians over fresh processes, taken in turn.

python benchmarks/startup.py
"""

import platform
import statistics
import subprocess
import sys

IMPORTS = {
    "import jax": "import jax",
    "import jdann": "import jdann",
    "from jdann import gradient_reversal": "from jdann import gradient_reversal",
}
REPEATS = 9


def seconds(statement: str) -> float:
    """Wall time of one import in a process of its own, the interpreter's start left out."""
    code = f"import time; begun = time.perf_counter(); {statement}; print(time.perf_counter() - begun)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    times = {name: [] for name in IMPORTS}
    for _ in range(REPEATS):
        for name, statement in IMPORTS.items():
            times[name].append(seconds(statement))
    base = statistics.median(times["import jax"])
    print(f"Python {platform.python_version()}, {platform.machine()}, {REPEATS} processes each")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:36} {median:.3f} s (min {min(values):.3f}, max {max(values):.3f}), {median - base:+.3f} s")


if __name__ == "__main__":
    main()
