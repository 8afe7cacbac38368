"""The searches of the atlas, each recorded: which atlas, which picture by its keyed hash, which
cases came of it; never the words that were typed.

The screen and the commands call these, so that neither can skip the record.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from appliance.core.atlas import (
    Atlas,
    Contrast,
    Description,
    Neighbour,
    contrast,
    describe,
    find,
    similar,
)
from appliance.core.ports import AuditLog, Picture
from appliance.core.record import recorded


@dataclass(frozen=True)
class AskedPicture:
    """The picture that cases are looked for."""

    open: Callable[[int], Picture]
    """At so many pixels a side. Raises: ImageError."""
    let_through: bool = False
    """By the gate of a consultation, which is not asked again."""


def search_similar(
    atlas: Atlas, audit: AuditLog, asked: AskedPicture, k: int
) -> tuple[Neighbour, ...]:
    """Raises: as `core.atlas.similar`; AuditError."""
    with _looking(atlas, audit, "atlas.similar", asked) as (picture, outcome):
        found = similar(atlas, picture, k, let_through=asked.let_through)
        outcome["cases"] = _ids(found)
    return found


def search_description(
    atlas: Atlas, audit: AuditLog, asked: AskedPicture, k: int
) -> Description | None:
    """Raises: as `core.atlas.describe`; AuditError."""
    with _looking(atlas, audit, "atlas.describe", asked) as (picture, outcome):
        found = describe(atlas, picture, k, let_through=asked.let_through)
        outcome["cases"] = _ids(found.first) if found else []
        outcome["second"] = _ids(found.second) if found else []
    return found


def search_words(atlas: Atlas, audit: AuditLog, text: str, k: int) -> tuple[Neighbour, ...]:
    """Raises: AtlasError, AuditError."""
    asked = {"atlas": atlas.card.sha256, "characters": len(text)}
    with recorded(audit, "atlas.find", asked) as outcome:
        found = find(atlas, text, k)
        outcome["cases"] = _ids(found)
    return found


def search_contrast(
    atlas: Atlas, audit: AuditLog, text: str, plus: Sequence[str], minus: Sequence[str], k: int
) -> Contrast:
    """Raises: as `core.atlas.contrast`; AuditError."""
    asked = {
        "atlas": atlas.card.sha256,
        "characters": len(text),
        "plus": len(plus),
        "minus": len(minus),
    }
    with recorded(audit, "atlas.contrast", asked) as outcome:
        found = contrast(atlas, text, plus, minus, k)
        outcome["cases"] = _ids(found.original)
        outcome["changed"] = _ids(found.changed)
    return found


@contextmanager
def _looking(
    atlas: Atlas, audit: AuditLog, act: str, asked: AskedPicture
) -> Iterator[tuple[Picture, dict[str, Any]]]:
    """The picture, for an act that is recorded with what is put in the mapping."""
    with recorded(audit, act, {"atlas": atlas.card.sha256}) as outcome:
        picture = asked.open(atlas.card.image_size)
        outcome["image"] = audit.image_mark(picture.sha256)
        yield picture, outcome


def _ids(found: Sequence[Neighbour]) -> list[str]:
    return [neighbour.case.case_id for neighbour in found]
