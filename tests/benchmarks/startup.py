"""How long `appliance --help` takes beside an empty Python, in one run.

python -m tests.benchmarks.startup
"""

import statistics
import subprocess
import sys
import time

RUNS = 15


def main() -> None:
    empty, command = [], []
    for _ in range(RUNS):
        empty.append(seconds([sys.executable, "-c", "pass"]))
        command.append(seconds([sys.executable, "-m", "appliance", "--help"]))
    base, found = statistics.median(empty), statistics.median(command)
    print(
        f"python -c pass {base:.3f} s; appliance --help {found:.3f} s; bar {2 * base + 0.1:.3f} s"
    )


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
