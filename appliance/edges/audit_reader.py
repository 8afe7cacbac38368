"""Reading and proving a log: entries, checkpoints, proofs. Writes nothing, so that it works on an
auditor's read-only copy; reads in short pieces, so that writers never wait long for it.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

import sqlite_utils

from appliance.core.checkpoint import Checkpoint, is_signed, read_checkpoint, read_code
from appliance.core.entry import Entry
from appliance.core.log_check import Fault, Row, Witness, entry_in, first_fault
from appliance.core.merkle import HASH_BYTES, consistency_proof, inclusion_proof, root
from appliance.edges.audit_aside import CHECKPOINT_FILE, LOG_FILE, UNPACKING, changed_since
from appliance.edges.audit_keys import is_signature
from appliance.edges.audit_runs import Turn
from appliance.edges.audit_sqlite import connect, is_chain, tables
from appliance.errors import AuditError, AuditMissingError, ConfigError

PAGE = 1000
"""Rows read at a time, each page a reading of its own."""
ENTRIES_FILE = "entries.jsonl"
"""In an archive's folder: one entry's canonical text a line."""
FIRST = -(1 << 63)
"""No entry of ours is numbered below 1, but somebody else's may be."""
NONE_ARCHIVED = (1 << 63, b"")
ARCHIVING = "log.archive.done"

KEEP = "keep the folder as it is and tell the person who keeps the log"


@dataclass(frozen=True)
class Verification:
    """What `AuditReader.verify` found."""

    entries: int
    newest: Entry | None
    fault: Fault | None
    checkpoints: int
    """How many were proved, those handed in included."""
    covered: int
    """The newest entry that a checkpoint covers."""
    archived: int
    """The oldest entries whose texts are in archives."""
    absent: int
    """How many of these archives' texts are not here; their hashes are, and were proved."""


@dataclass(frozen=True)
class KeptCheckpoint:
    size: int
    at: str
    why: str
    note: str


class AuditReader:
    """The log in one folder: `audit.db`, and its newest checkpoint beside it."""

    origin: str
    public_key: bytes
    """32 bytes of Ed25519."""

    def __init__(self, folder: Path) -> None:
        """Raises: AuditMissingError when there never was a log here; AuditError."""
        self.folder = folder
        self.path = folder / LOG_FILE
        if not self.path.exists():
            raise missing_log(folder)
        with self._our_errors():
            self._turn = Turn(folder)
        try:
            with self._reading():
                self._open(read_only=True)
        except BaseException:
            self._turn.close()
            raise

    def _open(self, *, read_only: bool) -> None:
        # No plugins: whatever else is installed has no business on this connection.
        connection = connect(self.path, read_only=read_only)
        self._db = sqlite_utils.Database(connection, execute_plugins=False)
        self.node = lru_cache(4096)(self._node)
        try:
            self._read_log()
        except BaseException:
            self._db.conn.close()
            raise

    def _read_log(self) -> None:
        if is_chain(self._db.conn):
            raise AuditError(
                f"the audit log is of an older format: {self.path}",
                "any command that writes to it, for example `appliance audit checkpoint`, sets it"
                " aside whole and begins a new one that names it",
            )
        found = tables(self._db.conn)
        if not found:
            raise missing_log(self.folder)
        if "log" not in found:
            raise ValueError("it is a database, but no audit log")
        [(self.origin, self.public_key)] = self._db.conn.execute(
            "SELECT origin, public_key FROM log"
        ).fetchall()

    def size(self) -> int:
        """How many entries there are. Raises: AuditError."""
        with self._reading():
            (newest,) = self._db.conn.execute("SELECT max(seq) FROM entry").fetchone()
            return int(newest or 0)

    def rows(self, first: int = FIRST, last: int | None = None) -> Iterator[Row]:
        """In order, those that came while reading left out; archived texts from their archives.

        Raises: AuditError.
        """
        last = self.size() if last is None else last
        archived = self._archived_texts(first)
        seq_archived, text_archived = next(archived, NONE_ARCHIVED)
        while True:
            with self._reading():
                page = self._db.conn.execute(
                    "SELECT seq, CAST(text AS BLOB), hashes FROM entry"
                    " WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
                    [first, last, PAGE],
                ).fetchall()
            if not page:
                return
            for seq, text, hashes in page:
                while text is None and seq_archived < seq:
                    seq_archived, text_archived = next(archived, NONE_ARCHIVED)
                is_there = text is None and seq_archived == seq
                yield Row(seq, text_archived if is_there else text, hashes)
            first = page[-1][0] + 1

    def entries(self, first: int = FIRST, last: int | None = None) -> Iterator[Entry]:
        """In order; those whose archive is elsewhere left out. Raises: AuditError."""
        for row in self.rows(first, last):
            if entry := entry_in(row):
                yield entry

    def get(self, seq: int) -> Entry | None:
        """Raises: AuditError."""
        row = next(self.rows(seq, seq), None)
        if row is None:
            return None
        if row.text is None:
            raise AuditError(
                f"entry {seq} is in an archive that is not in {self.folder / 'archive'}",
                "bring the archive's folder back there",
            )
        return entry_in(row)

    def checkpoint(self, size: int) -> Checkpoint:
        """Of the first `size` entries, by the hashes as they are kept. Raises: AuditError."""
        with self._reading():
            return Checkpoint(self.origin, size, root(size, self.node))

    def checkpoints(self) -> list[KeptCheckpoint]:
        """All that were ever made of this log, oldest first. Raises: AuditError."""
        with self._reading():
            rows = self._db.conn.execute(
                "SELECT size, at, why, note FROM checkpoint ORDER BY number"
            )
            return [KeptCheckpoint(*row) for row in rows]

    def witnessed(self, reasons: Sequence[str]) -> list[str]:
        """The checkpoints made for one of these reasons, as text, oldest first."""
        return [kept.note for kept in self.checkpoints() if kept.why in reasons]

    def inclusions(self, seqs: Sequence[int], size: int) -> list[list[bytes]]:
        """That each of these entries is among the first `size`."""
        with self._reading():
            return [inclusion_proof(seq - 1, size, self.node) for seq in seqs]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """That the first `new` entries begin with the first `old`."""
        with self._reading():
            return consistency_proof(old, new, self.node)

    def witness(self, given: str) -> Witness:
        """An old checkpoint of this log, by its file or its short code.

        Raises: ConfigError when it is neither, AuditError when it is not of this log.
        """
        path = Path(given)
        try:
            if not path.is_file():
                size, code = read_code(given)
                return Witness(size, f"short code of entry {size}", code=code)
            note = path.read_text(encoding="utf-8")
            said = read_checkpoint(note)
            is_ours = is_signed(note, self.origin, self.public_key, is_signature)
        except (OSError, ValueError) as exc:
            raise ConfigError(
                f"neither a checkpoint's file nor its short code ({exc}): {given}",
                "check its path, or every letter of the code",
            ) from exc
        if said.origin != self.origin or not is_ours:
            raise AuditError(
                f"{given} is a checkpoint of {said.origin}, signed or not; this log is"
                f" {self.origin} and did not sign it",
                "if that log was set aside, verify it with --log; if not, this one was put in its"
                " place",
            )
        return Witness(said.size, f"checkpoint in {given}", said.root)

    def archived(self) -> int:
        """The last entry whose text was archived, as the newest entry that tells of an archive has
        it; 0 when none was. That entry is never itself in an archive: it would not be the newest.
        """
        if not self._archive_rows_end():
            return 0
        with self._reading():
            told = self._db.conn.execute(
                "SELECT seq, CAST(text AS BLOB), hashes FROM entry WHERE instr(text, ?)"
                " ORDER BY seq DESC",
                [f'"kind":"{ARCHIVING}"'],
            )
            ends = (_archived_by(Row(*row)) for row in told)
            return next(filter(None, ends), 0)

    def _archive_rows_end(self) -> int:
        """The last entry that the table of archives names; unlike an entry it proves nothing."""
        with self._reading():
            (last,) = self._db.conn.execute("SELECT max(last) FROM archive").fetchone()
            return int(last or 0)

    def verify(self, witnesses: Sequence[Witness] = ()) -> Verification:
        """Prove every entry against every checkpoint kept here and those handed in.

        What it cannot see stands in `core.log_check`. Raises: AuditError when not even the
        checkpoints can be read.
        """
        kept = [*self.checkpoints(), *self._beside()]  # first: the log may grow meanwhile
        size, rows_end, archived = self.size(), self._archive_rows_end(), self.archived()
        known = list(witnesses)
        fault, absent = None, 0
        for one in kept:
            witness = self._kept_witness(one)
            if witness is None:
                reason = f"the checkpoint of {one.at} at entry {one.size} is forged"
                fault = Fault(one.size, one.size, reason)
                break
            known.append(witness)
        if fault is None:
            fault, absent = self._first_fault(known, size, archived)
        if fault is None and rows_end > archived:
            said = f"entries {archived + 1} to {rows_end} are said to be archived"
            fault = Fault(archived + 1, archived + 1, f"{said}, and no entry says so")
        newest = next(self.entries(size, size), None) if size and not fault else None
        covered = max((witness.size for witness in known), default=0)
        return Verification(size, newest, fault, len(known), covered, archived, absent)

    def _first_fault(
        self, witnesses: Sequence[Witness], size: int, archived: int
    ) -> tuple[Fault | None, int]:
        """And how many texts were not here."""
        read = absent = 0

        def counted() -> Iterator[Row]:
            nonlocal read, absent
            for row in self.rows(last=size):
                read = row.seq
                absent += row.text is None
                yield row

        try:
            fault = first_fault(counted(), self.origin, witnesses, archived)
        except AuditError as exc:
            reason = f"entry {read + 1} cannot be read: {exc.message}"
            return Fault(read + 1, read + 1, reason), absent
        return fault or self._foreign_opening(), absent

    def _foreign_opening(self) -> Fault | None:
        """Whether the log bears the name and the key its first entry gives it, and what that entry
        names; the key where that entry is here."""
        first = next(self.rows(1, 1), None)
        if first is None or self.origin != origin_of(first.hashes[:HASH_BYTES]):
            return Fault(1, 1, f"entry 1 is not the one that opened {self.origin}")
        opened = entry_in(first)
        if opened and opened.body.get("public_key") != self.public_key.hex():
            return Fault(1, 1, "the log is signed by another key than entry 1 names")
        before = opened and opened.body.get("before")
        changed = changed_since(self.folder, before) if before else None
        return Fault(1, 1, f"the log set aside before this one: {changed}") if changed else None

    def _kept_witness(self, kept: KeptCheckpoint) -> Witness | None:
        """None when it is not one of this log, signed by it."""
        try:
            said = read_checkpoint(kept.note)
            is_ours = is_signed(kept.note, self.origin, self.public_key, is_signature)
        except ValueError:
            return None
        if not is_ours or (said.origin, said.size) != (self.origin, kept.size):
            return None
        return Witness(said.size, f"checkpoint of {kept.at}", said.root)

    def _beside(self) -> list[KeptCheckpoint]:
        """The newest checkpoint as kept beside the database."""
        path = self.folder / CHECKPOINT_FILE
        if not path.exists():
            return []
        with self._reading():
            note = path.read_text(encoding="utf-8")
            return [KeptCheckpoint(read_checkpoint(note).size, "the file beside", "", note)]

    def _archived_texts(self, first: int) -> Iterator[tuple[int, bytes]]:
        """Archived entries from `first` on, as far as their archives are here: number and text."""
        with self._reading():
            archives = self._db.conn.execute(
                "SELECT first, last, folder FROM archive WHERE last >= ? ORDER BY first", [first]
            ).fetchall()
        for start, last, folder in archives:
            path = self.folder / "archive" / folder / ENTRIES_FILE
            if not path.exists():
                continue
            with self._our_errors(), path.open("rb") as file:
                for seq, line in enumerate(file, start):
                    if first <= seq <= last:
                        yield seq, line.removesuffix(b"\n")

    def _node(self, level: int, index: int) -> bytes:
        seq = (index + 1) << level
        found = self._db.conn.execute(
            "SELECT substr(hashes, ?, ?) FROM entry WHERE seq = ?",
            [level * HASH_BYTES + 1, HASH_BYTES, seq],
        ).fetchone()
        if found is None or len(found[0]) != HASH_BYTES:
            raise ValueError(f"the hashes of entry {seq} are missing")
        return bytes(found[0])

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._our_errors(), self._turn:
            yield

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, ValueError) as exc:
            raise AuditError(f"the audit log cannot be read ({exc}): {self.path}", KEEP) from exc

    def close(self) -> None:
        self._db.conn.close()
        self._turn.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def _archived_by(row: Row) -> int:
    """The last entry that went into the archive that this one tells of; 0 where it tells of none.
    That an entry is not as it should be is the verification's to say."""
    try:
        entry = entry_in(row)
    except AuditError:
        return 0
    last = entry.body.get("last") if entry and entry.kind == ARCHIVING else None
    return last if isinstance(last, int) and last < row.seq else 0


def origin_of(first_leaf: bytes) -> str:
    """The name of the log that begins with this entry, by its leaf hash."""
    return f"clinic-appliance/{first_leaf.hex()[:16]}"


def has_log(folder: Path) -> bool:
    """Whether there is one, or was."""
    return (folder / LOG_FILE).exists() or (folder / CHECKPOINT_FILE).exists()


def is_lost(folder: Path) -> bool:
    """Whether there was a log in a folder without one, as far as can be seen."""
    return (folder / CHECKPOINT_FILE).exists() or bool(_cut_short(folder))


def _cut_short(folder: Path) -> list[Path]:
    """Where restores unpacked what they did not put in place."""
    return sorted(folder.parent.glob(f"{UNPACKING}*"))


def missing_log(folder: Path) -> AuditError:
    """The error for a folder without a log: never begun, or gone."""
    if unpacked := _cut_short(folder):
        return AuditError(
            f"there is no audit log; a restore was cut short, maybe while it put one here:"
            f" {unpacked[0]}",
            "restore the backup once more; if there never was a log here, delete that folder",
        )
    if (folder / CHECKPOINT_FILE).exists():
        return AuditError(
            f"the audit log is gone; a checkpoint of it is still there: {folder}",
            "put audit.db back, or run `appliance audit set-aside` to begin a new log that names"
            " the loss",
        )
    return AuditMissingError(
        f"there is no audit log yet: {folder}",
        "it begins with the first thing that is recorded, for example `appliance caption`",
    )
