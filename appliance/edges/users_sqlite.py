"""The users database as a file: how it is opened, what is in it, how it is read and written.

Settings are those of the log (`audit_sqlite.connect`): a failed attempt that was counted stays
counted through a power cut.
"""

import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from appliance.core.entry import Moment
from appliance.edges.audit_sqlite import connect, tables
from appliance.errors import AccessError
from appliance.private_files import make_private_folder

SCHEMA = (
    "CREATE TABLE account (name TEXT PRIMARY KEY, role TEXT NOT NULL, hash TEXT NOT NULL,"
    " is_disabled INTEGER NOT NULL DEFAULT 0, must_change INTEGER NOT NULL) STRICT",
    # Of names that no account has, too, else a lock-out would tell which names there are.
    "CREATE TABLE attempt (who TEXT PRIMARY KEY, failures INTEGER NOT NULL, boot TEXT NOT NULL,"
    " until_up_ms INTEGER NOT NULL, until_at TEXT NOT NULL) STRICT",
    "CREATE TABLE session (terminal TEXT PRIMARY KEY, account TEXT NOT NULL,"
    " until_up_ms INTEGER NOT NULL) STRICT",
    # One row: for the hashes of unknown names, and the hash of the recovery code in force.
    "CREATE TABLE machine (salt BLOB NOT NULL, code_hash TEXT NOT NULL) STRICT",
)

Execute = Callable[..., sqlite3.Cursor]
"""A statement and its values, within one transaction."""


class UsersFile:
    """`users.db` in its folder; not there until something is first written."""

    def __init__(self, folder: Path, now: Callable[[], Moment]) -> None:
        """Raises: AccessError when it is there and cannot be opened."""
        self.path = folder / "users.db"
        self._now = now
        self._connection: sqlite3.Connection | None = None
        with self._our_errors():
            if self.path.exists() and self.path.stat().st_size:
                self._open()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def _open(self) -> sqlite3.Connection:
        if self.path.stat().st_mode & 0o077:
            self.path.chmod(0o600)
        connection = connect(self.path)
        try:
            if not tables(connection):
                connection.execute("BEGIN IMMEDIATE")
                if not tables(connection):  # another process may have been first
                    for statement in SCHEMA:
                        connection.execute(statement)
                    salt = secrets.token_bytes(16)
                    connection.execute("INSERT INTO machine VALUES (?, '')", [salt])
                connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _read(self, statement: str, *values: Any) -> list[Any]:
        """All rows; none where there is no database yet."""
        if self._connection is None:
            return []
        with self._our_errors():
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[Execute]:
        """One transaction, committed to disk when it ends."""
        with self._our_errors():
            if self._connection is None:
                make_private_folder(self.path.parent)
                self.path.touch(mode=0o600)
            connection = self._connection or self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield lambda statement, *values: connection.execute(statement, values)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, ValueError) as exc:
            raise AccessError(
                f"the users database cannot be used ({exc}): {self.path}",
                "free disk space and check the folder's permissions; if it is damaged, put the"
                " newest backup of it back",
                code="users-database",
            ) from exc
