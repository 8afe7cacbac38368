"""Entries of the audit log: what one says, its canonical text, and its hash.

The canonical text (RFC 8785) is what is kept and what the tree of `core.merkle` is made of; an
entry's hash is that tree's leaf hash. Where entries are kept is the edge's business.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import rfc8785

from appliance.core.merkle import leaf_hash

ASKED = "asked"
OUTCOMES = frozenset({"answered", "done", "failed", "interrupted"})
"""How an act that was asked may end: `lookup.asked` by `lookup.done` or `lookup.failed`."""


@dataclass(frozen=True)
class Moment:
    """What the machine's clocks say. Neither is ever used to order entries."""

    at: str
    """UTC, ISO 8601."""
    boot: str
    """Random name of this start of the machine; empty where it has none."""
    up_ms: int
    """Milliseconds since an unknown point of this boot; never goes back."""


@dataclass(frozen=True)
class Entry:
    seq: int
    """1, 2, 3 ... without gaps: the order of the log."""
    at: str
    boot: str
    up_ms: int
    run: str
    """Random name of the one opening of the log by one process that wrote this."""
    user: str
    """The account that acted; empty where nobody was signed in."""
    kind: str
    """`act.phase`, for example `caption.asked`."""
    body: Mapping[str, Any]
    """JSON values only, and never an identifier of a patient."""
    hash: str
    """Hex of the leaf hash of the entry's canonical text."""


def entry_text(
    seq: int, moment: Moment, run: str, user: str, kind: str, body: Mapping[str, Any]
) -> bytes:
    """The entry in canonical JSON, UTF-8, on one line.

    Raises: ValueError for a value that has no canonical form (NaN, a huge integer).
    """
    value: dict[str, Any] = {
        "seq": seq,
        "at": moment.at,
        "boot": moment.boot,
        "up_ms": moment.up_ms,
        "run": run,
        "user": user,
        "kind": kind,
        "body": dict(body),
    }
    return rfc8785.dumps(value)


def read_entry(text: bytes) -> Entry:
    """Raises: ValueError when the text is not an entry's."""
    try:
        entry = Entry(**json.loads(text), hash=leaf_hash(text).hex())
        datetime.fromisoformat(entry.at)
        is_one = isinstance(entry.body, dict) and isinstance(entry.kind + entry.user, str)
    except (TypeError, RecursionError) as exc:
        raise ValueError("not an entry") from exc
    if not is_one:
        raise ValueError("not an entry")
    return entry


def unanswered(entries: Iterable[Entry]) -> list[Entry]:
    """The acts of one run that were asked and have no outcome, oldest first."""
    asked: dict[str, list[Entry]] = {}
    for entry in entries:
        act, _, phase = entry.kind.rpartition(".")
        if phase == ASKED:
            asked.setdefault(act, []).append(entry)
        elif phase in OUTCOMES and asked.get(act):
            asked[act].pop()
    return sorted((entry for left in asked.values() for entry in left), key=lambda e: e.seq)
