"""Documents and passages as plain values, for SQLite and JSON, and back.

It knows which fields need it, and neither the tables nor the messages they go into.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import date
from typing import Any, TypeVar

from cpg_store.passage import Document, Passage

Kind = TypeVar("Kind", Document, Passage)

_DATES = ("review_due",)
_CLAIMS = ("continues", "is_recognised")
_LISTS = ("section_path",)
_ABSENT = {
    "start": 0,
    "end": 0,
    "continues": False,
    "is_recognised": False,
    "scanned_pages": 0,
    "recognised_pages": 0,
    "hidden_spans": 0,
}
"""What stands for a field that is not known; for every other, None does."""


def plain(value: Any) -> Any:
    """A field's value as SQLite and JSON keep it."""
    if isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, date):
        return value.isoformat()
    return int(value) if isinstance(value, bool) else value


def plain_fields(thing: Document | Passage) -> dict[str, Any]:
    return {field.name: plain(getattr(thing, field.name)) for field in fields(thing)}


def restored(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """Raises: LookupError, TypeError, ValueError when the values are not those of `kind`."""
    made = {field.name: values[field.name] for field in fields(kind)}
    for name, value in made.items():
        if name in _DATES and value is not None:
            made[name] = date.fromisoformat(value)
        elif name in _LISTS:
            made[name] = tuple(json.loads(value))
        elif name in _CLAIMS:
            made[name] = bool(value)
    return kind(**made)


def filled(kind: type[Kind], known: Mapping[str, Any]) -> Kind:
    """A document or passage of which only `known` is known."""
    return kind(
        **{field.name: known.get(field.name, _ABSENT.get(field.name)) for field in fields(kind)}
    )
