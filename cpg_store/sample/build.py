"""Render content.md into the sample guideline's PDF: `python -m cpg_store.sample.build [OUT]`.

It owns the page design, and reads as much Markdown as content.md uses: headings, paragraphs with
bold words, quoted recommendation boxes and pipe tables. The same text gives the same bytes. It
knows nothing of how the store reads a PDF.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pymupdf

EDITION = "Demonstration edition, 2026"
MARK = "SAMPLE - for demonstration of the software, not for clinical use"
CONTENTS_PAGE = 2
TITLE, CHAPTER, SECTION = 1, 2, 3

_PAGE = pymupdf.paper_rect("a4")
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, _PAGE.width - 56.0, 74.0, _PAGE.height - 72.0
_WIDTH = _RIGHT - _LEFT
_PLAIN, _BOLD = "helv", "hebo"
_INK, _BLUE, _RED, _GREY = (0.1, 0.1, 0.1), (0.08, 0.22, 0.4), (0.6, 0.1, 0.1), (0.35, 0.35, 0.35)
_SHADE, _RULE = (0.92, 0.95, 0.98), (0.6, 0.66, 0.72)
_DATE = "D:20260101000000Z"
_CELL = 4.0
"""Room between a table cell's text and its rules, in points."""


class Block(Protocol):
    """A piece of a page that is drawn whole."""

    def height(self, width: float) -> float:
        """Measure the block, with the room above and below it, in points."""

    def draw(self, page: pymupdf.Page, left: float, top: float, width: float) -> None:
        """Draw the block with its upper left corner at (`left`, `top`)."""


@dataclass(frozen=True)
class Text:
    """A paragraph or a heading; `**` switches between plain and bold."""

    text: str
    size: float = 10.5
    colour: tuple[float, float, float] = _INK
    above: float = 0.0
    below: float = 6.0
    hanging: float = 0.0
    """Indent of every line but the first, in points."""

    @property
    def _line(self) -> float:
        return self.size * 1.36

    def height(self, width: float) -> float:
        return self.above + len(self._wrapped(width)) * self._line + self.below

    def draw(self, page: pymupdf.Page, left: float, top: float, width: float) -> None:
        y = top + self.above + self.size
        for number, line in enumerate(self._wrapped(width)):
            x = left + (self.hanging if number else 0.0)
            for font, run in _runs(line):
                page.insert_text((x, y), run, fontsize=self.size, fontname=font, color=self.colour)
                x += _length(run, font, self.size)
            y += self._line

    def _wrapped(self, width: float) -> list[list[tuple[str, str]]]:
        """Break the text into lines of (font, word)."""
        lines: list[list[tuple[str, str]]] = [[]]
        x = 0.0
        for part_number, part in enumerate(self.text.split("**")):
            font = _BOLD if part_number % 2 else _PLAIN
            for word in part.split():
                advance = _length(word, font, self.size)
                if lines[-1] and x + advance > width:
                    lines.append([])
                    x = self.hanging
                lines[-1].append((font, word))
                x += advance + _length(" ", font, self.size)
        return lines


@dataclass(frozen=True)
class Box:
    """A recommendation: its bold title and its text on a shaded rectangle."""

    lines: tuple[Text, ...]

    def height(self, width: float) -> float:
        return sum(line.height(width - 24) for line in self.lines) + 18

    def draw(self, page: pymupdf.Page, left: float, top: float, width: float) -> None:
        foot = top + self.height(width) - 8
        page.draw_rect((left, top, left + width, foot), color=None, fill=_SHADE)
        page.draw_rect((left, top, left + 3, foot), color=None, fill=_BLUE)
        y = top + 5
        for line in self.lines:
            line.draw(page, left + 14, y, width - 24)
            y += line.height(width - 24)


@dataclass(frozen=True)
class Table:
    """A ruled table; the first row is its head."""

    rows: tuple[tuple[str, ...], ...]
    shares: tuple[float, ...]
    """Each column's share of the width; they sum to 1."""

    def height(self, width: float) -> float:
        return sum(self._row_heights(width)) + 8

    def draw(self, page: pymupdf.Page, left: float, top: float, width: float) -> None:
        heights = self._row_heights(width)
        edges = [left]
        for share in self.shares:
            edges.append(edges[-1] + share * width)
        page.draw_rect((left, top, left + width, top + heights[0]), color=None, fill=_SHADE)
        y = top
        for cells, row_height in zip(self._cells(), heights, strict=True):
            for cell, x, end in zip(cells, edges, edges[1:], strict=False):
                page.draw_rect((x, y, end, y + row_height), color=_RULE, width=0.6)
                cell.draw(page, x + _CELL, y + _CELL, end - x - 2 * _CELL)
            y += row_height

    def _cells(self) -> Iterator[tuple[Text, ...]]:
        for number, row in enumerate(self.rows):
            bold = "" if number else "**"
            yield tuple(Text(f"{bold}{cell}{bold}", size=9, below=0) for cell in row)

    def _row_heights(self, width: float) -> list[float]:
        return [
            max(
                cell.height(share * width - 2 * _CELL)
                for cell, share in zip(cells, self.shares, strict=True)
            )
            + 2 * _CELL
            for cells in self._cells()
        ]


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; it is kept on one page."""

    heading: str
    level: int
    """TITLE, CHAPTER or SECTION."""
    blocks: tuple[Block, ...]

    @property
    def height(self) -> float:
        return sum(block.height(_WIDTH) for block in self.blocks)


def read_sections(markdown: str) -> list[Section]:
    """Parse content.md."""
    sections: list[Section] = []
    for paragraph in markdown.strip().split("\n\n"):
        if paragraph.startswith("#"):
            marks, heading = paragraph.split(" ", 1)
            sections.append(Section(heading, len(marks), (_heading(heading, len(marks)),)))
        else:
            section = sections[-1]
            sections[-1] = replace(section, blocks=(*section.blocks, _block(paragraph)))
    return sections


def render_pdf(markdown: str) -> bytes:
    """Lay out the whole document.

    Raises: ValueError when a section is longer than a page or a character has no glyph.
    """
    if not markdown.isascii():
        raise ValueError("content.md must be ASCII: the built-in fonts hold little else")
    sections = read_sections(markdown)
    # PyMuPDF's Document is only partly annotated; as Any it needs no list of exceptions.
    new_document: Any = pymupdf.open
    document = new_document()
    outline: list[tuple[Section, int]] = []
    y = _BOTTOM
    for section in sections:
        if section.height > _BOTTOM - _TOP:
            raise ValueError(f"this section is longer than a page: {section.heading}")
        if section.level < SECTION or y + section.height > _BOTTOM:
            if document.page_count == CONTENTS_PAGE - 1:
                document.new_page(width=_PAGE.width, height=_PAGE.height)
            page = document.new_page(width=_PAGE.width, height=_PAGE.height)
            y = _TOP
        outline.append((section, document.page_count))
        for block in section.blocks:
            block.draw(page, _LEFT, y, _WIDTH)
            y += block.height(_WIDTH)
    _draw_contents(document[CONTENTS_PAGE - 1], outline[1:])
    for page in document:
        _draw_margins(page, sections[0].heading)
    document.set_toc([[max(1, each.level - 1), each.heading, number] for each, number in outline])
    document.set_metadata(
        {
            "title": sections[0].heading,
            "subject": EDITION,
            "author": "MedGemma clinic appliance project",
            "keywords": "sample, demonstration",
            "creator": "cpg_store.sample.build",
            "producer": "PyMuPDF",
            "creationDate": _DATE,
            "modDate": _DATE,
        }
    )
    rendered: bytes = document.tobytes(garbage=3, clean=True, deflate=True, no_new_id=True)
    return rendered


def _heading(heading: str, level: int) -> Text:
    size, above, below = {
        TITLE: (24.0, 0.0, 10.0),
        CHAPTER: (20.0, 0.0, 10.0),
        SECTION: (14.0, 8.0, 5.0),
    }[level]
    return Text(f"**{heading}**", size, _BLUE, above, below)


def _block(paragraph: str) -> Block:
    if paragraph.startswith("|"):
        return _table(paragraph.splitlines())
    if paragraph.startswith(">"):
        lines = [line.lstrip("> ") for line in paragraph.splitlines()]
        return Box(tuple(Text(line, below=2) for line in lines if line))
    if paragraph == EDITION:
        return Text(f"**{paragraph}**", size=14, below=14)
    if paragraph.startswith("Table "):
        return Text(f"**{paragraph}**", size=9, colour=_BLUE, above=6, below=3)
    if paragraph.startswith("Source:"):
        return Text(paragraph, size=8.5, colour=_GREY, below=12)
    if paragraph.startswith("["):
        return Text(paragraph, size=9, below=3.5, hanging=20)
    return Text(paragraph)


def _table(lines: list[str]) -> Table:
    """Columns are as wide as the dashes under their heads say, in proportion."""
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    dashes = [len(cell) for cell in rows.pop(1)]
    return Table(tuple(rows), tuple(count / sum(dashes) for count in dashes))


def _draw_contents(page: pymupdf.Page, outline: list[tuple[Section, int]]) -> None:
    title = _heading("Contents", CHAPTER)
    title.draw(page, _LEFT, _TOP, _WIDTH)
    y = _TOP + title.height(_WIDTH)
    for section, number in outline:
        bold = "**" if section.level == CHAPTER else ""
        above, indent = (9.0, 0.0) if bold else (0.0, 16.0)
        entry = Text(f"{bold}{section.heading}{bold}", above=above, below=4)
        entry.draw(page, _LEFT + indent, y, _WIDTH)
        width = _length(str(number), _BOLD if bold else _PLAIN, entry.size)
        replace(entry, text=f"{bold}{number}{bold}").draw(page, _RIGHT - width, y, _WIDTH)
        y += entry.height(_WIDTH)
        page.draw_line((_LEFT + indent, y - 3), (_RIGHT, y - 3), color=_RULE, width=0.3)


def _draw_margins(page: pymupdf.Page, title: str) -> None:
    """Draw the sample mark at the head, and the document and page number at the foot."""
    number = str(page.number + 1)
    head, foot = 40.0, _PAGE.height - 50
    page.insert_text((_LEFT, head), MARK, fontsize=9, fontname=_BOLD, color=_RED)
    page.draw_line((_LEFT, head + 6), (_RIGHT, head + 6), color=_RED, width=0.6)
    page.draw_line((_LEFT, foot), (_RIGHT, foot), color=_RULE, width=0.6)
    running = f"{title.partition(':')[0]}. {EDITION}"
    page.insert_text((_LEFT, foot + 14), running, fontsize=8, fontname=_PLAIN, color=_GREY)
    x = _RIGHT - _length(number, _BOLD, 10)
    page.insert_text((x, foot + 14), number, fontsize=10, fontname=_BOLD, color=_INK)


def _runs(line: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Join neighbouring words of one font; a run keeps the space that follows it."""
    words: list[str] = []
    for number, (font, word) in enumerate(line):
        words.append(word)
        last = number == len(line) - 1
        if last or line[number + 1][0] != font:
            yield font, " ".join(words) + ("" if last else " ")
            words = []


def _length(text: str, font: str, size: float) -> float:
    return float(pymupdf.get_text_length(text, fontname=font, fontsize=size))


def main() -> None:
    """Write the PDF over the old one, whole or not at all."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(prog="python -m cpg_store.sample.build", description=__doc__)
    parser.add_argument(
        "out",
        nargs="?",
        type=Path,
        default=here / "sample-guideline.pdf",
        metavar="OUT",
        help="where the PDF goes (default: beside this file)",
    )
    out: Path = parser.parse_args().out
    rendered = render_pdf((here / "content.md").read_text(encoding="utf-8"))
    unfinished = out.with_name(f"{out.name}.part")
    unfinished.write_bytes(rendered)
    unfinished.replace(out)


if __name__ == "__main__":
    main()
