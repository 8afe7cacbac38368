"""A document's imprint: title, publisher, edition, year, ISBN, and whether it is still in force.

Metadata is believed before the first pages, the first pages before the file's name. It knows
nothing of passages.
"""

import re
from calendar import month_name, monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from cpg_store.page import Page, Reading
from cpg_store.typography import letters

_ORDINALS = "First|Second|Third|Fourth|Fifth|Sixth|Seventh|Eighth|Ninth|Tenth"
_EDITION = re.compile(
    rf"\b(?P<edition>(?:{_ORDINALS}|\d{{1,2}}(?:st|nd|rd|th))\s+edition"
    r"|edition\s+\d{1,2}|edisi\s+(?:ke-?\s?)?\w+)\b",
    re.IGNORECASE,
)
_VERSION = re.compile(r"^\W*(?P<edition>version\s+\d+(?:\.\d+)*)\b", re.IGNORECASE | re.MULTILINE)
_YEAR = re.compile(r"\b(?:19[89]\d|20[0-4]\d)\b")
_LONGEST_EDITION = 60
"""Characters; a longer subject is a description."""
_COPYRIGHT = re.compile(r"©|\(c\)|\bcopyright\b|\bpublished\b", re.IGNORECASE)
_DATE_LINE_WORDS = 6
_IMPRINT_PAGES = 4
_IMPRINT_BLOCKS = 80
_UNTITLED = re.compile(r"^(?:untitled|microsoft word|document\d*|powerpoint)\b", re.IGNORECASE)

_ISBN = re.compile(
    r"\be?-?ISBN(?:-1[03])?\s*:?\s*(?P<number>97[89][\d\s\u2010-\u2013-]{9,15}\d|"
    r"\d[\d\s\u2010-\u2013-]{7,11}[\dX])",
    re.IGNORECASE,
)

_PUBLISHED_BY = re.compile(
    r"^\W*(?:published by|publisher|diterbitkan oleh|penerbit)\s*:?\s*(?P<name>\S.{2,100})?$",
    re.IGNORECASE | re.MULTILINE,
)
_COPYRIGHT_OF = re.compile(r"(?:©|\(c\))\s*(?P<name>[A-Z][\w .,&'-]{4,80}?),?\s*(?:19|20)\d\d")
_OWNER = re.compile(
    r"\bcopyright owner of this publication is\s+(?:the\s+)?(?P<name>[\w .,&()-]+)\."
)
_PUBLISHERS = (
    ("World Health Organization", re.compile(r"\bWorld Health Organization\b")),
    (
        "Ministry of Health Malaysia",
        re.compile(r"\bMinistry of Health,? Malaysia\b|\bKementerian Kesihatan Malaysia\b"),
    ),
    (
        "Centers for Disease Control and Prevention",
        re.compile(r"\bCenters for Disease Control and Prevention\b"),
    ),
)
"""Publishers whose name stands on their covers without a word that it is the publisher's."""

_SUPERSEDED = re.compile(
    r"\bthis\s+(?:edition|guideline|document|version|CPG)\s+(?:is|has been|was)\s+"
    r"(?:superseded|replaced|withdrawn)(?:\s+(?:by|and replaced by)\s+(?P<by>[^.\n]{3,160}))?",
    re.IGNORECASE,
)
_MONTHS = [name.lower() for name in month_name[1:]]
_REVIEW = re.compile(
    r"\b(?:(?:will|should|shall|to) be (?:reviewed|updated)|(?:next\s+)?review\s+(?:date|due)"
    r"|date (?:of|for) (?:next )?review|due for review|valid until|akan dikaji semula)\b"
    r"(?P<when>[^.\n]{0,120})",
    re.IGNORECASE,
)
_DAY = re.compile(
    rf"\b(?:(?P<day>\d{{1,2}})\s+)?(?P<month>{'|'.join(_MONTHS)})\s+(?P<year>20\d\d)\b"
    r"|\b(?P<iso>20\d\d-\d\d-\d\d)\b|\b(?P<only>20\d\d)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Imprint:
    """What a citation needs besides the page."""

    title: str
    publisher: str | None
    edition: str | None
    year: int | None
    isbn: str | None
    superseded_by: str | None
    review_due: date | None


def read_imprint(reading: Reading, file_stem: str) -> Imprint:
    """Read the imprint of a document whose file is called `file_stem`."""
    first_words = "\n".join(_first_texts(reading.pages))
    title = reading.title if reading.title and not _UNTITLED.match(reading.title) else None
    sources = (reading.subject, title or "", first_words, reading.running)
    said = f"{first_words}\n{reading.aside}"
    return Imprint(
        title=title or _largest_heading(reading.pages) or file_stem,
        publisher=_publisher(said),
        edition=_edition_subject(reading.subject)
        or next(filter(None, map(_edition, sources)), None),
        year=next(filter(None, map(_year, _dated(reading, title, file_stem))), None),
        isbn=_isbn(said),
        superseded_by=_superseded_by(first_words),
        review_due=_review_due(first_words),
    )


def without_title(section_path: tuple[str, ...], title: str) -> tuple[str, ...]:
    """A section path without the document's own title at its beginning."""
    whole = letters(title)
    while len(section_path) > 1 and letters(section_path[0]) and letters(section_path[0]) in whole:
        section_path = section_path[1:]
    return section_path


def _dated(reading: Reading, title: str | None, file_stem: str) -> Iterator[str]:
    """Where a document dates itself: its subject, title and name, a copyright line, a short line
    of the title page. A year in running text is some other document's."""
    yield from (reading.subject, title or "", file_stem.replace("-", " "))
    texts = _first_texts(reading.pages)
    yield from (text for text in texts if _COPYRIGHT.search(text))
    title_page = _first_texts(reading.pages[:1]) if reading.pages[0].number else []
    lines = [line for text in title_page for line in text.splitlines()]
    lines += reading.running.splitlines()
    yield from (line for line in lines if len(line.split()) <= _DATE_LINE_WORDS)


def _first_texts(pages: tuple[Page, ...]) -> list[str]:
    blocks = [block for page in pages[:_IMPRINT_PAGES] for block in page.blocks]
    return [block.text for block in blocks[:_IMPRINT_BLOCKS]]


def _largest_heading(pages: tuple[Page, ...]) -> str | None:
    """Give the first page's largest heading, whole when it takes several lines; where there are
    no pages, size says nothing."""
    first = pages[0]
    headings = [block for block in first.blocks if block.kind == "heading" and first.number]
    if not headings:
        return None
    top = min(block.level for block in headings)
    start = next(
        at for at, block in enumerate(first.blocks) if block in headings and block.level == top
    )
    title = first.blocks[start].text
    for block in first.blocks[start + 1 :]:
        if block.kind != "heading" or block.level != top:
            break
        title = f"{title} {block.text}"
    return title


def _publisher(text: str) -> str | None:
    named = _PUBLISHED_BY.search(text)
    if named:
        following = text[named.end() :].strip().splitlines()
        name = named["name"] or (following[0] if following else "")
        return name.strip(" :;,.#*") or None
    owner = _OWNER.search(text) or _COPYRIGHT_OF.search(text)
    if owner:
        return owner["name"].strip(" ,.")
    return next((name for name, pattern in _PUBLISHERS if pattern.search(text)), None)


def _isbn(text: str) -> str | None:
    """The first number that its own check digit confirms (ISO 2108)."""
    for found in _ISBN.finditer(text):
        number = re.sub(r"[^\dX]", "", found["number"].upper())
        if len(number) == 13 and number.isdigit():
            if sum(int(digit) * (1, 3)[at % 2] for at, digit in enumerate(number)) % 10 == 0:
                return number
        elif len(number) == 10:
            digits = [10 if digit == "X" else int(digit) for digit in number]
            if sum(digit * (10 - at) for at, digit in enumerate(digits)) % 11 == 0:
                return number
    return None


def _superseded_by(text: str) -> str | None:
    found = _SUPERSEDED.search(" ".join(text.split()))
    if not found:
        return None
    return (found["by"] or "another edition").strip(" ,;")


def _review_due(text: str) -> date | None:
    """The last day of the month or year that the document names for its own review."""
    for found in _REVIEW.finditer(" ".join(text.split())):
        days = [_last_day(day) for day in _DAY.finditer(found["when"])]
        if days and days[0]:
            return days[0]
    return None


def _last_day(found: re.Match[str]) -> date | None:
    try:
        if found["iso"]:
            return date.fromisoformat(found["iso"])
        if found["only"]:
            return date(int(found["only"]), 12, 31)
        year, month = int(found["year"]), _MONTHS.index(found["month"].lower()) + 1
        return date(year, month, int(found["day"] or monthrange(year, month)[1]))
    except ValueError:
        return None


def _edition_subject(subject: str) -> str | None:
    """A PDF's subject that is nothing but its edition, such as "Pocket edition, 2026"."""
    is_edition = re.search(r"\bedition\b", subject, re.IGNORECASE)
    return subject if is_edition and len(subject) <= _LONGEST_EDITION else None


def _edition(text: str) -> str | None:
    found = _EDITION.search(text) or _VERSION.search(text)
    return " ".join(found["edition"].split()) if found else None


def _year(text: str) -> int | None:
    found = _YEAR.search(text)
    return int(found[0]) if found else None
