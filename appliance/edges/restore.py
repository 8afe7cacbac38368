"""Putting a backup in place: all of it is proved before anything is touched.

It is unpacked beside what is there, its log is proved against the backup's own checkpoint, and
then folders change places by renaming, the log last. What was there is set aside, never deleted;
a switch that a crash cut short is done by restoring once more, and until then no log is begun
where one may have been. A restored log goes on from the entry it was backed up at: where the
original goes on, too, there are two logs of one name, and every checkpoint made of the original
after the backup shows it.
"""

import os
import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from appliance.config import HOME_VARIABLE, load_config
from appliance.core.checkpoint import read_checkpoint
from appliance.core.log_check import Witness
from appliance.edges.audit_aside import CHECKPOINT_FILE, LOG_FILE, UNPACKING
from appliance.edges.audit_reader import AuditReader
from appliance.edges.audit_runs import Turn, live_runs
from appliance.edges.backup_file import (
    BLOCK,
    BY_HAND,
    Manifest,
    foreign,
    members,
    open_backup,
    read_through,
)
from appliance.edges.sealed_file import SealedReader
from appliance.errors import AuditError, BackupError, ConfigError
from appliance.private_files import make_private_folder, sync_folder

SET_ASIDE = "before-restore-"
"""Begins the name of the folder with what was there before."""
PARTS = ("cases", "users", "index", "guidelines", *BY_HAND, "log")
"""Of the home, in the order in which they change places."""
RELEASES = "releases"
"""Each of these changes places alone: the others may be in no backup."""


@dataclass(frozen=True)
class Restored:
    manifest: Manifest
    entries: int
    """Of the log that was put in place."""
    set_aside: Path | None
    """What was there before; None where there was nothing."""


def restore_backup(
    file: Path, passphrase: str, home: Path, at: str, *, replaces: bool = False
) -> Restored:
    """Put a backup in place of what `home` holds. With `replaces` also where the log there has
    entries that the backup lacks.

    Raises: BackupError, and nothing is changed; AuditError when another program has the log open.
    """
    with open_backup(file, passphrase) as backup:
        manifest = read_through(backup, file)
        if not replaces:
            _refuse_newer(home / "log", manifest)
        try:
            make_private_folder(home)
            _refuse_full(home, manifest)
            unpacked = Path(tempfile.mkdtemp(dir=home, prefix=UNPACKING))  # mode 0700
            try:
                _unpack(backup, file, unpacked)
                entries = _prove(unpacked / "log", manifest, file)
                _refuse_unusable_settings(unpacked, manifest)
                aside = home / (SET_ASIDE + at.partition(".")[0].replace(":", "-"))
                _switch(unpacked, home, aside)
            finally:
                shutil.rmtree(unpacked)
        except OSError as exc:
            raise BackupError(
                f"the backup cannot be restored ({exc.strerror or exc}): {home}",
                "make room, and check the folder's permissions; what was there is still there",
            ) from exc
    return Restored(manifest, entries, aside if aside.exists() else None)


def _refuse_newer(log: Path, manifest: Manifest) -> None:
    """Raises: BackupError when the log that is there may have what the backup lacks."""
    if not (log / LOG_FILE).exists() and not (log / CHECKPOINT_FILE).exists():
        return
    try:
        with AuditReader(log) as present:
            size, origin = present.size(), present.origin
    except AuditError as exc:
        problem = f"the log here cannot be read, so it may be newer than the backup: {log}"
        raise BackupError(problem, _REPLACE) from exc
    said = read_checkpoint(manifest.checkpoint)
    if origin != said.origin:
        problem = f"the log here is another one, with {size} entries: {log}"
    elif size > said.size:
        problem = f"the log here has {size - said.size} entries that the backup lacks: {log}"
    else:
        return
    raise BackupError(problem, _REPLACE)


_REPLACE = "restore with --replace: the log that is here is then set aside, not deleted"


def _refuse_full(home: Path, manifest: Manifest) -> None:
    if manifest.size_bytes > (free := shutil.disk_usage(home).free):
        raise BackupError(
            f"the backup holds {manifest.size_bytes:,} bytes, and only {free:,} are free: {home}",
            "make room; nothing was changed",
        )


def _unpack(backup: SealedReader, file: Path, folder: Path) -> None:
    """Every file to the disk. Raises: BackupError, OSError."""
    for name, content in members(backup, file):
        target = folder / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as written:
            shutil.copyfileobj(content, written, BLOCK)
            written.flush()
            os.fsync(written.fileno())
    for place, _, _ in os.walk(folder):
        Path(place).chmod(0o700)
        sync_folder(Path(place))


def _prove(log: Path, manifest: Manifest, file: Path) -> int:
    """How many entries the log has, which all hold. Raises: BackupError."""
    said = read_checkpoint(manifest.checkpoint)
    try:
        with AuditReader(log) as reader:
            if reader.origin != said.origin:
                raise foreign(file)
            found = reader.verify([Witness(said.size, "backup's checkpoint", said.root)])
    except AuditError as exc:
        raise foreign(file) from exc
    if found.fault:
        raise BackupError(
            f"the log in the backup is broken, and was so when it was made: {found.fault}",
            "use an older backup; nothing was changed",
        )
    return found.entries


def _refuse_unusable_settings(unpacked: Path, manifest: Manifest) -> None:
    """Raises: BackupError when this program would not start with them."""
    try:
        load_config({HOME_VARIABLE: str(unpacked)}, {})
    except ConfigError as exc:
        raise BackupError(
            f"the backup's settings cannot be used here: {exc.message}",
            f"restore it with the appliance's version {manifest.version}; nothing was changed",
        ) from exc


def _switch(unpacked: Path, home: Path, aside: Path) -> None:
    """Raises: OSError, and everything is where it was; AuditError."""
    moves = [(home / part, aside / part, unpacked / part) for part in PARTS]
    for one in sorted((unpacked / RELEASES).glob("*")):
        place = one.relative_to(unpacked)
        moves.insert(0, (home / place, aside / place, one))
    log = home / "log"
    done: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        make_private_folder(target.parent)
        source.rename(target)
        sync_folder(source.parent)
        sync_folder(target.parent)
        done.append((source, target))

    with closing(Turn(log)) as turn, turn:
        if live_runs(log):
            raise AuditError(
                f"another program has the audit log open: {log}",
                "close every other window of the appliance, then try again",
            )
        try:
            for present, kept, restored in moves:
                if present.exists():
                    move(present, kept)
                if restored.exists():
                    move(restored, present)
        except OSError:
            for source, target in reversed(done):
                target.rename(source)
            raise
