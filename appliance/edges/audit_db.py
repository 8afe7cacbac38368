"""The audit log in SQLite: append only, every entry a leaf of a Merkle tree, the tree signed.

An entry is committed with the hashes it adds to the tree. A checkpoint is signed after at most
100 entries or 24 hours, when the log is closed, and when one is asked for; each is kept in the
database, the newest also beside it. What a crash or an interrupt left without an outcome is
recorded: by the run itself when it still can, by the next opening when it cannot. A wall clock
that was set back is recorded before the next entry.
"""

import hmac
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from appliance.core.checkpoint import (
    Checkpoint,
    checkpoint_text,
    is_signed,
    read_checkpoint,
    signed_note,
)
from appliance.core.entry import Entry, Moment, entry_text, read_entry, unanswered
from appliance.core.merkle import HASH_BYTES, completed_by, leaf_hash, root
from appliance.core.program import Program, changed_settings, recordable
from appliance.edges.audit_aside import (
    CHECKPOINT_FILE,
    KEY_FILE,
    LOG_FILE,
    log_before,
    set_aside,
)
from appliance.edges.audit_keys import SigningKey, is_signature
from appliance.edges.audit_reader import AuditReader, is_lost, missing_log, origin_of
from appliance.edges.audit_runs import Run, Turn, dead_runs, live_runs
from appliance.edges.audit_sqlite import SCHEMA, connect, is_chain, tables
from appliance.errors import AuditError
from appliance.private_files import kept_secret, make_private_folder, write_private_file

MOST_UNSIGNED = 100
"""Entries after which a checkpoint is made."""
LONGEST_UNSIGNED = timedelta(hours=24)
CLOCK_SLIP = timedelta(seconds=2)
"""How far the wall clock may be behind the newest entry: what keeping time moves it by."""
BEGUN_OR_ENDED = '"kind":"program.st'
"""In the canonical text of program.started and program.stopped, and of no other entry."""


class AuditDatabase(AuditReader):
    """The log of one machine, open for writing; made on first use."""

    def __init__(
        self,
        folder: Path,
        now: Callable[[], Moment],
        user: str = "",
        program: Program | None = None,
    ) -> None:
        """`user` is the account that acts; start, stop and changed settings of a `program` are
        recorded. Raises: AuditError when the log cannot be opened."""
        self.folder, self.path = folder, folder / LOG_FILE
        self._now, self._user = now, user
        self._asked: list[Entry] = []
        self._seen_signed: tuple[int, str] | None = None
        self._last: Entry | None = None
        """The newest that this opening wrote."""
        self._started: Entry | None = None
        with self._writing():
            make_private_folder(folder)
            make_private_folder(folder / "running")
            self._turn = Turn(folder)
            try:
                with self._turn:
                    self._mark_key = kept_secret(folder / "image-mark.key")
                    self._open_for_writing()
                    self._begin_run(program)
            except BaseException:
                self._turn.close()
                raise

    def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Committed to disk when it returns. Raises: AuditError."""
        with self._writing():
            with self._transaction():
                entry = self._insert(kind, body)
                note = self._sign_if_due(entry.seq, entry.at)
            self._asked = unanswered([*self._asked, entry])
            if note:
                self._keep_beside(note)
        return entry

    def sign_if_due(self) -> None:
        """For a program that stays open: where no entry comes, nothing else sees that the unsigned
        ones are a day old. Raises: AuditError."""
        with self._writing():
            with self._transaction():
                note = self._sign_if_due(self._newest()[0], self._now().at)
            if note:
                self._keep_beside(note)

    def sign(self, why: str) -> str:
        """A signed checkpoint of all entries so far, as text. Raises: AuditError.

        `why`: closed, export, shown or archive; all but the first leave the machine, so later
        exports carry the proof that the log only grew since.
        """
        with self._writing():
            with self._transaction():
                note = self._sign(why, self._now().at)
            self._keep_beside(note)
            return note

    def archive(self, first: int, last: int, folder: str, sha256: str) -> Entry:
        """Let go of the texts of these entries, which stand in `archive/folder`; their hashes
        stay. Recorded in the same commit. Raises: AuditError."""
        with self._writing(), self._transaction():
            self._db.conn.execute(
                "INSERT INTO archive VALUES (?, ?, ?, ?)", [first, last, folder, sha256]
            )
            body = {"first": first, "last": last, "folder": folder, "sha256": sha256}
            entry = self._insert("log.archive.done", body)
            self._db.conn.execute(
                "UPDATE entry SET text = NULL WHERE seq BETWEEN ? AND ?", [first, last]
            )
        self._asked = unanswered([*self._asked, entry])
        return entry

    def image_mark(self, sha256: str) -> str:
        return hmac.digest(self._mark_key, sha256.encode(), "sha256").hex()

    def close(self) -> None:
        """Record what was left unanswered and the stop, sign, leave. Raises: AuditError."""
        is_clean = False
        try:
            with self._writing():
                note = None
                with self._transaction():
                    for entry in self._asked:
                        act = entry.kind.rpartition(".")[0]
                        self._insert(f"{act}.interrupted", {"asked": entry.seq})
                    if self._started:
                        settings = self._started.body["settings"]
                        body = {"started": self._started.seq, "settings": settings}
                        self._insert("program.stopped", body)
                    if self._newest()[0] > self._signed()[0]:
                        note = self._sign("closed", self._now().at)
                if note:
                    self._keep_beside(note)
            is_clean = True
        finally:
            with suppress(OSError):
                self._run.end(is_clean=is_clean)
            super().close()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            self.close()
        except AuditError:
            if exc is None:  # else the first error is the one to show
                raise

    def _open_for_writing(self) -> None:
        is_new = not self.path.exists() or not self.path.stat().st_size
        if is_new and is_lost(self.folder):
            raise missing_log(self.folder)
        if not is_new:
            connection = connect(self.path)
            was_chain, is_new = is_chain(connection), not tables(connection)
            connection.close()
            if was_chain:
                if live_runs(self.folder):
                    raise OSError("another program still writes it")
                set_aside(self.folder, self._now().at, "older format")
                is_new = True
        self._key = SigningKey(self._signing_secret(is_new))
        if is_new:
            self._begin()
        if self.path.stat().st_mode & 0o077:
            self.path.chmod(0o600)
        self._open(read_only=False)
        if self.public_key != self._key.public:
            self._db.conn.close()
            raise OSError("its entries are signed by another key than signing.key")

    def _begin_run(self, program: Program | None) -> None:
        try:
            self._check_end()
            self._run = Run(self.folder, self.size())
            try:
                if program:
                    self._record_start(program)
                self._record_dead_runs()
            except BaseException:
                with suppress(OSError):
                    self._run.end(is_clean=True)  # nothing was asked in it
                raise
        except BaseException:
            self._db.conn.close()
            raise

    def _record_start(self, program: Program) -> None:
        """In one commit: that it started, with which settings, and what changed in them."""
        before = self._settings_before()
        settings = recordable(program, lambda value: self.image_mark(f"setting {value}"))
        changed = changed_settings(before, settings)
        with self._transaction():
            if changed:
                before = self._insert("setting.changed", changed)
            assert before  # the first time all of them are new
            body = {
                "version": program.version,
                "command": program.command,
                "access": program.settings["access"],
                "settings": before.seq,
            }
            self._started = self._insert("program.started", body)
            note = self._sign_if_due(self._started.seq, self._started.at)
        if note:
            self._keep_beside(note)

    def _settings_before(self) -> Entry | None:
        """The entry with the settings that were in force last; None when there is none here."""
        found = self._db.conn.execute(
            "SELECT CAST(text AS BLOB) FROM entry WHERE instr(text, ?) ORDER BY seq DESC LIMIT 1",
            [BEGUN_OR_ENDED],
        ).fetchone()
        if found is None:
            return None
        seq = read_entry(found[0]).body["settings"]
        row = next(self.rows(seq, seq), None)
        return read_entry(row.text) if row and row.text else None

    def _signing_secret(self, is_new: bool) -> bytes:
        path = self.folder / KEY_FILE
        if not is_new and not path.exists():
            raise OSError("signing.key, the key that signs it, is gone")
        return kept_secret(path)

    def _begin(self) -> None:
        """A log with its first entry, which names the one before it, and that entry signed."""
        self.path.touch(mode=0o600)
        connection = connect(self.path)
        try:
            moment = self._now()
            body = {
                "format": 2,
                "public_key": self._key.public.hex(),
                "before": log_before(self.folder),
            }
            text = entry_text(1, moment, "", self._user, "log.opened", body)
            leaf = leaf_hash(text)
            origin = origin_of(leaf)
            note = self._signed_note(Checkpoint(origin, 1, leaf))
            connection.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO log VALUES (?, ?)", [origin, self._key.public])
            connection.execute("INSERT INTO entry VALUES (1, ?, ?)", [text.decode(), leaf])
            connection.execute(
                "INSERT INTO checkpoint (size, at, why, note) VALUES (1, ?, 'opened', ?)",
                [moment.at, note],
            )
            connection.execute("COMMIT")
        finally:
            connection.close()
        self._keep_beside(note)

    def _check_end(self) -> None:
        """A log whose newest entry or newest checkpoint does not fit is not written to."""
        beside = self._beside()  # before the newest entry: it may grow meanwhile
        newest = self._newest()
        fitting = newest[1] is not None and newest[2][:HASH_BYTES] == leaf_hash(newest[1])
        if fitting and beside:
            note, size = beside[0].note, beside[0].size
            fitting = (
                size <= newest[0]
                and read_checkpoint(note).root == self.checkpoint(size).root
                and is_signed(note, self.origin, self.public_key, is_signature)
            )
        if not fitting:
            raise AuditError(
                f"the audit log is damaged: {self.path}",
                "run `appliance audit verify` to see where; `appliance audit set-aside` keeps it"
                " as it is and begins a new log that names it",
            )

    def _record_dead_runs(self) -> None:
        for name, newest in dead_runs(self.folder):
            left = unanswered(entry for entry in self.entries(newest + 1) if entry.run == name)
            self.append("crash.found", {"run": name, "unanswered": [entry.seq for entry in left]})

    def _insert(self, kind: str, body: Mapping[str, Any]) -> Entry:
        newest, text, _ = self._newest()
        moment = self._now()
        if self._last is not None and self._last.seq == newest:
            at = self._last.at  # nobody else wrote since
        else:
            at = read_entry(text).at if text else moment.at
        back = datetime.fromisoformat(at) - datetime.fromisoformat(moment.at)
        if back > CLOCK_SLIP:
            set_back = {"by_s": round(back.total_seconds()), "newest": newest}
            newest = self._insert_next(newest, moment, "clock.setback", set_back).seq
        return self._insert_next(newest, moment, kind, body)

    def _insert_next(
        self, newest: int, moment: Moment, kind: str, body: Mapping[str, Any]
    ) -> Entry:
        seq = newest + 1
        text = entry_text(seq, moment, self._run.name, self._user, kind, body)
        leaf = leaf_hash(text)
        hashes = completed_by(seq - 1, leaf, self.node)
        self._db.conn.execute(
            "INSERT INTO entry VALUES (?, ?, ?)", [seq, text.decode(), b"".join(hashes)]
        )
        self._last = Entry(
            *(seq, moment.at, moment.boot, moment.up_ms, self._run.name, self._user, kind),
            dict(body),
            leaf.hex(),
        )
        return self._last

    def _sign_if_due(self, newest: int, now: str) -> str | None:
        # What was seen last may be older than what another process has signed since, never newer.
        if self._seen_signed is None or _is_due(self._seen_signed, newest, now):
            self._seen_signed = self._signed()
        return self._sign("due", now) if _is_due(self._seen_signed, newest, now) else None

    def _sign(self, why: str, at: str) -> str:
        size = self._newest()[0]
        note = self._signed_note(Checkpoint(self.origin, size, root(size, self.node)))
        self._db.conn.execute(
            "INSERT INTO checkpoint (size, at, why, note) VALUES (?, ?, ?, ?)",
            [size, at, why, note],
        )
        return note

    def _signed_note(self, checkpoint: Checkpoint) -> str:
        text = checkpoint_text(checkpoint)
        return signed_note(text, checkpoint.origin, self._key.public, self._key.sign)

    def _keep_beside(self, note: str) -> None:
        """After the commit: a checkpoint of what is not on disk would be a false alarm."""
        write_private_file(self.folder / CHECKPOINT_FILE, note.encode())

    def _newest(self) -> tuple[int, bytes | None, bytes]:
        row: tuple[int, bytes | None, bytes] | None = self._db.conn.execute(
            "SELECT seq, CAST(text AS BLOB), hashes FROM entry ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        if row is None:
            raise ValueError("its entries are gone")
        return row

    def _signed(self) -> tuple[int, str]:
        """Size and time of the newest checkpoint."""
        row: tuple[int, str] | None = self._db.conn.execute(
            "SELECT size, at FROM checkpoint ORDER BY number DESC LIMIT 1"
        ).fetchone()
        if row is None:
            raise ValueError("its checkpoints are gone")
        return row

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        connection = self._db.conn
        with self._turn:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self.node.cache_clear()
                self._last = None
                raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, ValueError) as exc:
            raise AuditError(
                f"the audit log cannot be written ({exc}): {self.path}",
                "free disk space and check the folder's permissions; nothing is shown unrecorded",
            ) from exc


def _is_due(signed: tuple[int, str], newest: int, now: str) -> bool:
    """Whether the entries up to `newest` need a checkpoint. `signed`: size and time of the last."""
    size, at = signed
    since = datetime.fromisoformat(now) - datetime.fromisoformat(at)
    is_late = abs(since) >= LONGEST_UNSIGNED  # also by a clock that was set back
    return newest > size and (newest - size >= MOST_UNSIGNED or is_late)
