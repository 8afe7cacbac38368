"""Entries of the audit log: canonical bytes and the hash that links each to the one before.

Arithmetic only; where entries are kept is the edge's business.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

HASH_TAG = b"appliance audit entry 1\n"
"""Sets this hash apart from every other use of SHA-256; the digit is the entry format."""
FIRST_PREVIOUS = "0" * 64
"""What the first entry names as the entry before it."""


@dataclass(frozen=True)
class Entry:
    seq: int
    """1, 2, 3 ... without gaps: the order of the log."""
    at: str
    """UTC, ISO 8601, as the machine's clock had it; never used to order."""
    kind: str
    body: Mapping[str, Any]
    """JSON values only, and never an identifier of a patient."""
    previous: str
    """Hash of entry `seq` - 1."""
    hash: str


def entry_hash(seq: int, at: str, kind: str, body: Mapping[str, Any], previous: str) -> str:
    """SHA-256 over the entry in canonical JSON (RFC 8785), as hex."""
    value: dict[str, Any] = {
        "seq": seq,
        "at": at,
        "kind": kind,
        "body": dict(body),
        "previous": previous,
    }
    return hashlib.sha256(HASH_TAG + rfc8785.dumps(value)).hexdigest()


def next_entry(last: Entry | None, at: str, kind: str, body: Mapping[str, Any]) -> Entry:
    seq = last.seq + 1 if last else 1
    previous = last.hash if last else FIRST_PREVIOUS
    return Entry(seq, at, kind, body, previous, entry_hash(seq, at, kind, body, previous))


def first_fault(entries: Iterable[Entry]) -> str | None:
    """Where the chain first breaks, in words, or None when it holds.

    A chain alone cannot see entries cut off its end, nor a rewrite of all of it.
    """
    last: Entry | None = None
    for entry in entries:
        expected = next_entry(last, entry.at, entry.kind, entry.body)
        if entry.seq != expected.seq:
            return f"entry {expected.seq} is missing: entry {entry.seq} stands in its place"
        if entry.previous != expected.previous:
            return f"entry {entry.seq} does not follow the entry before it"
        if entry.hash != expected.hash:
            return f"entry {entry.seq} was changed after it was written"
        last = entry
    return None
