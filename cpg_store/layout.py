"""From printed lines to blocks: reading order, paragraphs, headings, joined words, tables.

The PDF maker's own order is kept unless it jumps up the page without moving right; then the page
is read column by column. It knows nothing of sections, passages or files.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from cpg_store.page import Block, Page
from cpg_store.printed import Line, PrintedPage
from cpg_store.ruled import find_grids, table_text
from cpg_store.running import strip_running_lines

MAX_HEADING_WORDS = 20
_HEADING_LEVELS = 4
_LARGER = 1.12
"""A heading's type is at least this many times the body's."""

_BULLET = re.compile(
    r"^\s*(?:[•▪◦‣●○■□\u2013*\uf0b7\uf0a7\uf0d8-]|\(?[a-z0-9]{1,2}[.)])(?:\s|$)", re.I
)
_WORD = re.compile(r"[^\W\d_]+")
_BROKEN_WORD = re.compile(r"([^\W\d_]+)[-\u00ad]$")

Paragraph = list[Line]


def arrange(printed: list[PrintedPage]) -> tuple[Page, ...]:
    """Read printed pages into blocks."""
    stripped = strip_running_lines(printed)
    lines = [line for page in stripped for line in page.lines]
    typography = _Typography(lines)
    return tuple(
        Page(page.number, page.label, tuple(_blocks(page, typography))) for page in stripped
    )


class _Typography:
    """What the whole document says about one line: its body size, heading sizes and words."""

    def __init__(self, lines: list[Line]) -> None:
        sizes: Counter[float] = Counter()
        for line in lines:
            sizes[line.size] += len(line.text)
        self.body = sizes.most_common(1)[0][0] if sizes else 0.0
        larger = sorted((size for size in sizes if size >= self.body * _LARGER), reverse=True)
        self._levels = {size: min(rank, _HEADING_LEVELS) for rank, size in enumerate(larger, 1)}
        self._words = {word.casefold() for line in lines for word in _WORD.findall(line.text)[:-1]}

    def heading_level(self, paragraph: Paragraph, text: str) -> int:
        """Give a heading's level, or 0 for a paragraph."""
        if len(text.split()) > MAX_HEADING_WORDS or text.endswith((".", ";", ",")):
            return 0
        if (_BULLET.match(text) and not text[0].isdigit()) or not re.search(r"[^\W\d_]{2}", text):
            return 0
        level = min(self._levels.get(line.size, 0) for line in paragraph)
        if level:
            return level
        is_bold = all(line.is_bold and line.size >= self.body for line in paragraph)
        return _HEADING_LEVELS + 1 if is_bold and len(paragraph) <= 2 else 0

    def join(self, texts: list[str]) -> str:
        """Join a paragraph's lines, words broken at a line's end made whole again."""
        joined = ""
        for text in (" ".join(text.split()) for text in texts):
            broken = _BROKEN_WORD.search(joined)
            if broken and text[:1].islower():
                joined = joined[:-1] + ("-" if self._is_compound(broken, text) else "") + text
            else:
                joined = f"{joined} {text}" if joined else text
        return joined

    def _is_compound(self, broken: re.Match[str], following: str) -> bool:
        """True where the hyphen is part of the word: "follow-up", not "recommen-dation"."""
        first, rest = broken[1].casefold(), _WORD.match(following)
        if (
            broken[0].endswith("\u00ad")
            or rest is None
            or first + rest[0].casefold() in self._words
        ):
            return False
        return first in self._words and rest[0].casefold() in self._words


def _blocks(page: PrintedPage, typography: _Typography) -> Iterator[Block]:
    """Give the page's blocks in reading order, each table where its first line stood."""
    tables: dict[Line, str] = {}
    held: set[Line] = set()
    for grid in find_grids(page):
        inside = [line for line in page.lines if line not in held and grid.cell_of(line)]
        if inside:
            tables[inside[0]] = table_text(grid, inside)
            held.update(inside)
    prose = [line for line in page.lines if line not in held or line in tables]
    for paragraph in _in_reading_order(_paragraphs(prose, set(tables)), page):
        if paragraph[0] in tables:
            yield Block("table", tables[paragraph[0]])
            continue
        text = typography.join(_rows(paragraph))
        level = typography.heading_level(paragraph, text)
        yield Block("heading" if level else "paragraph", text, level)


def _paragraphs(lines: list[Line], apart: set[Line]) -> list[Paragraph]:
    """Cut the lines where the block, the type or the list item changes."""
    paragraphs: list[Paragraph] = []
    for line in lines:
        if paragraphs and not _starts_paragraph(line, paragraphs[-1], apart):
            paragraphs[-1].append(line)
        else:
            paragraphs.append([line])
    return paragraphs


def _starts_paragraph(line: Line, paragraph: Paragraph, apart: set[Line]) -> bool:
    last = paragraph[-1]
    if line in apart or last in apart:
        return True
    if last.shares_row(line) and 0 <= line.x0 - last.x1 < 3 * line.size:
        return False
    if line.x0 > last.x1 or line.x1 < last.x0 or _BULLET.match(line.text):
        return True
    if line.block != last.block and not _runs_on(last, line):
        return True
    return abs(line.size - last.size) > 1.5 or line.is_bold != all(
        part.is_bold for part in paragraph
    )


def _runs_on(last: Line, line: Line) -> bool:
    """Tell a sentence that goes on in the next block: some PDFs make every line a block."""
    gap = line.y0 - last.y1
    return -line.size < gap < 1.2 * line.size and not last.text.rstrip().endswith((".", ":", ";"))


def _rows(paragraph: Paragraph) -> list[str]:
    """Put back together what stands side by side, such as a bullet and its text."""
    rows = [paragraph[0].text]
    for last, line in pairwise(paragraph):
        if last.shares_row(line) and line.x0 >= last.x0:
            rows[-1] = f"{rows[-1]} {line.text}"
        else:
            rows.append(line.text)
    return rows


def _in_reading_order(paragraphs: list[Paragraph], page: PrintedPage) -> list[Paragraph]:
    if not any(_jumps_back(a[-1], b[0]) for a, b in pairwise(paragraphs)):
        return paragraphs
    middle = page.width / 2
    spanning = [
        part for part in paragraphs if _left(part) < middle - 20 and _right(part) > middle + 20
    ]
    tops = sorted(_top(part) for part in spanning)

    def place(part: Paragraph) -> tuple[int, int, float, float]:
        # Between two paragraphs that span the page, the left column is read before the right.
        band = sum(top <= _top(part) for top in tops)
        column = 0 if part in spanning else 1 + (_left(part) >= middle - 20)
        return band, column, _top(part), _left(part)

    return sorted(paragraphs, key=place)


def _jumps_back(line: Line, following: Line) -> bool:
    return following.y0 < line.y0 - 2 * line.size and following.x0 < line.x1


def _left(paragraph: Paragraph) -> float:
    return min(line.x0 for line in paragraph)


def _right(paragraph: Paragraph) -> float:
    return max(line.x1 for line in paragraph)


def _top(paragraph: Paragraph) -> float:
    return min(line.y0 for line in paragraph)
