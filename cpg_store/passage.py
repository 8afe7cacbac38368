"""What the store answers with: passages, and the documents they come from.

Plain data. It knows neither how passages are cut nor where they are kept.
"""

import re
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

PassageKind = Literal["recommendation", "text", "table", "figure", "reference"]
GradingSystem = Literal["malaysian", "grade"]
Language = Literal["en", "ms"]
DOCUMENT_ID = re.compile(r"[0-9a-f]{16}")

STATEMENTS = ("edition", "year", "superseded_by", "review_due")
"""Of a document's fields, those that can change while it is in the index: no passage is found by
them."""


@dataclass(frozen=True)
class Document:
    """One guideline in the index."""

    document_id: str
    """The first 16 hex digits of the file's SHA-256."""
    sha256: str
    file_name: str
    title: str
    publisher: str | None
    edition: str | None
    year: int | None
    isbn: str | None
    """Digits only (the last may be X)."""
    language: Language | None
    """Of most of its passages."""
    superseded_by: str | None
    """The edition that took this one's place, in words; None while it is in force."""
    review_due: date | None
    """The day from which this edition is overdue for review."""
    pages: int | None
    """Physical pages; None for Markdown and HTML."""
    passages: int
    scanned_pages: int
    """Pages without text, which are not indexed."""
    recognised_pages: int
    """Scanned pages whose text was recognised, and is indexed."""
    hidden_spans: int
    """Runs of invisible text that were dropped."""

    def statements(self) -> dict[str, Any]:
        """Its edition, and whether that is in force, by name."""
        return {name: getattr(self, name) for name in STATEMENTS}

    def restated(self, **given: Any) -> "Document":
        """The same document with these statements; what is not given stays."""
        return replace(self, **{name: value for name, value in given.items() if value})


@dataclass(frozen=True)
class Passage:
    """A piece of one document, unchanged."""

    passage_id: str
    """`<document_id>-<ordinal>`: the same file always gives the same ids."""
    document_id: str
    ordinal: int
    """Place in the document's reading order, from 0."""
    text: str
    """As printed; a table has a row a line, its cells between bars, its head with each piece."""
    document: str
    """The document's title."""
    publisher: str | None
    edition: str | None
    year: int | None
    isbn: str | None
    section_path: tuple[str, ...]
    """Headings above the passage, outermost first."""
    page_label: str | None
    """The page number as printed."""
    page: int | None
    """Physical page, 1-based; None for Markdown and HTML."""
    last_page: int | None
    """The physical page on which it ends; `page` when it does not run over."""
    start: int
    """Where it begins in the text of `page`, in characters, as `page.Page.text` gives it."""
    end: int
    """Where it ends in the text of `last_page`, exclusive."""
    continues: bool
    """True where it is the next piece of the same paragraph, list or table as the one before."""
    kind: PassageKind
    grade: str | None
    """Grade of recommendation (A, B, C, strong, weak, conditional); None when not stated."""
    evidence: str | None
    """Level of evidence (I, II-1, II-2, II-3, III) or GRADE certainty; None when not stated."""
    grading: GradingSystem | None
    """Whose grades and levels these are; None when neither is stated."""
    language: Language | None
    """None where a table or a few words do not tell."""
    is_recognised: bool
    """True where it was recognised in a scan, and so may be misread."""
    superseded_by: str | None
    """As in `Document`."""
    review_due: date | None
    """As in `Document`."""

    @property
    def section(self) -> str:
        """The section path in one line."""
        return " > ".join(self.section_path)


def passage_id(document_id: str, ordinal: int) -> str:
    """Name a passage by its document and its place in it."""
    return f"{document_id}-{ordinal:05d}"
