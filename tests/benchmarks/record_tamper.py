"""Seven ways to tamper with a log that a checkpoint covers: how many are found, and named.

python -m tests.benchmarks.record_tamper [--each 300]

Each way is done by turns carelessly (rows are changed, hashes left) and carefully (all hashes and
numbers made to fit, checkpoints taken out). Control: the same check without a checkpoint, which
must miss what was done carefully.
"""

import argparse
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from appliance.core.entry import Moment, entry_text, read_entry
from appliance.core.log_check import Row, first_fault
from appliance.core.merkle import Peaks, leaf_hash
from appliance.edges.audit_db import AuditDatabase
from appliance.edges.audit_reader import AuditReader

WAYS = ("flip", "delete", "swap", "insert", "truncate", "rollback", "duplicate")


@dataclass
class Tally:
    found: int = 0
    named: int = 0
    """The true first bad entry is the one named, or in the range named."""
    exactly: int = 0
    careful: int = 0
    missed_without: int = 0
    """Careful ones that a check without checkpoints does not see."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, default=300)
    parser.add_argument("--entries", type=int, default=400)
    each, entries = vars(parser.parse_args()).values()
    with tempfile.TemporaryDirectory() as scratch:
        tallies = matrix(Path(scratch), each, entries)
    for way, tally in tallies.items():
        print(
            f"{way:<10} found {tally.found}/{each}, named {tally.named} ({tally.exactly} exactly);"
            f" control without checkpoints missed {tally.missed_without}/{tally.careful} careful"
        )
    print(f"all        found {sum(t.found for t in tallies.values())}/{each * len(WAYS)}")


def matrix(scratch: Path, each: int, entries: int) -> dict[str, Tally]:
    made = scratch / "log"
    old = scratch / "old.db"
    with AuditDatabase(made, lambda: Moment("2026-01-01T00:00:00+00:00", "b", 0)) as log:
        for number in range(entries):
            if number == entries // 2:
                shutil.copyfile(log.path, old)
            log.append("act.done", {"n": number, "text": "é" * (number % 7)})
    outside = scratch / "checkpoint"
    shutil.copyfile(made / "checkpoint", outside)
    chance = random.Random(1)
    return {way: _trials(way, each, made, old, outside, scratch / "copy", chance) for way in WAYS}


def _trials(
    way: str, each: int, made: Path, old: Path, outside: Path, copy: Path, chance: random.Random
) -> Tally:
    tally = Tally()
    for trial in range(each):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(made, copy)
        is_careful = trial % 2 == 1
        if way == "rollback":
            first_bad = _roll_back(copy, old)
        else:
            first_bad = _tamper(copy / "audit.db", way, is_careful, chance)
        if is_careful or way == "rollback":
            (copy / "checkpoint").unlink()
        with AuditReader(copy) as log:
            fault = log.verify([log.witness(str(outside))]).fault
            blind = first_fault(log.rows(), log.origin, [])
        if fault:
            tally.found += 1
            tally.named += fault.first <= first_bad <= fault.last
            tally.exactly += fault.first == fault.last == first_bad
        tally.careful += is_careful
        tally.missed_without += is_careful and blind is None
    return tally


def _roll_back(copy: Path, old: Path) -> int:
    shutil.copyfile(old, copy / "audit.db")
    with closing(sqlite3.connect(old)) as connection:
        return int(connection.execute("SELECT max(seq) FROM entry").fetchone()[0]) + 1


def _tamper(path: Path, way: str, is_careful: bool, chance: random.Random) -> int:
    """The number of the first entry that is not what it was."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        rows = [
            Row(*row)
            for row in connection.execute(
                "SELECT seq, CAST(text AS BLOB), hashes FROM entry ORDER BY seq"
            )
        ]
        place = chance.randrange(1, len(rows) - 1)
        changed, first_bad = _CHANGES[way](rows, place, chance)
        if is_careful:
            changed = _made_to_fit(changed)
            connection.execute("DELETE FROM checkpoint WHERE size >= ?", [first_bad])
        connection.execute("DELETE FROM entry")
        connection.executemany(
            "INSERT INTO entry VALUES (?, CAST(? AS TEXT), ?)",
            [(row.seq, row.text, row.hashes) for row in changed],
        )
        connection.execute("COMMIT")
    return first_bad


def _numbered(rows: list[Row]) -> list[Row]:
    return [Row(seq, row.text, row.hashes) for seq, row in enumerate(rows, 1)]


def _made_to_fit(rows: list[Row]) -> list[Row]:
    """Numbers, texts and hashes as if the log had always been so."""
    peaks, fitting = Peaks(), []
    for seq, row in enumerate(rows, 1):
        assert row.text is not None
        entry = read_entry(row.text)
        moment = Moment(entry.at, entry.boot, entry.up_ms)
        text = entry_text(seq, moment, entry.run, entry.user, entry.kind, entry.body)
        fitting.append(Row(seq, text, b"".join(peaks.append(leaf_hash(text)))))
    return fitting


def _flip(rows: list[Row], place: int, chance: random.Random) -> tuple[list[Row], int]:
    row = rows[place]
    assert row.text is not None
    text = row.text.replace(b'"n":', b'"n":1', 1)
    return [*rows[:place], Row(row.seq, text, row.hashes), *rows[place + 1 :]], place + 1


def _delete(rows: list[Row], place: int, chance: random.Random) -> tuple[list[Row], int]:
    return rows[:place] + rows[place + 1 :], place + 1


def _swap(rows: list[Row], place: int, chance: random.Random) -> tuple[list[Row], int]:
    one, other = rows[place], rows[place + 1]
    swapped = [Row(one.seq, other.text, other.hashes), Row(other.seq, one.text, one.hashes)]
    return [*rows[:place], *swapped, *rows[place + 2 :]], place + 1


def _insert(rows: list[Row], place: int, chance: random.Random) -> tuple[list[Row], int]:
    forged = entry_text(
        place + 1, Moment("2026-01-01T00:00:00+00:00", "b", 0), "r", "", "act.done", {"n": -1}
    )
    row = Row(place + 1, forged, leaf_hash(forged))
    return _numbered([*rows[:place], row, *rows[place:]]), place + 1


def _duplicate(rows: list[Row], place: int, chance: random.Random) -> tuple[list[Row], int]:
    return _numbered([*rows[: place + 1], rows[place], *rows[place + 1 :]]), place + 2


def _truncate(rows: list[Row], place: int, chance: random.Random) -> tuple[list[Row], int]:
    return rows[:place], place + 1


_CHANGES: dict[str, Callable[[list[Row], int, random.Random], tuple[list[Row], int]]] = {
    "flip": _flip,
    "delete": _delete,
    "swap": _swap,
    "insert": _insert,
    "duplicate": _duplicate,
    "truncate": _truncate,
}

if __name__ == "__main__":
    main()
