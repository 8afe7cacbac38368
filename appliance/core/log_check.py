"""Checking a log: every entry against the tree, the tree against every checkpoint.

One pass, entry by entry, whatever the log's length. What it cannot see: entries newer than the
newest checkpoint that is kept outside the machine can be cut off by whoever can write to the
folder (the log then ends at an older checkpoint of its own) and rewritten by whoever also holds
the signing key; what such a checkpoint covers cannot. Whoever can write to the folder can also put
another log there whole, whose name and key are others.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from appliance.core.checkpoint import Checkpoint, short_code
from appliance.core.entry import Entry, read_entry
from appliance.core.merkle import HASH_BYTES, Peaks, leaf_hash
from appliance.errors import AuditError


@dataclass(frozen=True)
class Row:
    """One entry as it is kept."""

    seq: int
    text: bytes | None
    """Canonical; None when it lies in an archive that is not here."""
    hashes: bytes
    """Roots of the subtrees it completes, from its own leaf hash up."""


def entry_in(row: Row) -> Entry | None:
    """Whose hash the row has; None when its text is elsewhere. Raises: AuditError."""
    if row.text is None:
        return None
    if leaf_hash(row.text) != row.hashes[:HASH_BYTES]:
        raise AuditError(f"entry {row.seq} was changed after it was written", _VERIFY)
    try:
        return read_entry(row.text)
    except ValueError as exc:
        raise AuditError(f"entry {row.seq} of the audit log is none ({exc})", _VERIFY) from exc


_VERIFY = "run `appliance audit verify`; keep the log's folder as it is, and tell who keeps it"


@dataclass(frozen=True)
class Fault:
    """The first bad entry is `first`, or, where hashes were made to fit, one up to `last`."""

    first: int
    last: int
    reason: str

    def __str__(self) -> str:
        if self.first == self.last:
            return self.reason
        return f"{self.reason}; the first bad entry is one of {self.first} to {self.last}"


@dataclass(frozen=True)
class Witness:
    """What a checkpoint says of the log's first `size` entries."""

    size: int
    name: str
    """For messages: where it came from."""
    root: bytes | None = None
    code: str | None = None
    """A short code stands for the root where paper is all there is."""

    def fits(self, origin: str, root: bytes) -> bool:
        if self.root is not None:
            return self.root == root
        return self.code == short_code(Checkpoint(origin, self.size, root))


def first_fault(
    rows: Iterable[Row], origin: str, witnesses: Sequence[Witness], archived: int = 0
) -> Fault | None:
    """Where the log first breaks, or None when it holds.

    The texts of the first `archived` entries may be missing; their hashes may not.
    """
    peaks = Peaks()
    waiting = sorted(witnesses, key=lambda witness: witness.size, reverse=True)
    proved = 0
    for row in rows:
        seq = peaks.size + 1
        if row.seq != seq:
            return Fault(seq, seq, f"entry {seq} is missing: entry {row.seq} stands in its place")
        if row.text is None and seq > archived:
            return Fault(seq, seq, f"entry {seq} has lost its text")
        leaf = row.hashes[:HASH_BYTES] if row.text is None else leaf_hash(row.text)
        fault = _hash_fault(row, peaks.append(leaf), proved)
        if fault:
            return fault
        while waiting and waiting[-1].size == seq:
            if not waiting[-1].fits(origin, peaks.root()):
                return Fault(proved + 1, seq, f"the log does not fit the {waiting[-1].name}")
            waiting.pop()
            if not waiting or waiting[-1].size != seq:
                proved = seq
    if waiting:
        # One may be gone from the middle, and all after it numbered and hashed anew.
        seq, witness = peaks.size + 1, waiting[-1]
        missing = f"{witness.size - peaks.size} of its entries are missing"
        return Fault(proved + 1, seq, f"the {witness.name} covers {witness.size}: {missing}")
    return None


def _hash_fault(row: Row, completed: list[bytes], proved: int) -> Fault | None:
    """Whether the hashes kept with a row are those it and the rows before it give."""
    if row.hashes == b"".join(completed):
        if row.text is not None and _seq_in(row.text) != row.seq:
            return Fault(row.seq, row.seq, f"entry {row.seq} does not bear its own number")
        return None
    for level, computed in enumerate(completed):
        kept = row.hashes[level * HASH_BYTES : (level + 1) * HASH_BYTES]
        if kept != computed:
            # Below this level the kept hashes fit: the change is among the leaves it covers.
            first = max(row.seq - (1 << level), proved) + 1
            if first == row.seq:
                break
            return Fault(first, row.seq, f"the hashes of entry {row.seq} do not fit the log")
    return Fault(row.seq, row.seq, f"entry {row.seq} was changed after it was written")


def _seq_in(text: bytes) -> object:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value.get("seq") if isinstance(value, dict) else None
