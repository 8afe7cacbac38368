"""Is there always a whole program, when the real pip and the real trial are killed, too?

    python tests/benchmarks/kit_kill_whole.py WHEELS OUT [--kills N] [--first N]

WHEELS are those of `appliance kit wheels`. An update of the real program, with guidelines in its
kit, is done once undisturbed and its processor time taken; then it is done again from the same
machine, and all its processes are killed (SIGKILL) at moments spread evenly over that time, which
other load does not shift; so is a first install.
After each kill the launcher is started as a person would: the old version or the new one must be
whole, file by file, caption a picture and prove its record; at the first install there may be
none. After each sixth kill the kit is installed once more, which must succeed. Each kill is a line
of OUT; a sweep that was stopped goes on where it was.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from appliance.release.drawings import draw, png
from tests.benchmarks.kit_install import Stick

AGAIN_EACH = 6
POLL_S = 0.02
PATH = "/usr/bin:/bin"


@dataclass(frozen=True)
class Machine:
    """Its home folder holds program and data; `kept` is a copy of it to begin from."""

    folder: Path
    path: str

    @property
    def lib(self) -> Path:
        return self.folder / ".local/lib/clinic-appliance"

    @property
    def program(self) -> str:
        return str(self.folder / ".local/bin/appliance")

    def start(self, *command: str) -> "subprocess.Popen[str]":
        environment = {"PATH": self.path, "HOME": str(self.folder), "LANG": "C.UTF-8"}
        return subprocess.Popen(
            command, env=environment, cwd=self.folder, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *command: str) -> str:
        """Raises: RuntimeError when it fails."""
        child = self.start(*command)
        said, _ = child.communicate()
        if child.returncode:
            raise RuntimeError(f"{command[-3:]}: {said.strip()[-400:]}")
        return said

    def slot(self) -> str:
        """The version in use; empty: none."""
        line = self.lib / "active"
        return line.read_text().split()[0] if line.exists() else ""

    def imprint(self, slot: str) -> dict[str, int]:
        """Names and sizes; without compiled modules, which Python may write at any time."""
        root = self.lib / "slots" / slot
        return {
            str(path.relative_to(root)).replace(slot, "SLOT"): path.lstat().st_size
            for path in root.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    def phase(self) -> str:
        """What an update was at, by what it left."""
        for slot in (self.lib / "slots").glob("*") if self.lib.exists() else ():
            if slot.name == self.slot() or not (slot / "kit").exists():
                continue
            for part, phase in (("trial-data", "data"), ("trial-home", "trial"), ("venv", "pip")):
                if (slot / part).exists():
                    return phase
            return "copying"
        return "before or after"


def put_back(machine: Machine, kept: Path | None) -> None:
    """The program by links: nothing of a version is ever written to again."""
    shutil.rmtree(machine.folder, ignore_errors=True)
    if kept is None:
        machine.folder.mkdir()
    else:
        subprocess.run(["cp", "-al", kept, machine.folder], check=True)
        for data in (".local/share/appliance", ".local/lib/clinic-appliance/active"):
            subprocess.run(["rm", "-rf", machine.folder / data], check=True)
            subprocess.run(["cp", "-a", kept / data, machine.folder / data], check=True)
    (machine.folder / "drawing.png").write_bytes(png(draw("chest", 0, 512)))


def fault_of(machine: Machine, whole: dict[str, dict[str, int]]) -> str:
    """What is wrong at a plain start; empty: nothing. `whole`: of each version."""
    slot = machine.slot()
    if not slot:
        return "" if "" in whole else "no version is left"
    if (found := machine.imprint(slot)) != whole[slot[0]]:
        return f"files differ: {sorted(found.items() ^ whole[slot[0]].items())[:4]}"
    try:
        machine.run(machine.program, "caption", "--no-lookup", "drawing.png")
        machine.run(machine.program, "audit", "verify")
    except RuntimeError as exc:
        return str(exc)
    return ""


@dataclass(frozen=True)
class Sweep:
    """One command, killed again and again."""

    about: str
    machine: Machine
    kept: Path | None
    command: tuple[str, ...]
    whole: dict[str, dict[str, int]]
    kills: int

    def run(self, out: Path) -> None:
        done = {row["number"] for row in rows(out) if row["sweep"] == self.about}
        put_back(self.machine, self.kept)
        before_s = _children_s()
        self.machine.run(*self.command)
        longest_s = _children_s() - before_s
        new = self.machine.slot()
        self.whole[new[0]] = self.machine.imprint(new)
        print(f"{self.about}, undisturbed: {longest_s:.1f} s of processor time", flush=True)
        for number in set(range(self.kills)) - done:
            put_back(self.machine, self.kept)
            row = self._kill(longest_s * (number + 0.5) / self.kills)
            if number % AGAIN_EACH == AGAIN_EACH - 1:
                row["again"] = self._again(new[0])
            with out.open("a") as file:
                file.write(json.dumps({"sweep": self.about, "number": number, **row}) + "\n")

    def _kill(self, after_s: float) -> dict[str, str]:
        child = self.machine.start(*self.command)
        while child.poll() is None and _session_s(child.pid) < after_s:
            time.sleep(POLL_S)
        if is_over := child.poll() is not None:
            child.communicate()
        else:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
        phase = "after the end" if is_over else self.machine.phase()
        runs = self.machine.slot()[:1] or "none"
        return {"phase": phase, "runs": runs, "fault": fault_of(self.machine, self.whole)}

    def _again(self, version: str) -> str:
        """What is wrong after one more install; empty: nothing."""
        try:
            self.machine.run(*self.command)
        except RuntimeError as exc:
            return str(exc)
        return fault_of(self.machine, {version: self.whole[version]})


def _children_s() -> float:
    """Processor time of all children that were waited for, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _session_s(leader: int) -> float:
    """Processor time so far of a session's processes and the children they waited for (proc(5):
    fields 6, and 14 to 17, in ticks)."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def tally(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "kills": len(found),
        "at": dict(Counter(row["phase"] for row in found)),
        "runs": dict(Counter(row["runs"] for row in found)),
        "installed again": sum("again" in row for row in found),
        "broken": sum(bool(row["fault"] or row.get("again")) for row in found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=60, help="of the update")
    parser.add_argument("--first", type=int, default=12, help="of the first install")
    parser.add_argument("--index", type=Path, help="a guideline index for the kits")
    parser.add_argument("--path", default=PATH, help="PATH of the clinic's machine")
    given = parser.parse_args()
    out = given.out.absolute()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        stick = Stick(work, given.wheels.absolute(), given.index and given.index.absolute())
        first, second = stick.kit(1), stick.kit(2)
        machine = Machine(work / "clinic", given.path)
        install = ("sh", str(first / "install.sh"), "--keys", stick.code)
        whole: dict[str, dict[str, int]] = {"": {}}
        Sweep("first install", machine, None, install, whole, given.first).run(out)
        put_back(machine, None)
        machine.run(*install)
        machine.run(machine.program, "guidelines", "add", "--sample")
        machine.run(machine.program, "caption", "drawing.png")
        kept = work / "kept"
        subprocess.run(["cp", "-a", machine.folder, kept], check=True)
        update = (machine.program, "kit", "install", str(second))
        del whole[""]
        Sweep("update", machine, kept, update, whole, given.kills).run(out)
    for about in ("first install", "update"):
        print(about, json.dumps(tally([row for row in rows(out) if row["sweep"] == about])))


if __name__ == "__main__":
    main()
