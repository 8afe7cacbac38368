"""Folders written aside and renamed: what is at its name is whole, or is not there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export.errors import ExportError


def refuse_existing(out: Path) -> None:
    """Raises: ExportError."""
    if out.exists():
        raise ExportError(f"there is something at {out} already; choose another place")


@contextmanager
def written_aside(out: Path) -> Iterator[Path]:
    """A folder to fill; it becomes `out` when it is whole, else it is taken away.

    Raises: ExportError where the system would not write.
    """
    aside = out.with_name(out.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        yield aside
        aside.rename(out)
    except BaseException as exc:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(exc, OSError):
            raise unwritable(out, exc) from exc
        raise


def unwritable(out: Path, exc: OSError) -> ExportError:
    reason = exc.strerror or "the disk took a part only"  # numpy's own gives none
    return ExportError(f"{out}: cannot be written ({reason}); make room or choose another folder")
