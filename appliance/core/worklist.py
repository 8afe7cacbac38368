"""A worklist: pictures to be read one after the other, and what the log says came of each.

The list says what is to be done and in which order; that something is done, the log alone says:
each item has a name at random, which the entries of its consultation carry. So nothing that was
answered is asked again, whatever stopped the program. Plain data.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from appliance.core.entry import Entry
from appliance.core.ports import CANCELLED, AuditLog

ITEM = "item"
"""Key of an item's name in an entry's body."""
ANSWERED = "caption.answered"
UNDONE = frozenset({CANCELLED})
"""Codes of outcomes that leave an item to be done: somebody stopped it."""
RECENT = 9
"""Pictures from which the time left is told."""


@dataclass(frozen=True)
class Item:
    item_id: str
    """16 hex digits at random."""
    path: str
    mark: str = ""
    """Another once the file was written anew; empty where that cannot be told."""
    is_urgent: bool = False
    is_skipped: bool = False


@dataclass(frozen=True)
class Worklist:
    items: tuple[Item, ...] = ()
    since: int = 1
    """The first entry of the log that can be of an item."""
    is_paused: bool = False
    cleared: tuple[str, ...] = ()
    """Marks of what was done and taken off the list: a watched folder may still hold it."""

    def with_pictures(self, items: Iterable[Item], read: Collection[str] = ()) -> "Worklist":
        """With those added at the end that are not in it yet.

        A file that was written anew is another picture: listed once more where the one before was
        `read` (items by name) or skipped, else in its place.
        """
        new = {item.path: item for item in items}
        listed = []
        for item in self.items:
            found = new.get(item.path)
            is_past = item.item_id in read or item.is_skipped
            if found and (not is_past or _may_be_one(item, found)):
                listed.append(replace(item, mark=found.mark or item.mark))
                del new[item.path]
            else:
                listed.append(item)
        return replace(self, items=(*listed, *new.values()))

    def without(self, done: Collection[str]) -> "Worklist":
        """Without the items of these names; what they were of is remembered as cleared."""
        marks = (item.mark for item in self.items if item.item_id in done and item.mark)
        items = tuple(item for item in self.items if item.item_id not in done)
        return replace(self, items=items, cleared=tuple(dict.fromkeys((*self.cleared, *marks))))

    def changed(self, item_id: str, **changes: Any) -> "Worklist":
        items = tuple(replace(i, **changes) if i.item_id == item_id else i for i in self.items)
        return replace(self, items=items)

    def in_order(self) -> tuple[Item, ...]:
        """The urgent first, each part as it was listed."""
        return tuple(sorted(self.items, key=lambda item: not item.is_urgent))

    def left(self, done: Mapping[str, "Outcome"]) -> tuple[Item, ...]:
        """What is still to be read, in order."""
        return tuple(i for i in self.in_order() if not i.is_skipped and i.item_id not in done)


@dataclass(frozen=True)
class Outcome:
    """What the log says of one item."""

    seq: int
    decision: str
    """label, set, abstain, or refused."""
    labels: tuple[str, ...]
    error: str | None
    """The code."""
    case_id: str | None


def outcomes(entries: Iterable[Entry], worklist: Worklist) -> dict[str, Outcome]:
    """By item. `entries` from `worklist.since` on."""
    names = {item.item_id for item in worklist.items}
    found: dict[str, Outcome] = {}
    for entry in entries:
        name = entry.body.get(ITEM)
        if entry.kind == ANSWERED and name in names and entry.body["error"] not in UNDONE:
            found[name] = _outcome(entry)
    return found


def _may_be_one(item: Item, found: Item) -> bool:
    """Whether two items of one path may be of one picture."""
    return item.mark == found.mark or not (item.mark and found.mark)


def _outcome(entry: Entry) -> Outcome:
    body = entry.body
    decision = body["decision"]
    return Outcome(
        entry.seq,
        "refused" if body["error"] or not decision else decision["kind"],
        tuple(decision["labels"]) if decision else (),
        body["error"],
        body.get("case"),
    )


class NamedLog:
    """A log that writes an item's name into each entry of its consultation."""

    def __init__(self, audit: AuditLog, item_id: str) -> None:
        self._audit, self._item_id = audit, item_id

    def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        return self._audit.append(kind, {**body, ITEM: self._item_id})

    def image_mark(self, sha256: str) -> str:
        return self._audit.image_mark(sha256)


def usual_s(spent_s: Sequence[float]) -> float | None:
    """What one picture usually takes here, from what the last ones took, newest last; None when
    none was read yet."""
    return median(spent_s[-RECENT:]) if spent_s else None
