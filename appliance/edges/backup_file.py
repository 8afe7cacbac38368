"""What is in a backup: a sealed tar, whose last member, the manifest, names every other file with
size and SHA-256, and the log's checkpoint. Reading and proving it; knows nothing of where its files
come from or go to.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from appliance.config import SETTINGS_FILE
from appliance.core.checkpoint import read_checkpoint
from appliance.edges.sealed_file import SealedReader
from appliance.errors import BackupError

MANIFEST = "manifest.json"
BY_HAND = ("rules", SETTINGS_FILE, "keys.toml")
"""Of a home, what people write: rules of treatment, settings, and keys of the screen."""
MOST_MANIFEST_BYTES = 64 << 20
FORMAT = 1
BLOCK = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself."""

    format: int
    at: str
    """UTC, ISO 8601."""
    version: str
    """Of the appliance."""
    checkpoint: str
    """Of the log as it is in the backup: a signed note."""
    releases: list[dict[str, str]]
    """Name and sha256 of those on the machine."""
    files: dict[str, dict[str, Any]]
    """`size_bytes` and `sha256` by path."""

    @property
    def entries(self) -> int:
        return read_checkpoint(self.checkpoint).size

    @property
    def size_bytes(self) -> int:
        return sum(int(file["size_bytes"]) for file in self.files.values())


@contextmanager
def open_backup(file: Path, passphrase: str) -> Iterator[SealedReader]:
    """Raises: BackupError, also when the passphrase is not the one."""
    try:
        with file.open("rb") as opened:
            yield SealedReader(opened, passphrase, str(file))
    except FileNotFoundError as exc:
        raise BackupError(f"no such file: {file}", "check the path") from exc
    except OSError as exc:
        raise BackupError(
            f"the backup cannot be read ({exc.strerror}): {file}",
            "check the stick and the file's permissions",
        ) from exc


def read_through(backup: SealedReader, file: Path) -> Manifest:
    """Every byte, against the seal and the manifest; nothing is written. Raises: BackupError."""
    found: dict[str, dict[str, Any]] = {}
    manifest = None
    for name, member in members(backup, file):
        if name == MANIFEST:
            manifest = _manifest(member.read(MOST_MANIFEST_BYTES), file)
        else:
            found[name] = _facts(member)
    if manifest is None or found != manifest.files:
        raise foreign(file)
    return manifest


def members(backup: SealedReader, file: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """From the beginning: each file's path, relative and below where it is put, and its content,
    to be read before the next is asked for. Raises: BackupError."""
    backup.rewind()
    try:
        with tarfile.open(fileobj=backup, mode="r|") as tar:  # type: ignore[call-overload]
            for member in tar:
                parts = member.name.split("/")
                content = tar.extractfile(member) if member.isreg() else None
                if content is None or any(part in ("", ".", "..") for part in parts):
                    raise foreign(file)
                yield member.name, content
    except tarfile.TarError as exc:
        raise foreign(file) from exc
    while backup.read(BLOCK):
        pass


def foreign(file: Path) -> BackupError:
    return BackupError(
        f"what is in the backup is not what this appliance writes: {file}",
        "restore it with the version of the appliance that made it",
    )


def _facts(content: IO[bytes]) -> dict[str, Any]:
    digest, size_bytes = hashlib.sha256(), 0
    while block := content.read(BLOCK):
        digest.update(block)
        size_bytes += len(block)
    return {"size_bytes": size_bytes, "sha256": digest.hexdigest()}


def _manifest(encoded: bytes, file: Path) -> Manifest:
    try:
        manifest = Manifest(**json.loads(encoded))
        if manifest.format != FORMAT:
            raise ValueError
        read_checkpoint(manifest.checkpoint)
    except (ValueError, TypeError) as exc:
        raise foreign(file) from exc
    return manifest
