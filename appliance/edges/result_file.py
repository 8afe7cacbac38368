"""Results of many pictures in a file, one JSON object a line, each on the disk before the next is
begun. A run that was stopped, however hard, goes on with what is not answered yet."""

import contextlib
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from appliance.errors import ConfigError

BEGINNING = b'{"image": '
"""How every line begins: a last line that a kill cut short is told from another file's text."""


class ResultFile:
    """One file of results, open for adding, held against a second run."""

    def __init__(self, path: Path, release_sha256: str, risk: float) -> None:
        """What was answered stays; a line cut short, and pictures that failed, are taken out to be
        asked again.

        Raises: ConfigError when it cannot be written, holds something else, or was made with
        another release or at another risk target.
        """
        self.path = path
        self._release, self._risk = release_sha256, risk
        self._answered: set[str] = set()
        try:
            if path.exists() and not stat.S_ISREG(path.stat().st_mode):
                raise self._refused("is no file")
            self._file = self._held(path)
            try:
                self._tidy()
            except BaseException:
                self._file.close()
                raise
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def holds(self, picture: str) -> bool:
        """Whether the picture at this path, whatever it was called then, is answered in it."""
        if not self._answered:
            return False
        try:
            if not stat.S_ISREG(Path(picture).stat().st_mode):
                return False
            with Path(picture).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() in self._answered
        except OSError:  # to ask about it says what is the matter
            return False

    def add(self, result: Mapping[str, Any]) -> None:
        """On the disk when it returns. Raises: ConfigError."""
        try:
            self._file.write(json.dumps(result).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as exc:
            raise self._unwritable(exc) from exc
        if result["error"] is None:
            self._answered.add(result["image"]["sha256"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # what a full disk did not take was said already
            self._file.close()

    def _held(self, path: Path) -> IO[bytes]:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        file = os.fdopen(descriptor, "a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            file.close()
            raise ConfigError(
                f"another run is writing these results: {path}",
                "wait for it, or give another --out",
            ) from exc
        file.seek(0)
        return file

    def _tidy(self) -> None:
        content = self._file.read()
        kept = self._kept(content)
        if kept != content:
            self._replace(kept)

    def _kept(self, content: bytes) -> bytes:
        """The lines of pictures that were answered."""
        whole, _, cut = content.rpartition(b"\n")
        if not BEGINNING.startswith(cut[: len(BEGINNING)]):
            raise self._refused("holds something else")
        kept = []
        for number, line in enumerate(whole.splitlines(keepends=True), 1):
            try:
                row = json.loads(line)
                picture, release = row["image"]["sha256"], str(row["release"]["sha256"])
                made_with = f"{row['release']['name']}, {release[:12]}"
                failed, decision = row["error"], row["decision"]
                risk = None if decision is None else decision["risk"]
            except (ValueError, TypeError, KeyError) as exc:
                raise self._refused(f"holds something else in line {number}") from exc
            if release != self._release:
                raise self._refused(f"was made with another release ({made_with})")
            if risk not in (None, self._risk):
                raise self._refused(f"was made at a risk target of {risk:g}, not {self._risk:g}")
            if failed is None and picture not in self._answered:
                self._answered.add(picture)
                kept.append(line.rstrip(b"\n") + b"\n")
        return b"".join(kept)

    def _replace(self, content: bytes) -> None:
        """Aside first, then renamed; held before it has the name."""
        partial = self.path.with_name(self.path.name + ".partial")
        partial.unlink(missing_ok=True)
        file = self._held(partial)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        partial.rename(self.path)
        self._file.close()
        self._file = file

    def _refused(self, what: str) -> ConfigError:
        return ConfigError(
            f"the file for the results {what}: {self.path}", "give --out the name of a new file"
        )

    def _unwritable(self, exc: OSError) -> ConfigError:
        return ConfigError(
            f"the results cannot be written ({exc.strerror}): {self.path}",
            "make room or choose another folder, then start again: what is answered in the file "
            "is not asked again",
        )
