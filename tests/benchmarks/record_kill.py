"""SIGKILL at any moment, three writers at once: is an answer that was printed ever gone?

python -m tests.benchmarks.record_kill [--kills 200]

Control: a writer that commits each tenth entry only, which must lose answers.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from appliance.edges import clock
from appliance.edges.audit_db import AuditDatabase
from tests.benchmarks.record_writer import shown

WRITERS = 3


@dataclass
class Killed:
    kills: int = 0
    answers: dict[int, str] = field(default_factory=dict)
    lost: int = 0
    crashes_found: int = 0
    fault: str | None = None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    kills = parser.parse_args().kills
    for name, count, fault in (("as shipped", kills, None), ("control", 9, "late-commit")):
        with tempfile.TemporaryDirectory() as scratch:
            found = kill(Path(scratch) / "log", count, fault)
        print(
            f"{name}: {found.kills} kills of {WRITERS} writers, {len(found.answers)} answers"
            f" shown, {found.lost} lost, {found.crashes_found} crashes found, fault {found.fault}"
        )


def kill(folder: Path, kills: int, fault: str | None = None) -> Killed:
    found = Killed()
    chance = random.Random(7)
    command = [sys.executable, "-m", "tests.benchmarks.record_writer", str(folder), "100000"]
    if fault:
        command += ["--fault", fault]
    while found.kills < kills:
        writers = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(WRITERS)
        ]
        lines: list[str] = []
        first = threading.Event()
        readers = [
            threading.Thread(target=_read, args=(writer, lines, first)) for writer in writers
        ]
        for reader in readers:
            reader.start()
        first.wait(60)
        time.sleep(chance.uniform(0, 0.6))
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
        for writer, reader in zip(writers, readers, strict=True):
            writer.wait()
            reader.join()
        found.kills += WRITERS
        found.answers.update(shown(line) for line in lines)
    with AuditDatabase(folder, clock.now) as log:
        entries = {entry.seq: entry for entry in log.entries()}
        found.fault = str(log.verify().fault or "") or None
    found.crashes_found = sum(entry.kind == "crash.found" for entry in entries.values())
    found.lost = sum(
        seq not in entries or entries[seq].hash != value for seq, value in found.answers.items()
    )
    return found


def _read(writer: "subprocess.Popen[str]", lines: list[str], first: threading.Event) -> None:
    assert writer.stdout is not None
    for line in writer.stdout:
        if line.endswith("}\n"):  # the last may be cut: then nobody saw it whole
            lines.append(line)
            first.set()
    writer.stdout.close()


if __name__ == "__main__":
    main()
