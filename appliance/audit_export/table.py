"""Entries as a table for a spreadsheet."""

import json
from typing import Any

from appliance.core.entry import Entry

COLUMNS = (
    *("seq", "at", "user", "kind", "run", "image", "release", "decision", "error", "hash"),
    "entry",
)
"""`entry` is the canonical text: the one column that is proved, and that the others come from."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula (OWASP, CSV Injection)."""


def table_row(entry: Entry, text: bytes) -> list[str]:
    body = entry.body
    decision = body.get("decision")
    values: list[Any] = [entry.seq, entry.at, entry.user, entry.kind, entry.run]
    values += [body.get("image"), body.get("release")]
    values += [decision and decision.get("kind"), body.get("error"), entry.hash, text.decode()]
    return [_cell(value) for value in values]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return "'" + text if text.startswith(FORMULA_STARTS) else text
