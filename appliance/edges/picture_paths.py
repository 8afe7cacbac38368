"""Which pictures are meant by a file, a folder, a list of paths or `-`: paths only, no pixels.

What a file is, its first bytes tell, never its name. A list is UTF-8 text, a path a line, relative
to the list's own folder. What cannot be looked into is passed on as it is: to open it as a picture
says what is the matter.
"""

import os
import stat
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from appliance.edges.picture_kinds import may_be_picture

STANDARD_INPUT = "-"
FIRST_BYTES = 4096
MOST_LIST_BYTES = 64 << 20
"""A larger text is not a list of pictures."""


@dataclass(frozen=True)
class PicturePaths:
    paths: list[str]
    """In the order of the arguments; those of a folder sorted, those of a list as listed."""
    passed_over: int
    """Files in the folders that are no pictures."""


def find_pictures(arguments: Sequence[str], standard_input: IO[bytes]) -> PicturePaths:
    """What to open for the arguments. `standard_input` is read only for `-`, relative to the
    current folder. An argument without a picture in it stands for itself."""
    paths: list[str] = []
    passed_over = 0
    for argument in arguments:
        if argument == STANDARD_INPUT:
            paths += _lines(standard_input.read().decode("utf-8", "surrogateescape"), Path())
        elif Path(argument).is_dir():
            files = list(_files(argument))
            inside = [path for path in files if _may_be_picture(path)]
            passed_over += len(files) - len(inside)
            paths += inside or [argument]
        else:
            text = _list_text(argument)
            paths += _lines(text, Path(argument).parent) if text else [argument]
    return PicturePaths(paths, passed_over)


def _lines(text: str, folder: Path) -> list[str]:
    lines = (line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n"))
    return [str(folder / line) for line in lines if line.strip()]


def _files(folder: str) -> Iterator[str]:
    """All files, and folders that cannot be looked into; sorted, the hidden left out."""
    closed: list[str] = []
    found: list[str] = []
    for parent, folders, files in os.walk(folder, onerror=lambda exc: closed.append(exc.filename)):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(parent, name) for name in files if not name.startswith(".")]  # noqa: PTH118
    return iter(sorted(found + closed, key=lambda path: Path(path).parts))


def _may_be_picture(path: str) -> bool:
    """Also what cannot be read: that it is there must not go unsaid."""
    try:
        if stat.S_ISDIR(Path(path).stat().st_mode):
            return True  # one that cannot be looked into
        return may_be_picture(_first_bytes(path))
    except OSError:
        return True


def _list_text(path: str) -> str | None:
    """The whole text of a list; None for whatever is none."""
    try:
        first = _first_bytes(path)
        text = getincrementaldecoder("utf-8")().decode(first)  # may cut a letter at its end
        if not text.strip() or any(letter < " " and letter not in "\t\r\n" for letter in text):
            return None
        if Path(path).stat().st_size > MOST_LIST_BYTES:
            return None
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _first_bytes(path: str) -> bytes:
    """None of what is no file: to open a pipe waits for whoever writes to it."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        return b""
    with Path(path).open("rb") as file:
        return file.read(FIRST_BYTES)
