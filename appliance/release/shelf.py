"""Where releases stand: the demonstration release in the package, others in the home's folder."""

from collections.abc import Iterator
from pathlib import Path

from appliance.errors import ReleaseError
from appliance.private_files import make_private_folder, write_private_file
from appliance.release.manifest import Release, read_release

DEMONSTRATION = "demonstration"
PARTIAL = ".partial"
"""Ends the name of a folder in which a release is still being made."""
BEFORE = "before"
"""File with the name of the release that was in use before the present one."""
BUILT_IN = Path(__file__).parent / DEMONSTRATION


def find_release(folder: Path, name: str) -> Release:
    """The release `name` of `folder`, or the built-in one. Raises: ReleaseError."""
    if name == DEMONSTRATION:
        return read_release(BUILT_IN)
    if name in ("", "..") or Path(name).name != name:
        raise ReleaseError(
            f"not a release's name: {name!r}", "run `appliance release list` to see the names"
        )
    return read_release(folder / name)


def release_names(folder: Path) -> Iterator[str]:
    yield DEMONSTRATION
    if folder.is_dir():
        yield from sorted(
            path.name
            for path in folder.iterdir()
            if path.is_dir() and not path.name.endswith(PARTIAL)
        )


def release_before(folder: Path) -> str:
    """Raises: ReleaseError when no other release was ever activated."""
    try:
        return (folder / BEFORE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ReleaseError(
            f"no release was in use before this one, as far as {folder / BEFORE} says",
            "run `appliance release activate NAME`",
        ) from exc


def note_release_before(folder: Path, name: str) -> None:
    """Raises: ReleaseError."""
    try:
        write_private_file(make_private_folder(folder) / BEFORE, name.encode())
    except OSError as exc:
        raise ReleaseError(
            f"the releases folder cannot be written ({exc.strerror}): {folder}",
            "make room, and check the folder's permissions",
        ) from exc
