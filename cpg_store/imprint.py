"""A document's imprint: its title, edition and year, from what it prints about itself.

Metadata is believed before the first pages, the first pages before the file's name. It knows
nothing of passages.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cpg_store.page import Page, Reading

_ORDINALS = "First|Second|Third|Fourth|Fifth|Sixth|Seventh|Eighth|Ninth|Tenth"
_EDITION = re.compile(
    rf"\b(?P<edition>(?:{_ORDINALS}|\d{{1,2}}(?:st|nd|rd|th))\s+edition"
    r"|edition\s+\d{1,2})\b",
    re.IGNORECASE,
)
_YEAR = re.compile(r"\b(?:19[89]\d|20[0-4]\d)\b")
_LONGEST_EDITION = 60
"""Characters; a longer subject is a description."""
_COPYRIGHT = re.compile(r"©|\(c\)|\bcopyright\b|\bpublished\b", re.IGNORECASE)
_DATE_LINE_WORDS = 6
_IMPRINT_PAGES = 3
_IMPRINT_BLOCKS = 40
_UNTITLED = re.compile(r"^(?:untitled|microsoft word|document\d*|powerpoint)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Imprint:
    """What a citation needs besides the page."""

    title: str
    edition: str | None
    year: int | None


def read_imprint(reading: Reading, file_stem: str) -> Imprint:
    """Read the imprint of a document whose file is called `file_stem`."""
    first_words = "\n".join(_first_texts(reading.pages))
    title = reading.title if reading.title and not _UNTITLED.match(reading.title) else None
    sources = (reading.subject, title or "", first_words)
    return Imprint(
        title=title or _largest_heading(reading.pages) or file_stem,
        edition=_edition_subject(reading.subject)
        or next(filter(None, map(_edition, sources)), None),
        year=next(filter(None, map(_year, _dated(reading, title, file_stem))), None),
    )


def _dated(reading: Reading, title: str | None, file_stem: str) -> Iterator[str]:
    """Where a document dates itself: its subject, title and name, a copyright line, a short line
    of the title page. A year in running text is some other document's."""
    yield from (reading.subject, title or "", file_stem.replace("-", " "))
    texts = _first_texts(reading.pages)
    yield from (text for text in texts if _COPYRIGHT.search(text))
    title_page = _first_texts(reading.pages[:1]) if reading.pages[0].number else []
    lines = [line for text in title_page for line in text.splitlines()]
    yield from (line for line in lines if len(line.split()) <= _DATE_LINE_WORDS)


def _first_texts(pages: tuple[Page, ...]) -> list[str]:
    blocks = [block for page in pages[:_IMPRINT_PAGES] for block in page.blocks]
    return [block.text for block in blocks[:_IMPRINT_BLOCKS]]


def _largest_heading(pages: tuple[Page, ...]) -> str | None:
    """Give the first page's largest heading; where there are no pages, size says nothing."""
    first = pages[0]
    headings = [block for block in first.blocks if block.kind == "heading" and first.number]
    return min(headings, key=lambda block: block.level).text if headings else None


def _edition_subject(subject: str) -> str | None:
    """A PDF's subject that is nothing but its edition, such as "Pocket edition, 2026"."""
    is_edition = re.search(r"\bedition\b", subject, re.IGNORECASE)
    return subject if is_edition and len(subject) <= _LONGEST_EDITION else None


def _edition(text: str) -> str | None:
    found = _EDITION.search(text)
    return " ".join(found["edition"].split()) if found else None


def _year(text: str) -> int | None:
    found = _YEAR.search(text)
    return int(found[0]) if found else None
