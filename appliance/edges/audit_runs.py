"""Which openings of the log are alive, so that the next one finds those that died.

Each holds a locked file named after it in `running`; the system drops the lock of a process that
dies, whatever killed it, and the file stays. Needs `flock`: Linux, macOS.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from appliance.private_files import sync_folder


class Run:
    """One opening of the log for writing."""

    def __init__(self, log_folder: Path, newest: int) -> None:
        """Call in one's turn. Raises: OSError."""
        self.name = secrets.token_hex(4)
        folder = log_folder / "running"
        self._path = folder / self.name
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            os.write(self._descriptor, str(newest).encode())
            os.fsync(self._descriptor)
            sync_folder(folder)
        except OSError:
            self.end(is_clean=True)  # it never began: no crash for the next to find
            raise

    def end(self, *, is_clean: bool) -> None:
        """Unless clean, the file stays for the next opening to find."""
        try:
            if is_clean:
                self._path.unlink()
                sync_folder(self._path.parent)
        finally:
            os.close(self._descriptor)


class Turn:
    """Where all who use a log wait for one another: SQLite's own wait is by polling, by which one
    busy writer keeps the others out until it is done.

    Two locks, that of the log's folder (who is next) and that of `running` (whose turn it is):
    with one alone who lets go takes it again before any who wait wake up. May be entered again by
    who is in it. On a medium where nobody ever wrote there is nothing to wait for.
    """

    def __init__(self, log_folder: Path) -> None:
        """Raises: OSError."""
        self._depth = 0
        self._locks: list[int] = []
        if (log_folder / "running").is_dir():
            try:
                for folder in (log_folder, log_folder / "running"):
                    self._locks.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
            except OSError:
                self.close()
                raise

    def __enter__(self) -> None:
        if self._depth == 0 and self._locks:
            following, turn = self._locks
            fcntl.flock(following, fcntl.LOCK_EX)
            try:
                fcntl.flock(turn, fcntl.LOCK_EX)
            finally:
                fcntl.flock(following, fcntl.LOCK_UN)
        self._depth += 1

    def __exit__(self, *failure: object) -> None:
        self._depth -= 1
        if self._depth == 0 and self._locks:
            fcntl.flock(self._locks[1], fcntl.LOCK_UN)

    def close(self) -> None:
        for lock in self._locks:
            os.close(lock)


def dead_runs(log_folder: Path) -> Iterator[tuple[str, int]]:
    """Name of each run that died, and the newest entry when it began. Call in one's turn.

    Its file is removed when the caller asks for the next, so after it was recorded.
    """
    for path in sorted((log_folder / "running").glob("*")):
        if not _is_alive(path):
            content = path.read_bytes()
            yield path.name, int(content) if content.isdigit() else 0
            path.unlink()


def live_runs(log_folder: Path) -> int:
    """How many processes have the log open for writing."""
    return sum(_is_alive(path) for path in (log_folder / "running").glob("*"))


def _is_alive(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # it ended while we looked
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
