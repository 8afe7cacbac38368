"""What recording costs: appends beside bare commits, eight processes at once, a million entries.

python -m tests.benchmarks.record_speed [--entries 1000000] [--folder FOLDER]

`--folder` is on the disk to be measured. The bare commit inserts the same bytes into a table of
one column with the same settings, in turns with the appends, so that both see the same disk.
"""

import argparse
import json
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from appliance.core.entry import Moment, entry_text
from appliance.core.merkle import Peaks, leaf_hash
from appliance.edges import clock
from appliance.edges.audit_db import AuditDatabase
from appliance.edges.audit_reader import AuditReader
from appliance.edges.audit_sqlite import connect

BODY = {
    "release": "ab" * 32,
    "image": "cd" * 32,
    "caption": {"label": "melanoma", "key_findings": "irregular border, two colours" * 4},
    "label_probabilities": {f"label {number}": round(1 / (number + 2), 6) for number in range(20)},
    "timings_ms": {"open": 21.5, "caption": 1904.2, "lookup": 33.1},
}
"""About what an answered caption has."""
PROCESSES, EACH = 8, 100


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--write", type=Path, help="be one of the eight: write to this log")
    arguments = parser.parse_args()
    if arguments.write:
        print(json.dumps(consultations(arguments.write, EACH)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        folder = Path(scratch)
        ours, bare = append_beside_bare(folder / "one", 200)
        print(f"append {ours:.2f} ms, bare commit {bare:.2f} ms: {ours / bare:.2f}x")
        rows, busy, p95, seconds = at_once(folder / "many", PROCESSES)
        print(f"{PROCESSES} x {EACH}: {rows} rows, {busy} failed, p95 {p95:.3f} s, {seconds:.1f} s")
        build(folder / "large", arguments.entries)
        seconds, peak_mib = verified(folder / "large")
        print(f"verify {arguments.entries} entries: {seconds:.1f} s, {peak_mib:.0f} MiB")


def append_beside_bare(folder: Path, count: int) -> tuple[float, float]:
    """Median milliseconds of an append and of a bare commit of the same bytes."""
    folder.mkdir()
    plain = folder / "bare.db"
    plain.touch(mode=0o600)
    with AuditDatabase(folder / "log", clock.now) as log, closing(connect(plain)) as connection:
        connection.execute("CREATE TABLE entry (seq INTEGER PRIMARY KEY, text TEXT) STRICT")
        text = entry_text(1, clock.now(), "run00000", "", "caption.answered", BODY).decode()

        def commit() -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO entry (text) VALUES (?)", [text])
            connection.execute("COMMIT")

        ours, bare = [], []
        for _ in range(count):
            ours.append(_timed(lambda: log.append("caption.answered", BODY)))
            bare.append(_timed(commit))
    return statistics.median(ours) * 1000, statistics.median(bare) * 1000


def consultations(folder: Path, count: int) -> list[float]:
    """Seconds that each consultation spent recording: three entries."""
    spent = []
    with AuditDatabase(folder, clock.now) as log:
        for _ in range(count):
            started = time.perf_counter()
            log.append("caption.asked", {"release": BODY["release"], "prompt": 1, "structure": 1})
            log.append("image.opened", {"image": BODY["image"], "kind": "DICOM"})
            log.append("caption.answered", BODY)
            spent.append(time.perf_counter() - started)
    return spent


def at_once(folder: Path, processes: int) -> tuple[int, int, float, float]:
    """Consultation entries in the log, processes that failed, 95th percentile, seconds in all."""
    command = [sys.executable, "-m", "tests.benchmarks.record_speed", "--write", str(folder)]
    started = time.monotonic()
    writers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    spent = [seconds for writer in writers for seconds in json.loads(writer.communicate()[0])]
    seconds = time.monotonic() - started
    with AuditReader(folder) as log:
        rows = sum(entry.kind == "caption.answered" for entry in log.entries())
    p95 = statistics.quantiles(spent, n=20)[-1]
    print(f"longest {max(spent):.3f} s, median {statistics.median(spent):.3f} s")
    return rows, sum(writer.returncode != 0 for writer in writers), p95, seconds


def build(folder: Path, count: int) -> None:
    """A log of `count` entries, in one commit: what is measured is reading it."""
    with AuditDatabase(folder, clock.now):
        pass
    with closing(sqlite3.connect(folder / "audit.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        peaks = Peaks()
        for (hashes,) in connection.execute("SELECT hashes FROM entry ORDER BY seq"):
            peaks.append(hashes[:32])
        connection.execute("BEGIN")
        moment = Moment("2026-01-01T00:00:00+00:00", "boot", 0)
        template = entry_text(10**9, moment, "run", "", "caption.answered", BODY)
        while peaks.size < count:
            text = template.replace(b"1000000000", str(peaks.size + 1).encode())
            hashes = b"".join(peaks.append(leaf_hash(text)))
            connection.execute(
                "INSERT INTO entry VALUES (?, CAST(? AS TEXT), ?)", [peaks.size, text, hashes]
            )
        connection.execute("COMMIT")
    with AuditDatabase(folder, clock.now) as log:
        log.sign("closed")


def verified(folder: Path) -> tuple[float, float]:
    """Seconds and the most memory, in MiB, of a process that verifies the log."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from appliance.edges.audit_reader import AuditReader\n"
        "started = time.monotonic()\n"
        "with AuditReader(Path(sys.argv[1])) as log: found = log.verify()\n"
        "assert found.fault is None and found.covered >= found.entries - 1, found\n"
        "print(time.monotonic() - started)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], check=True, capture_output=True, text=True
    )
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return float(done.stdout), peak_kib / 1024


def _timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
