"""What opens the log, and with which settings: the entries that begin and end an opening."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from appliance.core.entry import Entry


@dataclass(frozen=True)
class Program:
    version: str
    command: str
    """As `audit list`, without what was given to it."""
    settings: Mapping[str, Any]
    """In force, by name; JSON values."""
    places: frozenset[str]
    """Which of them may name a person or a place: recorded by a keyed hash."""


def recordable(program: Program, mark: Callable[[str], str]) -> dict[str, Any]:
    """The settings as the log keeps them; what is not set stays visibly so."""
    return {
        name: mark(value) if name in program.places and value else value
        for name, value in program.settings.items()
    }


def changed_settings(before: Entry | None, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The body of setting.changed, or None when all is as `before`, the last such entry, says."""
    known = before.body["settings"] if before else {}
    names = sorted(known.keys() | settings.keys())
    changed = [name for name in names if known.get(name) != settings.get(name)]
    if before and not changed:
        return None
    return {"before": before and before.seq, "changed": changed, "settings": dict(settings)}
