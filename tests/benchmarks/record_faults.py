"""Every k-th system call that writes, syncs or removes fails, or is where the process dies.

python -m tests.benchmarks.record_faults [--most 1000]        (needs strace)

After each the log must hold every answer that was shown, verify and open again, and the writer
must have ended as if nothing had been, by the kill, or with exit code 4 and an error in words.
Control: a writer that shows an answer although it could not be recorded.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.benchmarks.record_power import judged
from tests.benchmarks.record_writer import shown

ANSWERS = 2
CLASSES = (
    ("pwrite64", "signal=KILL"),
    ("pwrite64", "error=EIO"),
    ("pwrite64", "error=ENOSPC"),
    ("fsync,fdatasync", "signal=KILL"),
    ("fsync,fdatasync", "error=EIO"),
    ("unlink,rename,link", "signal=KILL"),
    ("unlink,rename,link", "error=EIO"),
)
SIGKILL = -9


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=1000, help="calls of each class")
    places = range(1, parser.parse_args().most + 1)
    for calls, action in CLASSES:
        print(f"{calls} {action}:", dict(sweep(calls, action, places)))
    print(
        "control, pwrite64 error=EIO:", dict(sweep("pwrite64", "error=EIO", places, "shown-anyway"))
    )


def sweep(calls: str, action: str, places: Iterable[int], fault: str | None = None) -> Counter[str]:
    """How the writer and its log came out, for the calls at `places` until one is past the last."""
    found: Counter[str] = Counter()
    for k in places:
        outcome = _one(calls, action, k, fault)
        if outcome is None:
            break
        found[outcome] += 1
    return found


def _one(calls: str, action: str, k: int, fault: str | None) -> str | None:
    """None when there is no k-th call."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, trace = Path(scratch) / "log", Path(scratch) / "trace"
        command = ["strace", "-f", "-o", str(trace), "-e", f"trace={calls}"]
        command += ["-e", f"inject={calls}:{action}:when={k}", sys.executable, "-m"]
        command += ["tests.benchmarks.record_writer", str(folder), str(ANSWERS)]
        command += ["--fault", fault] if fault else []
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if not re.search(r"INJECTED|SIGKILL", trace.read_text()):
            assert done.returncode == 0, done.stderr
            return None
        answered = dict(shown(line) for line in done.stdout.splitlines(keepends=True))
        state = judged(folder, answered)
    if state != "good":
        return f"BAD: {state}"
    if done.returncode == 0:
        return "good, went on"
    if done.returncode in (SIGKILL, 128 - SIGKILL):
        return "good, killed"
    if done.returncode == 4 and done.stderr.startswith("error: the audit log"):
        return "good, error in words"
    return f"BAD: ended with {done.returncode}: {done.stderr[-200:]}"


if __name__ == "__main__":
    main()
