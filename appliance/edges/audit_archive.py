"""Retention: the oldest entries leave the database for a folder that proves itself.

An archive is an export of the log's oldest entries in JSON Lines, kept in `archive` under the
log's folder (it may be carried elsewhere). The database keeps their hashes, so the log still
proves itself, and them, against every checkpoint, old ones too. Nothing is deleted: a text leaves
the database only after its archive is on disk and was read back.
"""

import hashlib
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from appliance.audit_export.folder import write_export
from appliance.audit_export.selection import Selection
from appliance.core.merkle import HASH_BYTES, leaf_hash
from appliance.edges.audit_db import AuditDatabase
from appliance.edges.audit_reader import ENTRIES_FILE
from appliance.errors import AuditError
from appliance.private_files import make_private_folder, sync_folder


@dataclass(frozen=True)
class Archive:
    folder: Path
    first: int
    last: int


def archive_log(log: AuditDatabase, before: datetime) -> Archive | None:
    """Archive the entries that are older than `before`, up to the first that is not; None when
    there are none. Raises: AuditError; the database then still has all it had.
    """
    first = last = log.archived() + 1
    for entry in log.entries(first):
        last = entry.seq
        if datetime.fromisoformat(entry.at) >= before:
            break
    if first == last:
        return None
    last -= 1
    log.append("log.archive.asked", {"before": before.isoformat()})
    # Named after the log, too: beside it lie the archives of logs that were set aside.
    name = f"{first:09}-{last:09}-{log.origin.rpartition('/')[2]}"
    folder = log.folder / "archive" / name
    try:
        make_private_folder(folder.parent)
        partial = folder.parent / f".{folder.name}"
        for leftover in (partial, folder):  # of a crash: the database still has these texts
            if leftover.exists():
                shutil.rmtree(leftover)
        partial.mkdir(mode=0o700)
        write_export(partial, log, log.sign("archive"), "jsonl", log.rows(first, last), Selection())
        digest = _read_back(log, partial / ENTRIES_FILE, first, last)
        partial.rename(folder)
        sync_folder(folder.parent)
    except OSError as exc:
        raise AuditError(
            f"the archive cannot be written ({exc}): {folder}",
            "free disk space; every entry is still in the log",
        ) from exc
    log.archive(first, last, folder.name, digest)
    return Archive(folder, first, last)


def _read_back(log: AuditDatabase, path: Path, first: int, last: int) -> str:
    """SHA-256 of the archive's entries, which are those of the log. Raises: OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for row in log.rows(first, last):
            line = file.readline()
            digest.update(line)
            if leaf_hash(line.removesuffix(b"\n")) != row.hashes[:HASH_BYTES]:
                raise OSError(f"entry {row.seq} was not written as it is")
        if file.read(1):
            raise OSError("more was written than the log has")
    return digest.hexdigest()
