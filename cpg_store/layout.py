"""From printed lines to blocks: reading order, paragraphs, headings, tables, figures, footnotes.

The PDF maker's own order is kept unless it jumps up the page without moving right; then the page
is cut at its gutters. It knows nothing of sections, passages or files.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from cpg_store.aligned import find_aligned
from cpg_store.columns import Part, reading_order
from cpg_store.figure import chart_area
from cpg_store.page import Block, Page
from cpg_store.printed import Line, PrintedPage, Rule
from cpg_store.ruled import Grid, cells_of, find_boxes_and_grids
from cpg_store.running import strip_running_lines
from cpg_store.typography import BULLET, CAPTION, LINK, Typography, shows_change

_FOOTNOTE_SIZE = 0.93
"""A footnote's type is smaller than this share of the body's."""
_FOOT = 0.55
"""The share of the page's height above which no footnote stands."""
_NOTE_MARK = re.compile(r"^\s*(?:[\u2070-\u209c\u00b9\u00b2\u00b3\u1d2c-\u1dbf*†‡§#¶]|\d{1,2}\s)")

_OUTDENT_PT = 3.0

Paragraph = list[Line]


def arrange(
    printed: list[PrintedPage], outline: Iterable[tuple[int, str, int]] = ()
) -> tuple[Page, ...]:
    """Read printed pages into blocks; `outline` is the file's own, as (level, title, page)."""
    outline = list(outline)
    single = [page.without_doubles() for page in printed]
    stripped = strip_running_lines(single, [title for _, title, _ in outline])
    typography = Typography([line for page in stripped for line in page.lines], outline)
    return tuple(_Composition(page, typography).page() for page in stripped)


class _Composition:
    """One page put back together."""

    def __init__(self, page: PrintedPage, typography: Typography) -> None:
        self._page = page
        self._typography = typography
        self._whole: dict[Line, Block] = {}
        """Tables and figures, by the line where they stand."""
        self._areas: dict[Line, list[Line]] = {}
        self._boxes: list[Rule] = []

    def page(self) -> Page:
        page = self._page
        grids, self._boxes = find_boxes_and_grids(page)
        held = set() if grids else self._hold_figure()
        held |= self._hold_tables(grids, held)
        prose = [line for line in page.lines if line not in held or line in self._whole]
        paragraphs = self._in_reading_order(self._paragraphs(prose))
        blocks = _headings_freed([self._block(paragraph) for paragraph in paragraphs])
        # Notes are read after the text that they are about.
        notes = [block for block in blocks if block.kind == "footnote"]
        text = [block for block in blocks if block.kind != "footnote"]
        return Page(page.number, page.label, (*text, *notes), page.is_recognised)

    def _hold_figure(self) -> set[Line]:
        area = chart_area(self._page)
        inside = [line for line in self._page.lines if area and line.is_within(area)]
        if not inside:
            return set()
        ordered = sorted(inside, key=lambda line: (round(line.y0 / 6), line.x0))
        text = "\n".join(" ".join(line.text.split()) for line in ordered)
        self._hold(Block("figure", text), inside)
        return set(inside)

    def _hold_tables(self, grids: list[Grid], held: set[Line]) -> set[Line]:
        taken: set[Line] = set()
        for grid in grids:
            inside = [
                line
                for line in self._page.lines
                if line not in held and line not in taken and grid.cell_of(line)
            ]
            if inside:
                self._hold(self._table(cells_of(grid, inside)), inside)
                taken.update(inside)
        for table in find_aligned(self._page, held | taken):
            inside = [line for line in self._page.lines if line in table.lines()]
            self._hold(self._table(table.rows), inside)
            taken.update(inside)
        return taken

    def _hold(self, block: Block, lines: list[Line]) -> None:
        self._whole[lines[0]] = block
        self._areas[lines[0]] = lines

    def _table(self, rows: Iterable[Iterable[Iterable[Line]]]) -> Block:
        """Write a table one row a line, its cells between bars."""
        cells = [[list(cell) for cell in row] for row in rows]
        text = "\n".join(
            "| " + " | ".join(self._typography.join(_beside(cell)) for cell in row) + " |"
            for row in cells
        )
        return Block("table", text, head_rows=_head_rows(cells))

    def _block(self, paragraph: Paragraph) -> Block:
        if paragraph[0] in self._whole:
            return self._whole[paragraph[0]]
        text = self._typography.join(_beside(paragraph))
        box = self._box_of(paragraph[0])
        level = self._typography.heading_level(paragraph, text, self._page.number)
        if level:
            return Block("heading", text, level, box)
        return Block("footnote" if self._is_footnote(paragraph) else "paragraph", text, box=box)

    def _is_footnote(self, paragraph: Paragraph) -> bool:
        first = paragraph[0]
        return (
            first.y0 > _FOOT * self._page.height
            and all(line.size < _FOOTNOTE_SIZE * self._typography.body for line in paragraph)
            and bool(_NOTE_MARK.match(first.text))
        )

    def _box_of(self, line: Line) -> int:
        return next((n for n, box in enumerate(self._boxes, 1) if line.is_within(box)), 0)

    def _paragraphs(self, lines: list[Line]) -> list[Paragraph]:
        """Cut the lines where the block, the box, the type or the list item changes."""
        paragraphs: list[Paragraph] = []
        for line in lines:
            if paragraphs and not self._starts_paragraph(line, paragraphs[-1]):
                paragraphs[-1].append(line)
            else:
                paragraphs.append([line])
        return paragraphs

    def _starts_paragraph(self, line: Line, paragraph: Paragraph) -> bool:
        last = paragraph[-1]
        if line in self._whole or last in self._whole or self._box_of(line) != self._box_of(last):
            return True
        if last.shares_row(line) and 0 <= line.x0 - last.x1 < 3 * line.size:
            return False
        if line.x0 > last.x1 or line.x1 < last.x0 or BULLET.match(line.text):
            return True
        if line.block != last.block and (not _runs_on(last, line) or CAPTION.match(line.text)):
            return True
        if abs(line.size - last.size) > 1.5:
            return True
        if shows_change(last, line) and not _is_link(last, line):
            return True
        if BULLET.match(paragraph[0].text) and line.x0 < paragraph[0].x0 - _OUTDENT_PT:
            return True
        return line.is_bold != all(part.is_bold for part in paragraph)

    def _in_reading_order(self, paragraphs: list[Paragraph]) -> list[Paragraph]:
        if not any(_jumps_back(a[-1], b[0]) for a, b in pairwise(paragraphs)):
            return paragraphs
        parts = [
            _part(self._areas.get(paragraph[0], paragraph), place)
            for place, paragraph in enumerate(paragraphs)
        ]
        return [paragraphs[place] for place in reading_order(parts)]


def _headings_freed(blocks: list[Block]) -> list[Block]:
    """A heading alone in its box, on a coloured band, heads what stands under the box."""
    filled = {block.box for block in blocks if block.kind != "heading"}
    return [block if block.box in filled else replace(block, box=0) for block in blocks]


def _part(lines: list[Line], place: int) -> Part:
    return Part(
        min(line.x0 for line in lines),
        min(line.y0 for line in lines),
        max(line.x1 for line in lines),
        max(line.y1 for line in lines),
        sum(len(line.text) for line in lines),
        place,
    )


def _head_rows(rows: list[list[list[Line]]]) -> int:
    """The rows at a table's top that are set in bold, or in another colour than its last row."""
    lines_of = [[line for cell in row for line in cell] for row in rows]
    last = lines_of[-1][0]
    head = 0
    for lines in lines_of[:-1]:
        is_head = all(line.is_bold for line in lines) and not last.is_bold
        if not is_head and not all(shows_change(line, last) for line in lines):
            break
        head += 1
    return max(head, 1)


def _runs_on(last: Line, line: Line) -> bool:
    """Tell a sentence that goes on in the next block: some PDFs make every line a block."""
    gap = line.y0 - last.y1
    return -line.size < gap < 1.2 * line.size and not last.text.rstrip().endswith((".", ":", ";"))


def _beside(lines: Paragraph) -> list[str]:
    """Put back together what stands side by side, such as a bullet and its text."""
    if not lines:
        return []
    rows = [lines[0].text]
    for last, line in pairwise(lines):
        if last.shares_row(line) and line.x0 >= last.x0:
            rows[-1] = f"{rows[-1]} {line.text}"
        else:
            rows.append(line.text)
    return rows


def _is_link(*lines: Line) -> bool:
    return any(LINK.search(line.text) for line in lines)


def _jumps_back(line: Line, following: Line) -> bool:
    return following.y0 < line.y0 - 2 * line.size and following.x0 < line.x1
