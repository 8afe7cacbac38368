"""Backups: log, cases, accounts, guidelines, rules and settings in one sealed file, made in use.

Databases are copied by SQLite, the index under its own lock, into a private folder of the home;
from there everything is streamed. The file is written aside, read back from the medium, and only
then has its name.
"""

import errno
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from appliance import __version__
from appliance.config import HOME_VARIABLE, Config, load_config
from appliance.edges.audit_aside import CHECKPOINT_FILE, JOURNALS, LOG_FILE
from appliance.edges.audit_db import AuditDatabase
from appliance.edges.audit_sqlite import connect
from appliance.edges.backup_file import (
    BY_HAND,
    FORMAT,
    MANIFEST,
    Manifest,
    open_backup,
    read_through,
)
from appliance.edges.guidelines import copy_guidelines
from appliance.edges.sealed_file import Cost, SealedWriter
from appliance.errors import BackupError, ConfigError
from appliance.private_files import make_private_folder, sync_folder
from cpg_store.manifest import MANIFEST as INDEX_MANIFEST

ENDING = ".backup"
STAGING = ".backup-"
"""Begins the name of the folder in which a backup is made ready."""
MOST_ON_FAT = (1 << 32) - 1
"""Bytes of one file on FAT32 (Microsoft, FAT32 File System Specification 1.03)."""
FAT = ("vfat", "msdos")
READ_BACK_HINT = "the stick or disk is failing: use another one"


@dataclass(frozen=True)
class Backup:
    file: Path
    size_bytes: int
    manifest: Manifest


def make_backup(
    config: Config,
    log: AuditDatabase,
    out: Path,
    passphrase: str,
    at: str,
    releases: Sequence[tuple[str, str, Path | None]],
    cost: Cost | None = None,
) -> Backup:
    """`out`: a folder, or the new file. `releases`: name, sha256, and the folder where its files
    are to be in the backup.

    Raises: ConfigError when `out` is there, BackupError, GuidelineError, AuditError.
    """
    if out.is_dir():
        out /= at.partition(".")[0].replace(":", "").replace("T", "-") + ENDING
    if out.exists():
        raise ConfigError(f"it is there already: {out}", "name a file that does not exist yet")
    with _writing(out), _staging(config.home) as staging:
        checkpoint = _stage(config, log, staging)
        files = _gathered(config, staging, releases)
        refuse_small(out, sum(path.stat().st_size for path in files.values()))
        known = [{"name": name, "sha256": sha256} for name, sha256, _ in releases]
        said = Manifest(FORMAT, at, __version__, checkpoint, known, {})
        with _aside(out) as partial:
            manifest = _seal(partial, passphrase, cost or Cost(), said, files)
            with open_backup(partial, passphrase) as backup:
                if read_through(backup, partial) != manifest:
                    raise BackupError(f"it was not written as it is: {out}", READ_BACK_HINT)
    return Backup(out, out.stat().st_size, manifest)


def refuse_small(out: Path, size_bytes: int) -> None:
    """Raises: BackupError when the medium cannot take a file so large."""
    folder = out.absolute().parent
    if not folder.is_dir():
        raise BackupError(f"no such folder: {folder}", "check the path, or plug the stick in")
    if size_bytes > MOST_ON_FAT and file_system(folder) in FAT:
        raise BackupError(
            f"the backup will have {size_bytes:,} bytes, and a file on FAT32 at most"
            f" {MOST_ON_FAT:,}: {folder}",
            "format the stick as exFAT or ext4, or leave the releases out",
        )
    if size_bytes > (free := shutil.disk_usage(folder).free):
        raise BackupError(
            f"the backup will have {size_bytes:,} bytes, and only {free:,} are free: {folder}",
            "make room there, or use a larger stick",
        )


def file_system(folder: Path, mounts: str | None = None) -> str:
    """As Linux names it; empty where that is not known. `mounts`: text of proc(5), mountinfo."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        except OSError:
            return ""
    best, kind = "", ""
    for line in mounts.splitlines():
        place, _, of_kind = line.partition(" - ")
        point = place.split(" ")[4].encode().decode("unicode_escape")
        if folder.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, of_kind.split(" ")[0]
    return kind


def copy_database(source: Path, target: Path) -> None:
    """By SQLite's backup, while others write to it. Raises: sqlite3.Error, OSError."""
    target.touch(mode=0o600)
    with (
        closing(connect(source, read_only=True)) as original,
        closing(connect(target)) as copy,
    ):
        original.backup(copy)


@contextmanager
def _staging(home: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=home, prefix=STAGING))  # mode 0700
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """A file to write, which has the name `out` once it is whole."""
    partial = out.with_name(out.name + ".partial")
    partial.unlink(missing_ok=True)  # of one that was killed
    try:
        yield partial
        partial.rename(out)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(out.absolute().parent)


def _stage(config: Config, log: AuditDatabase, staging: Path) -> str:
    """Copy all that is written to; the log last, so that it has an entry for every case. Gives the
    checkpoint of the log's copy."""
    for folder in (config.cases_folder, config.users_folder):
        for name, path in _files(folder):
            target = staging / folder.name / name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.suffix == ".db":
                copy_database(path, target)
            else:
                shutil.copyfile(path, target)
    for name in BY_HAND:
        if (config.home / name).is_dir():
            shutil.copytree(config.home / name, staging / name)
        elif (config.home / name).exists():
            shutil.copyfile(config.home / name, staging / name)
    # The set that these settings name, whichever is put in use meanwhile.
    named = load_config({HOME_VARIABLE: str(staging)}, {}).guidelines
    config = replace(config, guidelines=named)
    for index in {config.own_index, config.index_folder}:
        if not config.index_server and (index / INDEX_MANIFEST).exists():
            make_private_folder((staging / index.relative_to(config.home)).parent)
            copy_guidelines(index, staging / index.relative_to(config.home))
    for path in config.index_folder.parent.glob("*.json") if config.guidelines else ():
        make_private_folder((staging / path.relative_to(config.home)).parent)
        shutil.copyfile(path, staging / path.relative_to(config.home))
    target = staging / "log"
    target.mkdir(mode=0o700)
    checkpoint = log.sign("export")
    copy_database(config.log_folder / LOG_FILE, target / LOG_FILE)
    (target / CHECKPOINT_FILE).write_text(checkpoint, encoding="utf-8")
    for key in sorted(config.log_folder.glob("*.key")):
        shutil.copyfile(key, target / key.name)
    return checkpoint


def _gathered(
    config: Config, staging: Path, releases: Sequence[tuple[str, str, Path | None]]
) -> dict[str, Path]:
    """All that goes into the backup, by the path it has there."""
    files = dict(_files(staging))
    for kept in ("archive", "set-aside"):  # never written to again
        found = _files(config.log_folder / kept)
        files |= {f"log/{kept}/{name}": path for name, path in found}
    for release, _, folder in releases:
        found = _files(folder) if folder else iter(())
        files |= {f"releases/{release}/{name}": path for name, path in found}
    return files


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """All files below a folder by their path in it, but for those in the making and journals."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        is_ours = not any(part.startswith(".") for part in name.parts)
        if is_ours and path.is_file() and not path.name.endswith(JOURNALS):
            yield name.as_posix(), path


def _seal(
    partial: Path, passphrase: str, cost: Cost, said: Manifest, files: dict[str, Path]
) -> Manifest:
    """Write all of it to the disk; what was said, with the files that were written."""
    # Made private at once: FAT refuses to have that changed.
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        sealed = SealedWriter(file, passphrase, cost)
        facts: dict[str, dict[str, Any]] = {}
        with tarfile.open(fileobj=sealed, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            for name, path in files.items():
                with path.open("rb") as content:
                    size_bytes = os.fstat(content.fileno()).st_size
                    hashing = _Hashing(content)
                    tar.addfile(_member(name, size_bytes), hashing)
                facts[name] = {"size_bytes": size_bytes, "sha256": hashing.digest.hexdigest()}
            manifest = replace(said, files=facts)
            encoded = json.dumps(vars(manifest)).encode()
            tar.addfile(_member(MANIFEST, len(encoded)), io.BytesIO(encoded))
        sealed.finish()
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):  # what is read back is to come from the medium
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return manifest


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size_bytes, 0o600
    return member


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise BackupError(
            f"the backup cannot be made ({exc})", "free disk space, then run `appliance doctor`"
        ) from exc
    except OSError as exc:
        hint = "check the stick and the folder's permissions"
        if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            hint = "make room on the stick and on the box's own disk, or use a larger stick"
        raise BackupError(
            f"the backup cannot be written ({exc.strerror or exc}): {out}", hint
        ) from exc
