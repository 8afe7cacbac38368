"""Cutting pages into pieces: never across a page or a section, whole sentences, tables whole.

A page's pieces are what a reader is shown, so their text is the page's. A contents list is
left out: it names everything and answers nothing. It knows nothing of documents, ids or indexes.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cpg_store.grade import evidence_of, grade_of
from cpg_store.page import Block, Page
from cpg_store.passage import PassageKind
from cpg_store.section import SectionPath

MAX_WORDS = 170
"""The embedder reads 256 tokens, which is about this many words with the section's path."""
MIN_WORDS = 50
"""A shorter last piece joins the piece before it."""
MAX_RECOMMENDATION_WORDS = 400
_LOST_HEADING_WORDS = 4
_GRADE_LINE_WORDS = 10

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”\u2019)\]]*\s+(?=[A-Z0-9“\"(•\u2013-])")
_DOT_LEADER = re.compile(r"(?:\.\s?){5,}\s*[\divxlc]*\s*$")

_CONTENTS_TITLE = re.compile(r"^\W*(?:table of )?contents\W*$", re.IGNORECASE)
_PAGE_AT_END = re.compile(r"(?:^|\s)(?:\d{1,4}|[ivxlc]{1,6})\s*$")


@dataclass(frozen=True)
class Piece:
    """The text of a passage and where it stands."""

    text: str
    page: int | None
    page_label: str | None
    section: str
    kind: PassageKind
    grade: str | None
    evidence: str | None


def split(pages: Iterable[Page]) -> Iterator[Piece]:
    """Cut pages into pieces, in reading order."""
    path = SectionPath()
    for page in pages:
        if _is_contents(page):
            continue
        yield from _split_page(page, path)


def _split_page(page: Page, path: SectionPath) -> Iterator[Piece]:
    gathered: list[str] = []
    lost = ""
    for block in page.blocks:
        if block.kind == "heading":
            yield from _prose(gathered, page, path)
            if lost and len(lost.split()) >= _LOST_HEADING_WORDS:
                yield from _prose([lost], page, path)
            gathered = []
            path.enter(block.text, block.level)
            # A heading with nothing under it on its page is text that would not be found.
            lost = block.text
        elif not _DOT_LEADER.search(block.text):
            lost = ""
            if _stands_alone(block):
                # A grade printed on a line of its own belongs to the paragraph above it.
                graded = [gathered.pop()] if gathered and _is_only_grade(block) else []
                yield from _prose(gathered, page, path)
                gathered = []
                text = "\n".join([*graded, block.text])
                piece = _piece(text, page, path, is_table=block.kind == "table")
                yield piece
                if piece.grade:
                    path.close_box()
            else:
                gathered.append(block.text)
    yield from _prose(gathered, page, path)
    if lost and len(lost.split()) >= _LOST_HEADING_WORDS:
        yield from _prose([lost], page, path)


def _is_contents(page: Page) -> bool:
    """Tell a page of contents: so titled, and most of what it says ends in a page number."""
    if not any(_CONTENTS_TITLE.match(each.text) for each in page.blocks if each.kind == "heading"):
        return False
    entries = [block.text for block in page.blocks if block.kind != "heading"]
    return sum(bool(_PAGE_AT_END.search(text)) for text in entries) * 2 > len(entries)


def _stands_alone(block: Block) -> bool:
    return block.kind == "table" or grade_of(block.text) is not None


def _is_only_grade(block: Block) -> bool:
    return block.kind == "paragraph" and len(block.text.split()) <= _GRADE_LINE_WORDS


def _prose(paragraphs: list[str], page: Page, path: SectionPath) -> Iterator[Piece]:
    limit = MAX_RECOMMENDATION_WORDS if path.is_recommendation() else MAX_WORDS
    for text in _pack(paragraphs, limit):
        yield _piece(text, page, path)


def _piece(text: str, page: Page, path: SectionPath, is_table: bool = False) -> Piece:
    grade = grade_of(text)
    kind: PassageKind = "text"
    if is_table:
        kind = "table"
    elif grade or path.is_recommendation():
        kind = "recommendation"
    return Piece(text, page.number, page.label, str(path), kind, grade, evidence_of(text))


def _pack(paragraphs: list[str], limit: int) -> list[str]:
    """Fill pieces of at most `limit` words with whole paragraphs, or sentences of a long one."""
    packs: list[list[str]] = []
    for paragraph in paragraphs:
        for part in _parts(paragraph, limit):
            if packs and _words(packs[-1]) + len(part.split()) <= limit:
                packs[-1].append(part)
            else:
                packs.append([part])
    if len(packs) > 1 and _words(packs[-1]) < MIN_WORDS:
        short = packs.pop()
        packs[-1] += short
    return ["\n".join(pack) for pack in packs]


def _parts(paragraph: str, limit: int) -> list[str]:
    """Cut a paragraph longer than `limit` between sentences."""
    if len(paragraph.split()) <= limit:
        return [paragraph]
    parts: list[list[str]] = [[]]
    for sentence in _sentences(paragraph):
        if parts[-1] and _words(parts[-1]) + len(sentence.split()) > limit:
            parts.append([])
        parts[-1].append(sentence)
    if len(parts) > 1 and _words(parts[-1]) < MIN_WORDS:
        short = parts.pop()
        parts[-1] += short
    return [" ".join(part) for part in parts]


def _sentences(paragraph: str) -> list[str]:
    """Cut between sentences; the closing marks stay with the sentence they close."""
    cuts = [match.end() for match in _SENTENCE_END.finditer(paragraph)]
    edges = zip([0, *cuts], [*cuts, len(paragraph)], strict=True)
    return [paragraph[start:end].strip() for start, end in edges]


def _words(texts: list[str]) -> int:
    return sum(len(text.split()) for text in texts)
