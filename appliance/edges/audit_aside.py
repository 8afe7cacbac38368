"""Logs that are no longer written: set aside whole, under a date, and named by the log after.

Setting aside is a person's act (`appliance audit set-aside`), never the program's own: a log that
cannot be read may be a disk or a mount that will be back in a minute, damage may be the trace of
a crime, and whoever damages a log must not be rewarded with a clean one that nobody asked for.
Until it is done every command that would write ends with exit code 4. The one exception is a log
of the first format (a hash chain): the first writing command sets it aside as it is.
"""

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import rfc8785

from appliance.edges.audit_runs import Turn, live_runs
from appliance.edges.audit_sqlite import is_chain, tables
from appliance.errors import AuditError, AuditMissingError
from appliance.private_files import make_private_folder, sync_folder, write_private_file

LOG_FILE = "audit.db"
JOURNALS = ("-journal", "-wal", "-shm")
CHECKPOINT_FILE = "checkpoint"
"""The newest checkpoint, kept beside the database."""
REASON_FILE = "reason"
KEY_FILE = "signing.key"
UNPACKING = ".restore-"
"""Begins the name of the folder, beside the log's, in which a backup is unpacked."""


def set_aside(folder: Path, at: str, reason: str) -> Path:
    """Move the log of `folder` into `set-aside/DATE`. Call in one's turn. Raises: OSError."""
    date = at.partition(".")[0].replace(":", "-")
    place = folder / "set-aside" / date
    make_private_folder(place.parent)
    place.mkdir(mode=0o700)
    try:
        write_private_file(place / REASON_FILE, reason.encode())
    except OSError:
        place.rmdir()
        raise
    for name in (*(LOG_FILE + ending for ending in JOURNALS), LOG_FILE, CHECKPOINT_FILE):
        if (folder / name).exists():
            (folder / name).rename(place / name)
    sync_folder(place)
    sync_folder(folder)
    return place


def set_aside_by_hand(
    folder: Path, at: str, reason: str = "damaged", *, with_key: bool = False
) -> Path:
    """As a person asked; `with_key`: the key that signed it is deleted, so that the next log has
    another. Raises: AuditMissingError when there is nothing, AuditError."""
    if not (folder / LOG_FILE).exists() and not (folder / CHECKPOINT_FILE).exists():
        raise AuditMissingError(f"there is no audit log: {folder}", "there is nothing to set aside")
    try:
        with closing(Turn(folder)) as turn, turn:
            if live_runs(folder):
                raise AuditError(
                    f"another program has the audit log open: {folder}",
                    "close every other window of the appliance, then try again",
                )
            place = set_aside(folder, at, reason)
            if with_key:
                (folder / KEY_FILE).unlink()
                sync_folder(folder)
            return place
    except OSError as exc:
        raise AuditError(
            f"the audit log cannot be set aside ({exc}): {folder}",
            "check the folder's permissions; nothing was deleted",
        ) from exc


def log_before(folder: Path) -> dict[str, Any] | None:
    """What the first entry of a new log says of the one set aside last; None if there is none.

    Raises: OSError.
    """
    places = sorted((folder / "set-aside").glob("*"))
    if not places:
        return None
    place = places[-1]
    facts: dict[str, Any] = {"folder": place.name, "files": {}}
    for path in sorted(place.iterdir()):
        if path.name == REASON_FILE:
            facts["reason"] = path.read_text(encoding="utf-8")
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        facts["files"][path.name] = {"size_bytes": path.stat().st_size, "sha256": digest}
        if path.name == CHECKPOINT_FILE:
            facts["checkpoint"] = path.read_text(encoding="utf-8", errors="replace")
    if LOG_FILE in facts["files"]:
        facts |= _counted(place / LOG_FILE)
    return facts


def changed_since(folder: Path, facts: dict[str, Any]) -> str | None:
    """The first file of a log set aside that is not as its facts say; None when all are.

    A folder that was carried elsewhere whole is no fault.
    """
    place = folder / "set-aside" / facts["folder"]
    if not place.is_dir():
        return None
    for name, fact in facts["files"].items():
        try:
            with (place / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return f"{place / name} is gone"
        if digest != fact["sha256"]:
            return f"{place / name} was changed"
    return None


def _counted(path: Path) -> dict[str, Any]:
    """How many entries a database set aside holds and the hash of its last, if it can be read.

    Read through `immutable`: nothing of it is touched, not even a half-done write rolled back.
    """
    uri = path.absolute().as_uri() + "?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            if is_chain(connection):
                return _chain_facts(connection)
            if "entry" not in tables(connection):
                return {"entries": 0}
            last = connection.execute("SELECT max(seq), hex(substr(hashes, 1, 32)) FROM entry")
            count, newest = last.fetchone()
            return {"entries": count or 0, "newest": newest.lower() if count else None}
    except sqlite3.Error as exc:
        return {"unreadable": str(exc)}


def _chain_facts(connection: sqlite3.Connection) -> dict[str, Any]:
    """Length, head and first fault of a log of the first format.

    There an entry's hash is SHA-256 over a tag and the entry in canonical JSON with `previous`,
    the hash of the entry before it, in it.
    """
    previous, count, fault = "0" * 64, 0, None
    rows = connection.execute("SELECT seq, at, kind, body, previous, hash FROM entry ORDER BY seq")
    for seq, at, kind, body, named, kept in rows:
        count += 1
        try:
            value = {"seq": seq, "at": at, "kind": kind, "body": json.loads(body)}
            canonical = rfc8785.dumps({**value, "previous": named})
        except ValueError:  # not JSON, or JSON that has no canonical form
            canonical = b""
        digest = hashlib.sha256(b"appliance audit entry 1\n" + canonical).hexdigest()
        if fault is None and (seq, named, kept) != (count, previous, digest):
            fault = f"the chain breaks at entry {count}"
        previous = kept
    return {"format": "chain", "entries": count, "newest": previous, "fault": fault}
