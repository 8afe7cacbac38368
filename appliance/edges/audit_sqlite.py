"""How the log's SQLite database is opened, and what is in it.

Rollback journal with synchronous EXTRA: what was committed survives a power cut (see
tests/benchmarks/record_power.py, which also shows that WAL with NORMAL loses entries). Never WAL
on a SQLite before 3.51.3: two writers can corrupt the database (sqlite.org/wal.html, the WAL
reset bug).
"""

import sqlite3
from pathlib import Path

WAIT_S = 30
"""How long one writer waits for another."""
FIRST_SOUND_WAL = (3, 51, 3)

SCHEMA = (
    # One row. The origin names the log: it holds the hash of its first entry.
    "CREATE TABLE log (origin TEXT NOT NULL, public_key BLOB NOT NULL) STRICT",
    # `text` is canonical JSON, NULL once archived; `hashes` the roots of the subtrees of the
    # Merkle tree that the entry completes, from its leaf hash up: two on average.
    "CREATE TABLE entry (seq INTEGER PRIMARY KEY, text TEXT, hashes BLOB NOT NULL) STRICT",
    "CREATE TABLE checkpoint (number INTEGER PRIMARY KEY, size INTEGER NOT NULL, at TEXT NOT NULL,"
    " why TEXT NOT NULL, note TEXT NOT NULL) STRICT",
    "CREATE TABLE archive (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, folder TEXT NOT NULL,"
    " sha256 TEXT NOT NULL) STRICT",
    *(
        f"CREATE TRIGGER {table}_not_deleted BEFORE DELETE ON {table}"
        " BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END"
        for table in ("log", "entry", "checkpoint", "archive")
    ),
    *(
        f"CREATE TRIGGER {table}_not_updated BEFORE UPDATE ON {table}"
        " BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END"
        for table in ("log", "checkpoint", "archive")
    ),
    "CREATE TRIGGER entry_not_updated BEFORE UPDATE ON entry WHEN NOT"
    " (NEW.seq = OLD.seq AND NEW.hashes = OLD.hashes AND NEW.text IS NULL AND EXISTS"
    " (SELECT 1 FROM archive WHERE OLD.seq BETWEEN first AND last))"
    " BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END",
)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a database that is there. Raises: sqlite3.Error, OSError."""
    if is_wal(path) and sqlite3.sqlite_version_info < FIRST_SOUND_WAL:
        raise sqlite3.DatabaseError(
            f"another program set it to WAL mode, which SQLite {sqlite3.sqlite_version} can corrupt"
        )
    # Also to read: a write that a crash left half done is rolled back. On a medium that cannot
    # be written SQLite itself falls back to reading.
    uri = path.absolute().as_uri() + "?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=WAIT_S, isolation_level=None)
    try:
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA synchronous = EXTRA")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def tables(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    return {name for (name,) in rows}


def is_chain(connection: sqlite3.Connection) -> bool:
    """Whether it is a log of the first format: each entry names the hash of the one before."""
    columns = connection.execute("SELECT name FROM pragma_table_info('entry')")
    return "previous" in {name for (name,) in columns}


def is_wal(path: Path) -> bool:
    """Raises: OSError."""
    with path.open("rb") as file:  # sqlite.org/fileformat.html: read and write version, 2 is WAL
        return b"\x02" in file.read(20)[18:20]
