"""The program that the record's harnesses kill, cut off and starve: consultations, one after the
other, each printed only after it was recorded. All of it is the real thing but the picture and
the model. Faults that a harness must find are put in by `--fault`.

    python -m tests.benchmarks.record_writer LOG_FOLDER COUNT
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "appliance"))
if __name__ == "__main__":  # no clinic has pandas, which sqlite_utils loads where it is
    sys.modules["pandas"] = None  # type: ignore[assignment]
from stand_ins import ports

from appliance.core.consult import consult
from appliance.core.entry import Entry, Moment, entry_text, read_entry
from appliance.core.program import Program
from appliance.edges import audit_sqlite, clock
from appliance.edges.audit_db import AuditDatabase
from appliance.errors import AuditError

PROGRAM = Program("1.0", "caption", {"access": "single", "risk": 0.1}, frozenset())
FAULTS = ("wal-normal", "late-commit", "shown-anyway")


class WalNormal(AuditDatabase):
    """Commits that a power cut can take back."""

    def _read_log(self) -> None:
        super()._read_log()
        self._db.conn.execute("PRAGMA journal_mode = WAL")
        self._db.conn.execute("PRAGMA synchronous = NORMAL")


class LateCommit(AuditDatabase):
    """Commits each tenth entry only."""

    held = 0

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if not self._db.conn.in_transaction:
            self._db.conn.execute("BEGIN IMMEDIATE")
        yield
        self.held += 1
        if self.held % 10 == 0:
            self._db.conn.execute("COMMIT")


class ShownAnyway(AuditDatabase):
    """Carries on where an entry could not be written."""

    def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        try:
            return super().append(kind, body)
        except AuditError:
            return read_entry(entry_text(1 << 40, Moment("", "", 0), "", "", kind, body))


LOGS = {
    None: AuditDatabase,
    "wal-normal": WalNormal,
    "late-commit": LateCommit,
    "shown-anyway": ShownAnyway,
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--fault", choices=FAULTS)
    arguments = parser.parse_args()
    if arguments.fault == "wal-normal":
        allow_wal()
    try:
        with LOGS[arguments.fault](arguments.folder, clock.now, program=PROGRAM) as log:
            for number in range(arguments.count):
                result = consult(f"{number}.png", replace(ports(), audit=log), k=0)
                assert result.entry is not None and result.caption is not None
                shown = {"seq": result.entry.seq, "hash": result.entry.hash}
                line = json.dumps({"audit": shown, "label": result.caption.label})
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
    except AuditError as exc:
        print(f"error: {exc.message}", file=sys.stderr)
        return exc.exit_code
    return 0


def allow_wal() -> None:
    """For the control: our own code refuses it on an old SQLite."""
    audit_sqlite.FIRST_SOUND_WAL = (3, 0, 0)


def shown(line: str) -> tuple[int, str]:
    """Number and hash of an answer as it was printed."""
    audit = json.loads(line)["audit"]
    return audit["seq"], audit["hash"]


if __name__ == "__main__":
    sys.exit(main())
