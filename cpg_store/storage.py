"""Files that must survive: what a failing disk is called, writing through to it, closing to others.

It knows nothing of what the files hold.
"""

import errno
import os
import re
import sqlite3
from pathlib import Path

from cpg_store.errors import CpgStoreError, IndexDamaged, StorageFailed, VectorsDamaged

REBUILD = "move the index directory away and add the documents again"
REMAKE = "rebuild the index: its vectors are made anew from its catalogue"

_FULL = "free some disk space, then try again"
_CLOSED = "make the disk and the index directory writable, then try again"
_FAILING = "check the disk and its free space, then try again"
_BUSY = "wait until the other process has finished, then try again"
_SQLITE_HINTS = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _CLOSED,
    sqlite3.SQLITE_CANTOPEN: _CLOSED,
    sqlite3.SQLITE_PERM: _CLOSED,
    sqlite3.SQLITE_IOERR: _FAILING,
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
}
_SYSTEM_HINTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: _CLOSED,
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.EIO: _FAILING,
}
_CHROMA_SQLITE_CODE = re.compile(r"\(code: (\d+)\)")
_CHROMA_SYSTEM_CODE = re.compile(r"\(os error (\d+)\)")


def failure(exc: Exception, what: str, place: object) -> CpgStoreError:
    """The error a person reads: of the disk where `exc` says so, else of a damaged index.

    Takes errors of sqlite3, of the system, and of Chroma, which only writes their numbers in words.
    """
    hint = _storage_hint(exc)
    if hint:
        return StorageFailed(f"{what} cannot be used ({exc}): {place}", hint)
    return IndexDamaged(f"{what} is damaged ({exc}): {place}", REBUILD)


def vectors_failure(exc: Exception, place: object) -> CpgStoreError:
    """The same for the vectors, which the catalogue can replace."""
    found = failure(exc, "the vector index", place)
    return VectorsDamaged(found.message, REMAKE) if isinstance(found, IndexDamaged) else found


def _storage_hint(exc: Exception) -> str | None:
    if isinstance(exc, OSError):
        return _SYSTEM_HINTS.get(exc.errno or 0)
    code = getattr(exc, "sqlite_errorcode", None)
    if code is None and (written := _CHROMA_SQLITE_CODE.search(str(exc))):
        code = int(written[1])
    if code is not None:
        return _SQLITE_HINTS.get(code & 0xFF)
    written = _CHROMA_SYSTEM_CODE.search(str(exc))
    return _SYSTEM_HINTS.get(int(written[1])) if written else None


def write_through(folder: Path) -> None:
    """Have the disk take every file under `folder`, and the folders themselves."""
    for name, _, files in os.walk(folder):
        for place in (*(Path(name, file) for file in files), Path(name)):
            _sync(place)


def replace_file(path: Path, text: str) -> None:
    """Write a file aside, and put it in place by one rename that the disk has taken."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.chmod(0o600)
    _sync(partial)
    partial.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def copy_database(source: Path, target: Path) -> None:
    """By SQLite: others may have it open. Raises: sqlite3.Error."""
    original = sqlite3.connect(f"file:{source}?mode=ro", uri=True)
    copy = sqlite3.connect(target)
    try:
        original.backup(copy)
    finally:
        original.close()
        copy.close()


def refuse_own_acts(database: sqlite3.Connection, place: object) -> None:
    """Refuse a database with triggers or views, which none of ours has: whatever is written to it
    or read from it could then do more (sqlite.org/security.html, 1.2).

    Raises: IndexDamaged, sqlite3.Error.
    """
    query = "SELECT count(*) FROM sqlite_master WHERE type IN ('trigger', 'view')"
    if database.execute(query).fetchone()[0]:
        raise IndexDamaged(
            f"the index holds triggers or views, which are not ours: {place}", REBUILD
        )


def make_private(directory: Path) -> None:
    """Close a directory and all in it to other users."""
    directory.chmod(0o700)
    for folder, folders, files in os.walk(directory):
        for name in folders:
            Path(folder, name).chmod(0o700)
        for name in files:
            Path(folder, name).chmod(0o600)
