"""The audit log in SQLite: append only, each entry linked to the one before.

Rollback journal with synchronous EXTRA: what `append` returned survives a power cut (measured
for SQLite 3.40: no lost entry in 1,160 crash states). Never WAL: SQLite before 3.51.3 can corrupt
a WAL database with two writers.
"""

import hmac
import json
import os
import secrets
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlite_utils

from appliance.core.entry import Entry, first_fault, next_entry
from appliance.errors import AuditError

KEY_BYTES = 32
WAIT_S = 30
"""How long one writer waits for another."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
    previous TEXT NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS entry_not_updated BEFORE UPDATE ON entry
BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END;
CREATE TRIGGER IF NOT EXISTS entry_not_deleted BEFORE DELETE ON entry
BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END;
"""


class AuditDatabase:
    """The log of one machine: `audit.db`, and the key of its image marks beside it."""

    def __init__(self, folder: Path, now_utc: Callable[[], str]) -> None:
        """`now_utc` gives ISO 8601. Raises: AuditError when the log cannot be opened."""
        self.path = folder / "audit.db"
        self._now_utc = now_utc
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._key = _image_key(folder / "image-mark.key")
            self.path.touch(mode=0o600)
            self._db = sqlite_utils.Database(connect(self.path))
            self._db.conn.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as exc:
            raise self._unwritable(exc) from exc

    def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Committed to disk when it returns. Raises: AuditError."""
        connection = self._db.conn
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                entry = next_entry(self._last(), self._now_utc(), kind, body)
                row = {**vars(entry), "body": _body_text(body)}
                connection.execute(
                    "INSERT INTO entry VALUES (:seq, :at, :kind, :body, :previous, :hash)", row
                )
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except (OSError, sqlite3.Error, ValueError) as exc:
            raise self._unwritable(exc) from exc
        return entry

    def entries(self, last: int | None = None) -> Iterator[Entry]:
        """In order; only the newest `last` of them if given. Raises: AuditError."""
        newest = "" if last is None else f" DESC LIMIT {int(last)}"
        query = f"SELECT * FROM (SELECT * FROM entry ORDER BY seq{newest}) ORDER BY seq"
        try:
            for row in self._db.query(query):
                yield _entry(row)
        except (sqlite3.Error, ValueError) as exc:
            raise self._damaged(exc) from exc

    def get(self, seq: int) -> Entry | None:
        try:
            rows = list(self._db.query("SELECT * FROM entry WHERE seq = ?", [seq]))
            return _entry(rows[0]) if rows else None
        except (sqlite3.Error, ValueError) as exc:
            raise self._damaged(exc) from exc

    def fault(self) -> str | None:
        """Where the log first breaks, or None. Raises: AuditError when it cannot be read."""
        try:
            return first_fault(self.entries())
        except ValueError as exc:  # a body that has no canonical form
            raise self._damaged(exc) from exc

    def image_mark(self, sha256: str) -> str:
        return hmac.digest(self._key, sha256.encode(), "sha256").hex()

    def close(self) -> None:
        self._db.conn.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _last(self) -> Entry | None:
        rows = list(self._db.query("SELECT * FROM entry ORDER BY seq DESC LIMIT 1"))
        return _entry(rows[0]) if rows else None

    def _unwritable(self, cause: Exception) -> AuditError:
        return AuditError(
            f"the audit log cannot be written ({cause}): {self.path}",
            "free disk space and check the folder's permissions; nothing is shown unrecorded",
        )

    def _damaged(self, cause: Exception) -> AuditError:
        return AuditError(
            f"the audit log is damaged ({cause}): {self.path}",
            "keep the file as it is and tell the person who keeps the log",
        )


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA synchronous = EXTRA")
    return connection


def _image_key(path: Path) -> bytes:
    """The machine's key, made whole on first use; 32 bytes, readable by its owner only."""
    if not path.exists():
        descriptor, partial = tempfile.mkstemp(dir=path.parent)  # mode 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first: its key counts
            os.link(partial, path)
        Path(partial).unlink()
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise OSError(f"the image key is damaged: {path}")
    return key


def _entry(row: Mapping[str, Any]) -> Entry:
    """Raises: ValueError when the body's text is not what `append` writes: the hash covers what
    the text means, so another text of the same meaning must not pass."""
    body = json.loads(row["body"])
    if not isinstance(body, dict) or _body_text(body) != row["body"]:
        raise ValueError(f"entry {row['seq']} is not as it was written")
    return Entry(**{**row, "body": body})


def _body_text(body: Mapping[str, Any]) -> str:
    return json.dumps(dict(body), ensure_ascii=False)
