"""The labelled captions of this folder: which pages answer which caption. See README.md."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.core.caption import Caption

HERE = Path(__file__).parent
QUERIES = HERE / "queries.jsonl"
JUDGEMENTS = HERE / "judgements.tsv"
MALAY = HERE / "malay.tsv"

Place = tuple[str, int | None]
"""A document, by its path in the folder of guidelines, and a physical page; None: no pages."""


@dataclass(frozen=True)
class LabelledQuery:
    name: str
    half: str
    """development or held."""
    domain: str
    caption: Caption


def read_queries(half: str) -> list[LabelledQuery]:
    rows: list[dict[str, Any]] = [
        json.loads(line) for line in QUERIES.read_text(encoding="utf-8").splitlines()
    ]
    found = [
        LabelledQuery(row["_id"], row["half"], row["domain"], Caption(**row["caption"]))
        for row in rows
    ]
    return [query for query in found if query.half == half]


def read_judgements() -> dict[str, frozenset[Place]]:
    """The relevant places by query; a query that no document covers has none."""
    found: dict[str, set[Place]] = {}
    for line in JUDGEMENTS.read_text(encoding="utf-8").splitlines()[1:]:
        query, document, page = line.split("\t")
        found.setdefault(query, set()).add((document, None if page == "-" else int(page)))
    return {query: frozenset(places) for query, places in found.items()}


def read_malay() -> list[tuple[str, str]]:
    """Questions in Malay, each with the name of the caption whose places answer it."""
    lines = MALAY.read_text(encoding="utf-8").splitlines()[1:]
    return [(question, name) for question, name in (line.split("\t") for line in lines)]
