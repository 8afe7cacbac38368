"""Does the memory of a long batch grow? One run of `appliance caption FOLDER` over small pictures.

    python -m tests.benchmarks.batch_memory [--pictures 5000] [--threads 1]

Prints the resident memory of the command and of the model's process when a tenth and when nearly
all of the pictures are done; fails when either grew by 5 % or more. The first tenth fills caches.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from tests.varied_radiograph import write_varied

MOST_GROWTH = 0.05
LOOK_EVERY_S = 0.05


@click.command()
@click.option("--pictures", type=click.IntRange(20), default=5000, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
def main(pictures: int, threads: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        early, late = measure(Path(folder), pictures, threads)
    worst = 0.0
    for name, before in early.items():
        after = late[name]
        growth = after / before - 1
        worst = max(worst, growth)
        click.echo(
            f"{name}: {before / 1e6:.1f} MB at {pictures // 10} pictures, {after / 1e6:.1f} MB "
            f"at {pictures * 99 // 100}, {growth:+.2%}"
        )
    sys.exit(f"grew by {worst:.1%}" if worst >= MOST_GROWTH else 0)


def measure(folder: Path, pictures: int, threads: int) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes held by each process, by name, early and late in the run."""
    films, out = folder / "films", folder / "out.jsonl"
    write_varied(films, pictures)
    command = [sys.executable, "-m", "appliance", "--threads", str(threads), "caption"]
    child = subprocess.Popen(
        [*command, "--no-lookup", "--out", str(out), str(films)],
        env={**os.environ, "APPLIANCE_HOME": str(folder / "home")},
    )
    try:
        wait_for(child, out, pictures // 10)
        early = resident(child.pid)
        wait_for(child, out, pictures * 99 // 100)
        late = resident(child.pid)
    except BaseException:
        child.kill()
        raise
    finally:
        child.wait()
    return early, late


def wait_for(child: "subprocess.Popen[bytes]", out: Path, lines: int) -> None:
    seen, at = 0, 0
    while seen < lines:
        if child.poll() is not None:
            sys.exit(f"the command ended after {seen} pictures with {child.returncode}")
        time.sleep(LOOK_EVERY_S)
        if out.exists():
            with out.open("rb") as file:
                file.seek(at)
                added = file.read()
            seen, at = seen + added.count(b"\n"), at + len(added)


def resident(pid: int) -> dict[str, int]:
    """Of the command and of its child that holds the model: the largest, for an image's child may
    be at work just then."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(text) for path in tasks for text in path.read_text(encoding="ascii").split()]
    return {"command": _resident(pid), "model": max(map(_resident, children), default=0)}


def _resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:  # it has just ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


if __name__ == "__main__":
    main()
