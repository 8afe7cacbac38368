"""Cutting pages into pieces: never across a section, whole sentences, rows of tables whole.

A page's pieces are what a reader is shown, so their text is the page's; only a sentence that a
page's end breaks is kept whole with the page where it begins. A contents list is left out: it
names everything and answers nothing. It knows nothing of documents, ids or indexes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cpg_store.flow import Part, Placed, flow
from cpg_store.grade import grading_of, is_statement, stated_in
from cpg_store.language import language_of
from cpg_store.page import Page
from cpg_store.passage import GradingSystem, Language, PassageKind
from cpg_store.section import SectionPath
from cpg_store.typography import BULLET, CAPTION

MAX_WORDS = 170
"""The embedder reads 256 tokens, which is about this many words with the section's path."""
MIN_WORDS = 50
"""A shorter last piece joins the piece before it."""
MAX_RECOMMENDATION_WORDS = 400
MAX_ROW_WORDS = 600
"""A table's row is whole, however much its piece then holds; a longer one is no row."""
WORD_CHARACTERS = 12
"""So many characters count as a word at least: an endless word is cut like others."""
_LOST_HEADING_WORDS = 4
_GRADE_LINE_WORDS = 10
_CAPTION_WORDS = 40
_TABLE, _FIGURE = ("table", "jadual"), ("figure", "fig.", "rajah")
"""What a caption calls that which it stands by."""

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”\u2019)\]]*\s+(?=[A-Z0-9“\"(•\u2013-])")
_DOT_LEADER = re.compile(r"(?:\.\s?){5,}\s*[\divxlc]*\s*$")

_CONTENTS_TITLE = re.compile(r"^\W*(?:table of )?(?:contents|kandungan)\W*$", re.IGNORECASE)
_PAGE_AT_END = re.compile(r"(?:^|\s)(?:\d{1,4}|[ivxlc]{1,6})\s*$")


@dataclass(frozen=True)
class Piece:
    """The text of a passage and where it stands; its fields are those of `Passage`."""

    text: str
    page: int | None
    page_label: str | None
    last_page: int | None
    start: int
    end: int
    continues: bool
    section_path: tuple[str, ...]
    kind: PassageKind
    grade: str | None
    evidence: str | None
    grading: GradingSystem | None
    language: Language | None
    is_recognised: bool


@dataclass(frozen=True)
class _TableHead:
    """What is repeated over each piece of a table: its caption and its first rows."""

    page: Page
    columns: int
    lines: tuple[str, ...]


def split(pages: Sequence[Page]) -> Iterator[Piece]:
    """Cut pages into pieces, in reading order."""
    cutter = _Cutter()
    for placed in flow([page for page in pages if not _is_contents(page)]):
        cutter.cut(placed)
    return iter(cutter.pieces)


class _Cutter:
    """Goes through a document's blocks once, from its first page to its last."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self._path = SectionPath()
        self._gathered: list[Part] = []
        self._lost: Part | None = None
        """The heading that the block before was."""
        self._head: _TableHead | None = None
        """Of the table that the block before was."""

    def cut(self, placed: list[Placed]) -> None:
        """Take one page's blocks."""
        self._path.turn_page(placed[0].block.box if placed else 0)
        for each in placed:
            if not _DOT_LEADER.search(each.block.text):
                self._take(each)
        self._flush()
        if self._lost:
            self._flush_lost(self._lost, self._path.titles())
            self._lost = None

    def _take(self, each: Placed) -> None:
        block, part = each.block, each.part
        if self._path.is_left_for(block.box):
            self._flush()
            self._path.stay_in(block.box)
        if block.kind == "heading":
            self._enter(each)
            return
        self._lost = None
        if block.kind == "table":
            self._take_table(each)
            return
        self._head = None
        if block.kind == "figure" or _is_caption(part, _FIGURE):
            self._take_figure(part)
        elif block.kind == "footnote":
            self._flush()
            self._emit([part], "reference" if self._path.is_references() else "text")
        else:
            self._take_paragraph(part)

    def _enter(self, each: Placed) -> None:
        self._flush()
        lost, titles = self._lost, self._path.titles()
        self._path.enter(each.block.text, each.block.level, each.block.box)
        self._head = None
        self._lost = each.part
        if lost and lost.text not in self._path.titles():
            self._flush_lost(lost, titles)

    def _take_paragraph(self, part: Part) -> None:
        in_box = self._path.is_recommendation() and self._path.is_boxed()
        graded = grading_of(part.text)
        if in_box or self._path.is_references():
            self._gathered.append(part)
        elif graded.grade and len(part.text.split()) <= _GRADE_LINE_WORDS:
            self._take_grade_line(part)
        elif graded.grade or is_statement(part.text):
            self._flush()
            self._emit([part], "recommendation")
            if graded.grade:
                self._path.close_box()
        else:
            self._gathered.append(part)

    def _take_grade_line(self, part: Part) -> None:
        """A grade printed on a line of its own belongs to the paragraph above it."""
        above = self._gathered.pop() if self._gathered else None
        self._flush()
        last = self.pieces[-1] if self.pieces else None
        if above is None and last and last.kind == "recommendation" and not last.evidence:
            self.pieces[-1] = _with_line(last, part)
        else:
            self._emit([part] if above is None else [above, part], "recommendation")
        self._path.close_box()

    def _take_table(self, each: Placed) -> None:
        caption = self._caption_above(_TABLE)
        self._flush()
        rows = _rows(each.part)
        columns = rows[0].text.count("|") - 1
        head_rows = rows[: each.block.head_rows]
        # A table that goes on over the page has its head on the page before.
        goes_on = (
            caption is None
            and self._head is not None
            and self._head.columns == columns
            and self._head.page is not each.part.page
        )
        if goes_on and self._head:
            lines = self._head.lines
            body = rows if head_rows[0].text not in lines else rows[len(head_rows) :]
        else:
            lines = tuple(part.text for part in [*([caption] if caption else []), *head_rows])
            body = rows[len(head_rows) :]
        self._emit_table(lines, head_rows, body, caption, goes_on)
        self._head = _TableHead(each.part.page, columns, lines)

    def _emit_table(
        self,
        lines: tuple[str, ...],
        head_rows: list[Part],
        body: list[Part],
        caption: Part | None,
        goes_on: bool,
    ) -> None:
        room = max(MAX_WORDS - _words("\n".join(lines)), MIN_WORDS)
        for number, group in enumerate(_pack(body or head_rows, room, MAX_ROW_WORDS)):
            is_first = not number and not goes_on
            placed = [*([caption] if caption else []), *head_rows, *group] if is_first else group
            text = "\n".join([*lines, *(part.text for part in group)] if body else lines)
            self._emit(placed, "table", text=text, continues=not is_first)

    def _take_figure(self, part: Part) -> None:
        """A figure and its caption are one piece, whichever is printed first."""
        last = self.pieces[-1] if self.pieces and not self._gathered else None
        caption = self._caption_above(_FIGURE)
        self._flush()
        is_under = last and last.kind == "figure" and last.end + 1 == part.start
        if is_under and last and last.page == part.page.number:
            self.pieces[-1] = _with_line(last, part)
        else:
            self._emit([part] if caption is None else [caption, part], "figure")

    def _caption_above(self, kinds: tuple[str, ...]) -> Part | None:
        """Take the last paragraph gathered, where it is a caption of these kinds."""
        is_there = self._gathered and _is_caption(self._gathered[-1], kinds)
        return self._gathered.pop() if is_there else None

    def _flush(self) -> None:
        """Make pieces of the paragraphs gathered."""
        parts, self._gathered = self._gathered, []
        kind: PassageKind = "text"
        limit = MAX_WORDS
        if self._path.is_references():
            kind = "reference"
        elif self._path.is_recommendation():
            kind, limit = "recommendation", MAX_RECOMMENDATION_WORDS
        last: Part | None = None
        for pack in _pack(parts, limit):
            goes_on = pack[0].is_cut or (
                last is not None
                and bool(BULLET.match(pack[0].text))
                and (bool(BULLET.match(last.text)) or last.text.endswith(":"))
            )
            self._emit(pack, kind, continues=goes_on)
            last = pack[-1]

    def _flush_lost(self, lost: Part, titles: tuple[str, ...]) -> None:
        """A heading with nothing under it on its page is text that would not be found."""
        if len(lost.text.split()) >= _LOST_HEADING_WORDS:
            self._emit([lost], "text")
            self.pieces[-1] = replace(self.pieces[-1], section_path=titles)

    def _emit(
        self,
        parts: list[Part],
        kind: PassageKind,
        *,
        text: str | None = None,
        continues: bool = False,
    ) -> None:
        text = "\n".join(part.text for part in parts) if text is None else text
        first, last = parts[0], parts[-1]
        stated = stated_in(text, kind)
        self.pieces.append(
            Piece(
                text=text,
                page=first.page.number,
                page_label=first.page.label,
                last_page=last.last_page.number,
                start=first.start,
                end=last.end,
                continues=continues,
                section_path=self._path.titles(),
                kind=kind,
                grade=stated.grade,
                evidence=stated.evidence,
                grading=stated.system,
                language=language_of(text),
                is_recognised=first.page.is_recognised,
            )
        )


def _with_line(piece: Piece, part: Part) -> Piece:
    text = f"{piece.text}\n{part.text}"
    stated = grading_of(text)
    return replace(
        piece,
        text=text,
        last_page=part.last_page.number,
        end=part.end,
        grade=stated.grade,
        evidence=stated.evidence,
        grading=stated.system,
    )


def _is_contents(page: Page) -> bool:
    """Tell a page of contents: so titled, and most of what it says ends in a page number."""
    if not any(_CONTENTS_TITLE.match(each.text) for each in page.blocks if each.kind == "heading"):
        return False
    entries = [
        line
        for block in page.blocks
        if block.kind != "heading"
        for line in block.text.strip(" |").replace(" |\n", "\n").splitlines()
    ]
    return sum(bool(_PAGE_AT_END.search(text)) for text in entries) * 2 > len(entries)


def _is_caption(part: Part, kinds: tuple[str, ...]) -> bool:
    found = CAPTION.match(part.text)
    is_short = len(part.text.split()) <= _CAPTION_WORDS
    return is_short and found is not None and found["kind"].lower() in kinds


def _rows(part: Part) -> list[Part]:
    rows = []
    start = 0
    for line in part.text.split("\n"):
        rows.append(part.slice(start, start + len(line)))
        start += len(line) + 1
    return rows


def _pack(parts: list[Part], limit: int, whole: int = 0) -> list[list[Part]]:
    """Fill pieces of at most `limit` words with whole parts, or sentences of one that is longer
    than that and than `whole`."""
    packs: list[list[Part]] = []
    for part in parts:
        for piece in _pieces_of(part, max(limit, whole)):
            if packs and _count(packs[-1]) + _words(piece.text) <= limit:
                packs[-1].append(piece)
            else:
                packs.append([piece])
    if len(packs) > 1 and _count(packs[-1]) < MIN_WORDS:
        short = packs.pop()
        packs[-1] += short
    return packs


def _pieces_of(part: Part, limit: int) -> list[Part]:
    """Cut a part longer than `limit` between sentences, and an endless one anywhere."""
    if _words(part.text) <= limit:
        return [part]
    cuts = [0]
    edges = [match.end() for match in _SENTENCE_END.finditer(part.text)]
    for start, end in zip([0, *edges], [*edges, len(part.text)], strict=True):
        if start > cuts[-1] and _words(part.text[cuts[-1] : end]) > limit:
            cuts.append(start)
        while _words(part.text[cuts[-1] : end]) > 2 * limit:
            cuts.append(_cut_within(part.text, cuts[-1], limit))
    ends = [*cuts[1:], len(part.text)]
    if len(cuts) > 1 and _words(part.text[cuts[-1] :]) < MIN_WORDS:
        cuts, ends = cuts[:-1], [*cuts[1:-1], len(part.text)]
    return [part.slice(start, end) for start, end in zip(cuts, ends, strict=True)]


def _cut_within(text: str, start: int, limit: int) -> int:
    """The end of at most `limit` words from `start`: at a space, or inside an endless word."""
    furthest = start + limit * WORD_CHARACTERS
    at = start
    for _ in range(limit):
        space = text.find(" ", at + 1)
        if space < 0 or space > furthest:
            break
        at = space
    return at if at > start else min(furthest, len(text))


def _words(text: str) -> int:
    return max(len(text.split()), len(text) // WORD_CHARACTERS)


def _count(parts: list[Part]) -> int:
    return sum(_words(part.text) for part in parts)
