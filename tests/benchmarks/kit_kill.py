"""Is there always a whole program? The installer is killed at every call that changes a file.

    python tests/benchmarks/kit_kill.py [--every N] [--out FILE]

Needs strace. A first install and an update of a stand-in (tests/kit/stub_kits.py; its pip too is
one, all else is the product) are traced once, then run again for each such call of the installer,
and killed there (SIGKILL, as the call begins). After each kill the launcher must start a whole old
or a whole new version, or, at the first install, there may be none; and the next install must
succeed. Then whole process groups are killed at random times, so that pip and the trial are hit.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from appliance.kit.install import install
from appliance.kit.slots import ACTIVE_LINE, Place
from tests.kit.stub_kits import Bench, make_bench

CHANGING = (
    "mkdir", "openat", "write", "linkat", "link", "rename", "renameat", "unlink", "unlinkat",
    "rmdir", "fsync", "fdatasync", "syncfs", "chmod", "fchmod", "symlink", "ftruncate", "vfork",
    "utimensat", "pwrite64", "copy_file_range", "sendfile",
)  # fmt: skip
RANDOM_KILLS = 60
ENTRIES = 100
"""In a stand-in's log, which must be there after every kill."""
INSTALL = """
import sys
from pathlib import Path
from appliance.kit.install import install
from appliance.kit.slots import Place
folder, prefix, home, code = sys.argv[1:]
install(Path(folder), Place(Path(prefix), Path(home)), lambda text: None, lambda: code)
"""


@dataclass(frozen=True)
class Machine:
    bench: Bench
    kit: Path

    @property
    def place(self) -> Place:
        return self.bench.place

    def command(self) -> list[str]:
        place = self.place
        return [sys.executable, "-c", INSTALL, str(self.kit), str(place.prefix), str(place.home),
                self.bench.code]  # fmt: skip

    def put_back(self, kept: Path | None) -> None:
        for folder in (self.place.prefix, self.place.home):
            shutil.rmtree(folder, ignore_errors=True)
        if kept:
            shutil.copytree(kept, self.place.prefix, symlinks=True)
        (self.place.home / "log").mkdir(parents=True)
        with closing(sqlite3.connect(self.place.home / "log" / "audit.db")) as log:
            log.execute("CREATE TABLE entry (text TEXT)")
            log.executemany("INSERT INTO entry VALUES (?)", [("entry",)] * ENTRIES)
            log.commit()


def points(machine: Machine, trace: Path) -> list[tuple[str, int]]:
    """Every changing call of the installer under its folders: its name, and the how-manieth."""
    options = ["strace", "-y", "-o", str(trace), "-e", f"trace={','.join(CHANGING)}"]
    subprocess.run([*options, *machine.command()], check=True)
    found, seen = [], Counter[str]()
    ours = (str(machine.place.prefix), str(machine.place.home))
    for line in trace.read_text(errors="replace").splitlines():
        if not (call := re.match(r"(\w+)\(", line)):
            continue
        name = call[1]
        seen[name] += 1
        if name == "openat" and not re.search("O_CREAT|O_WRONLY|O_RDWR", line):
            continue
        if name == "vfork" or any(folder in line for folder in ours):
            found.append((name, seen[name]))
    return found


def fault_of(machine: Machine, versions: set[str]) -> str:
    """What is wrong after a kill; empty: nothing."""
    with closing(sqlite3.connect(machine.place.home / "log" / "audit.db")) as log:
        if log.execute("SELECT count(*) FROM entry").fetchone() != (ENTRIES,):
            return "the record is not as it was"
    active = machine.place.lib / "active"
    if not active.exists():
        return "" if "none" in versions else "no version is left"
    found = ACTIVE_LINE.fullmatch(active.read_text())
    if not found:
        return f"the line is torn: {active.read_text()!r}"
    environment = {"PATH": os.environ["PATH"], "APPLIANCE_HOME": str(machine.place.home)}
    done = subprocess.run(
        [str(machine.place.launcher)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode or done.stdout.strip().removeprefix("version ") not in versions:
        return f"it does not start: {done.stdout} {done.stderr}"
    slot = machine.place.slots / found[1]
    manifest = json.loads((slot / "kit" / "manifest.json").read_bytes())
    if any(not (slot / "kit" / path).exists() for path in manifest["files"]):
        return "a file of the version is missing"
    return ""


def sweep(machine: Machine, kept: Path | None, versions: set[str], every: int) -> Counter[str]:
    counts = Counter[str]()
    machine.put_back(kept)
    trace = machine.bench.folder / "trace"
    for number, (call, when) in enumerate(points(machine, trace)[::every]):
        machine.put_back(kept)
        inject = f"inject={call}:signal=KILL:when={when}"
        options = ["strace", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
        done = subprocess.run([*options, *machine.command()], capture_output=True, check=False)
        counts["points"] += 1
        counts["not reached"] += done.returncode == 0
        judge(machine, versions, counts, f"{call} {when}", again=number % 10 == 0)
    return counts


def judge(
    machine: Machine, versions: set[str], counts: Counter[str], about: str, *, again: bool
) -> None:
    fault = fault_of(machine, versions)
    counts["broken"] += bool(fault)
    line = machine.place.lib / "active"
    counts[f"ended on {line.read_text()[0] if line.exists() else 'none'}"] += 1
    if again:
        install(machine.kit, machine.place, lambda text: None, lambda: machine.bench.code)
        fault = fault or fault_of(machine, {"2"} if "2" in versions else {"1"})
        counts["installed again"] += 1
    if fault:
        print(f"FAULT at {about}: {fault}", flush=True)


def sweep_children(machine: Machine, kept: Path, versions: set[str], every: int) -> Counter[str]:
    """The k-th call of whichever process comes to it first: Python's venv, pip, the trial, or the
    installer. A child that dies is a failed install; nothing else may come of it."""
    counts = Counter[str]()
    for call in ("mkdir", "symlink", "write", "rename", "unlink", "openat"):
        for when in range(1, 2000, every * (7 if call == "openat" else 1)):
            machine.put_back(kept)
            inject = f"inject={call}:signal=KILL:when={when}"
            options = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
            done = subprocess.run([*options, *machine.command()], capture_output=True, check=False)
            counts["points"] += 1
            judge(machine, versions, counts, f"any {call} {when}", again=counts["points"] % 10 == 0)
            if done.returncode == 0:
                break
    return counts


def random_kills(machine: Machine, kept: Path, versions: set[str]) -> Counter[str]:
    counts, rng = Counter[str](), random.Random(4)
    machine.put_back(kept)
    started_s = time.monotonic()
    subprocess.run(machine.command(), check=True)
    longest_s = time.monotonic() - started_s
    for number in range(RANDOM_KILLS):
        machine.put_back(kept)
        child = subprocess.Popen(machine.command(), start_new_session=True)
        time.sleep(rng.uniform(0.1, 1.1 * longest_s))
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        counts["points"] += 1
        judge(machine, versions, counts, f"random {number}", again=number % 5 == 0)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="of the points only each Nth")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = make_bench(Path(name))
        first, second = Machine(bench, bench.kit(1)), Machine(bench, bench.kit(2))
        result = {"first install": dict(sweep(first, None, {"none", "1"}, given.every))}
        print(json.dumps(result), flush=True)
        first.put_back(None)
        install(first.kit, bench.place, lambda text: None, lambda: bench.code)
        kept = bench.folder / "kept"
        bench.place.prefix.rename(kept)
        result["update"] = dict(sweep(second, kept, {"1", "2"}, given.every))
        children = sweep_children(second, kept, {"1", "2"}, given.every)
        result["update, any process"] = dict(children)
        print(json.dumps(result), flush=True)
        result["random, whole group"] = dict(random_kills(second, kept, {"1", "2"}))
    text = json.dumps(result, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
