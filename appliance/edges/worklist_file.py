"""The worklist on the disk: one small file, private, held against a second program.

It holds paths, which may name a patient; it is no part of the log. A change is on the disk when
`save` returns, and the file is whole at any moment: written aside and renamed.
"""

import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from appliance.core.worklist import Item, Worklist
from appliance.errors import ConfigError
from appliance.private_files import make_private_folder, write_private_file

NAME = "worklist.json"
HOLD = "in-use"


class WorklistFile:
    def __init__(self, folder: Path) -> None:
        """Raises: ConfigError when another program works on it, or it cannot be read."""
        self._path = folder / NAME
        try:
            make_private_folder(folder)
            self._hold = os.open(folder / HOLD, os.O_CREAT | os.O_WRONLY, 0o600)
        except OSError as exc:
            raise self._unwritable(exc) from exc
        try:
            fcntl.flock(self._hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(self._hold)
            raise ConfigError(
                f"another program works on this worklist: {self._path}", "go on in that one"
            ) from exc

    def load(self) -> Worklist:
        """Empty where there is none. Raises: ConfigError."""
        try:
            said = json.loads(self._path.read_bytes())
            items = tuple(Item(**item) for item in said.pop("items"))
            cleared = tuple(said.pop("cleared", ()))
            return Worklist(items, cleared=cleared, **said)
        except FileNotFoundError:
            return Worklist()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise ConfigError(
                f"the worklist cannot be read ({exc}): {self._path}",
                "remove the file and make the worklist again; what was answered is in the log",
            ) from exc

    def save(self, worklist: Worklist) -> None:
        """On the disk when it returns. Raises: ConfigError."""
        try:
            write_private_file(self._path, json.dumps(asdict(worklist)).encode())
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def close(self) -> None:
        os.close(self._hold)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _unwritable(self, exc: OSError) -> ConfigError:
        return ConfigError(
            f"the worklist cannot be written ({exc.strerror}): {self._path}",
            "free disk space and check the folder's permissions",
        )


def new_items(paths: Iterable[str]) -> list[Item]:
    """Under a name at random each, and by a path that holds from any folder."""
    whole = [str(Path(path).absolute()) for path in paths]
    return [Item(secrets.token_hex(8), path, _mark(path)) for path in whole]


def settled(paths: Iterable[str], least_age_s: float) -> list[str]:
    """Those that nobody wrote to for so long."""
    now_s = time.time()
    return [path for path in paths if now_s - _written_s(path) >= least_age_s]


def _mark(path: str) -> str:
    """16 hex digits of a file's path, size and last writing, which tell none of them; empty where
    it cannot be looked at."""
    try:
        status = Path(path).stat()
    except OSError:
        return ""
    told = json.dumps([path, status.st_size, status.st_mtime_ns])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _written_s(path: str) -> float:
    try:
        return Path(path).stat().st_mtime
    except OSError:  # to read it says what is the matter
        return 0.0
