"""What lies in a folder, to complete a path or to browse; and paths as terminals paste them."""

import itertools
import os
import shlex
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

MOST_LISTED = 500


@dataclass(frozen=True)
class Place:
    """A file or a folder that may be chosen."""

    path: str
    """A folder's ends in a slash."""
    about: str = ""
    """What is told beside its name."""

    @property
    def is_folder(self) -> bool:
        return self.path.endswith(os.sep)

    @property
    def name(self) -> str:
        return Path(self.path).name + (os.sep if self.is_folder else "")


def completions(typed: str) -> list[Place]:
    """What the typed path may become: folders first, each sorted, the hidden left out.

    Looks into one folder; give it to a thread, a share may be slow. Nothing for what cannot be
    looked into.
    """
    expanded = os.path.expanduser(typed)  # noqa: PTH111 - a Path drops the slash at the end
    folder, beginning = os.path.split(expanded)
    found = []
    try:
        with os.scandir(folder or os.curdir) as entries:
            for entry in entries:
                if entry.name.startswith(".") or not entry.name.startswith(beginning):
                    continue
                found.append(_place(entry, folder))
                if len(found) == MOST_LISTED:
                    break
    except OSError:
        return []
    return sorted(found, key=lambda place: (not place.is_folder, place.name.lower()))


def typed_path(typed: str) -> str:
    """Whole; links stay as they are typed."""
    return os.path.abspath(os.path.expanduser(typed))  # noqa: PTH100, PTH111


def common_beginning(places: list[Place]) -> str:
    """As many characters as all of them share; whole names are no matter."""
    paths = [place.path for place in places]
    shared = zip(*paths, strict=False)
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, shared)
    return "".join(letters[0] for letters in alike)


def pasted_paths(text: str) -> list[str]:
    """The paths in what a terminal pastes for dropped files: plain, quoted, with backslashes, or
    as file addresses. A text without an existing file is one path, as it is."""
    text = text.strip("\r\n")
    if _exists(text.strip()):
        return [text.strip()]
    try:
        parts = [_from_address(part) for part in shlex.split(text)]
    except ValueError:  # a lone quotation mark
        parts = []
    if parts and all(map(_exists, parts)):
        return parts
    lines = [_from_address(line.strip()) for line in text.splitlines() if line.strip()]
    return lines if lines and all(map(_exists, lines)) else [text.strip()]


def _place(entry: "os.DirEntry[str]", folder: str) -> Place:
    path = os.path.join(folder, entry.name)  # noqa: PTH118
    try:
        if entry.is_dir():
            return Place(path + os.sep)
        status = entry.stat()
    except OSError:
        return Place(path)
    when = datetime.fromtimestamp(status.st_mtime).astimezone()
    return Place(path, f"{when:%Y-%m-%d %H:%M}  {_size(status.st_size):>8}")


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.0f} kB"


def _from_address(text: str) -> str:
    return unquote(urlsplit(text).path) if text.startswith("file://") else text


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False
