"""What the store answers with: passages, and the documents they come from.

Plain data. It knows neither how passages are cut nor where they are kept.
"""

from dataclasses import dataclass
from typing import Literal

PassageKind = Literal["recommendation", "text", "table"]


@dataclass(frozen=True)
class Document:
    """One guideline in the index."""

    document_id: str
    """The first 16 hex digits of the file's SHA-256."""
    sha256: str
    file_name: str
    title: str
    edition: str | None
    year: int | None
    pages: int | None
    """Physical pages; None for Markdown."""
    passages: int
    scanned_pages: int
    """Pages without text, which are not indexed."""
    hidden_spans: int
    """Runs of invisible text that were dropped."""


@dataclass(frozen=True)
class Passage:
    """A piece of one page of one document, unchanged."""

    passage_id: str
    """`<document_id>-<ordinal>`: the same file always gives the same ids."""
    document_id: str
    ordinal: int
    """Place in the document's reading order, from 0."""
    text: str
    document: str
    """The document's title."""
    edition: str | None
    year: int | None
    page: int | None
    """Physical page, 1-based; None for Markdown."""
    page_label: str | None
    """The page number as printed."""
    section: str
    """Headings above the passage, outermost first, joined by " > "."""
    kind: PassageKind
    grade: str | None
    """Grade of recommendation (A, B, C, strong, weak, conditional); None when not stated."""
    evidence: str | None
    """Level of evidence (I, II-1, II-2, II-3, III) or GRADE certainty; None when not stated."""


def passage_id(document_id: str, ordinal: int) -> str:
    """Name a passage by its document and its place in it."""
    return f"{document_id}-{ordinal:05d}"
