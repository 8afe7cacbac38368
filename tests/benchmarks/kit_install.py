"""The whole way of a kit on a fresh machine without network: how long, and does it hold?

    python tests/benchmarks/kit_install.py WHEELS [--index FOLDER] [--work FOLDER] [--python PYTHON]

WHEELS are those of `appliance kit wheels`. Three kits are built and signed: 1, 2, and 3, whose
program is broken. Everything after runs in an empty home with no network interface (unshare -rn)
and an empty environment, by the commands a technician types. Needs Linux and util-linux.
"""

import argparse
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from appliance.kit.wheels import write_anew
from appliance.release.drawings import draw, png

HOLDERS = ("anna", "bakar", "chong")
BROKEN = "appliance/edges/llama_child.py"


class Stick:
    """The workstation: keys, and kits in a folder."""

    def __init__(self, work: Path, wheels: Path, index: Path | None) -> None:
        self._work, self._wheels, self._index = work, wheels, index
        self.code = ""
        for name in HOLDERS:
            self._appliance("kit", "keys", "make", name, "--to", str(work))
        lists = str(work / "keys")
        public = [str(work / f"{name}.pub") for name in HOLDERS]
        said = self._appliance("kit", "keys", "list", lists, *public)
        self.code = said.split("code ")[1].strip()

    def kit(self, number: int, *, broken: bool = False) -> Path:
        wheels, out = self._wheels, self._work / f"kit-{number}"
        if broken:
            wheels = self._work / "broken"
            shutil.copytree(self._wheels, wheels)
            own = next(wheels.glob("clinic_appliance*.whl"))
            (self._work / "anew").mkdir()
            added = {BROKEN: b"raise SystemExit('broken')\n"}
            shutil.move(write_anew(own, self._work / "anew", added=added), own)
        options = ["--index", str(self._index)] if self._index else []
        self._appliance(
            "kit",
            "build",
            str(out),
            "--number",
            str(number),
            "--wheels",
            str(wheels),
            "--keys",
            str(self._work / "keys"),
            "--date",
            "2026-11-22",
            *options,
        )
        for name in HOLDERS[:2]:
            key = str(self._work / f"{name}.key")
            self._appliance("kit", "sign", str(out), "--key", key)
        return out

    def _appliance(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "appliance", *arguments],
            input="\n",
            text=True,
            check=True,
            env={**os.environ, "APPLIANCE_HOME": str(self._work / "home")},
            stdout=subprocess.PIPE,
        )
        return done.stdout


class Clinic:
    """The machine: what is typed there, and how long it takes."""

    def __init__(self, folder: Path, path: str) -> None:
        self.folder = folder
        self.environment = {
            "PATH": path,
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
        }
        self.rows: list[tuple[str, float, int, str]] = []

    @property
    def program(self) -> Path:
        return self.folder / ".local" / "bin" / "appliance"

    def type(self, about: str, *command: str, expected: int = 0) -> str:
        started_s = time.monotonic()
        done = subprocess.run(
            ["unshare", "-rn", *command],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )
        seconds = time.monotonic() - started_s
        last = (done.stdout + done.stderr).strip().splitlines()[-1:] or [""]
        verdict = "as expected" if done.returncode == expected else "NOT AS EXPECTED"
        print(
            f"{about:<34} {seconds:7.2f} s  exit {done.returncode}, {verdict}: {last[0][:90]}",
            flush=True,
        )
        if done.returncode != expected:
            print(done.stdout, done.stderr)
        return done.stdout

    def start_screen(self) -> None:
        """The time until the screen has drawn something; then Ctrl+Q."""
        started_s = time.monotonic()
        child, terminal = pty.fork()
        if child == 0:
            os.execvpe("unshare", ["unshare", "-rn", str(self.program), "tui"], self.environment)
        drawn, shown_s = b"", 0.0
        while time.monotonic() - started_s < 30 and not shown_s:
            if select.select([terminal], [], [], 0.2)[0]:
                with suppress(OSError):
                    drawn += os.read(terminal, 1 << 16)
            if b"Quit" in drawn or b"onsult" in drawn:
                shown_s = time.monotonic() - started_s
        os.write(terminal, b"\x11")
        deadline_s = time.monotonic() + 10
        while time.monotonic() < deadline_s and os.waitpid(child, os.WNOHANG)[0] == 0:
            if select.select([terminal], [], [], 0.1)[0]:
                with suppress(OSError):
                    os.read(terminal, 1 << 16)
        verdict = "as expected" if shown_s else "NOT AS EXPECTED"
        print(f"{'screen drawn':<34} {shown_s:7.2f} s  {verdict}, {len(drawn)} bytes", flush=True)


def sizes(kit: Path, clinic: Clinic) -> dict[str, float]:
    """Megabytes, by part of the kit, and of the installed version."""
    parts = {path.name: path for path in sorted(kit.iterdir()) if path.is_dir()}
    found = {f"kit: {name}": _megabytes(path) for name, path in parts.items()}
    slot = next((clinic.folder / ".local" / "lib" / "clinic-appliance" / "slots").iterdir())
    return {**found, "kit: whole": _megabytes(kit), "installed: program": _megabytes(slot / "venv"),
            "installed: its kit's files": _megabytes(slot / "kit")}  # fmt: skip


def _megabytes(folder: Path) -> float:
    return round(sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--work", type=Path, help="kept; else a temporary folder")
    parser.add_argument("--path", default="/usr/bin:/bin", help="PATH of the clinic's machine")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = given.work or Path(name)
        work.mkdir(parents=True, exist_ok=True)
        stick = Stick(work, given.wheels.absolute(), given.index and given.index.absolute())
        kits = [stick.kit(1), stick.kit(2), stick.kit(3, broken=True)]
        (work / "clinic").mkdir()
        clinic = Clinic(work / "clinic", given.path)
        (clinic.folder / "drawing.png").write_bytes(png(draw("chest", 0, 512)))
        go_through(clinic, kits, stick.code)


def go_through(clinic: Clinic, kits: list[Path], code: str) -> None:
    program = str(clinic.program)
    clinic.type("first install", "sh", str(kits[0] / "install.sh"), "--keys", code)
    print(json.dumps(sizes(kits[0], clinic)), flush=True)
    clinic.type("--help", program, "--help")
    clinic.type("caption, first", program, "caption", "drawing.png")
    clinic.type("caption, again", program, "caption", "drawing.png")
    clinic.type("lookup", program, "lookup", "melanoma")
    clinic.start_screen()
    clinic.type("verify kit 2", program, "kit", "verify", str(kits[1]))
    clinic.type("update to kit 2", program, "kit", "install", str(kits[1]))
    clinic.type("caption after it", program, "caption", "drawing.png")
    clinic.type("broken kit 3", program, "kit", "install", str(kits[2]), expected=1)
    clinic.type("older kit 1", program, "kit", "install", str(kits[0]), expected=1)
    said = clinic.type("status", program, "kit", "status", "--json")
    assert json.loads(said)["kit"] == 2, said
    clinic.type("rollback", program, "kit", "rollback", "--yes")
    said = clinic.type("status", program, "kit", "status", "--json")
    assert json.loads(said)["kit"] == 1, said
    clinic.type("caption after it", program, "caption", "drawing.png")
    clinic.type("doctor --offline", program, "doctor", "--offline")
    clinic.type("audit verify", program, "audit", "verify")
    clinic.type(
        "bill equals installed",
        "env",
        "APPLIANCE_HOME=trial",
        program,
        "kit",
        "self-test",
        str(clinic.folder / ".local/lib/clinic-appliance/slots" / active(clinic) / "kit"),
    )
    clinic.type("uninstall", program, "kit", "uninstall", "--yes")
    left = sorted(str(p.relative_to(clinic.folder)) for p in (clinic.folder / ".local").rglob("*"))
    print("left:", [path for path in left if path.count("/") < 4])


def active(clinic: Clinic) -> str:
    return (clinic.folder / ".local/lib/clinic-appliance/active").read_text().split()[0]


if __name__ == "__main__":
    main()
