"""Files and folders that only their owner may read, whole or not there at all.

What these functions return from is on disk: the file's bytes and its name in the folder.
"""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

SECRET_BYTES = 32


def make_private_folder(folder: Path) -> Path:
    """The folder, made with all above it if need be, mode 0700. Raises: OSError."""
    if not folder.is_dir():
        if not folder.parent.exists():
            make_private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def sync_folder(folder: Path) -> None:
    """What was created, renamed or removed in `folder` stays so after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """What was written to it stays so after a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private_file(path: Path, content: bytes) -> None:
    """Written aside and renamed into place, mode 0600. Raises: OSError."""
    partial = _written_aside(path, content)
    partial.replace(path)
    sync_folder(path.parent)


def kept_secret(path: Path) -> bytes:
    """The 32 random bytes in a file, made on first use; two processes get the same.

    Raises: OSError.
    """
    if not path.exists():
        partial = _written_aside(path, secrets.token_bytes(SECRET_BYTES))
        with suppress(FileExistsError):  # another process was first: its secret counts
            os.link(partial, path)
        partial.unlink()
        sync_folder(path.parent)
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise OSError(f"the key is damaged: {path}")
    return secret


def _written_aside(path: Path, content: bytes) -> Path:
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=".")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        Path(partial).unlink()
        raise
    return Path(partial)
