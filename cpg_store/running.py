"""Running heads, running feet and page numbers: found, removed, and read for the printed label.

It looks only at the head and foot of the page, and only believes what recurs. It knows nothing of
paragraphs or headings.
"""

import re
from collections import Counter
from dataclasses import replace

from cpg_store.printed import Line, PrintedPage

HEAD_AND_FOOT = 0.09
"""The share of the page's height, at each end, in which running lines are looked for."""

_PAGE_NUMBER = re.compile(r"^\W*(?:page\s+)?(\d{1,4}|[ivxlc]{1,7})(?:\s*(?:of|/)\s*\d+)?\W*$", re.I)


def strip_running_lines(pages: list[PrintedPage]) -> list[PrintedPage]:
    """Remove running lines and page numbers, keeping the printed number as the page's label."""
    seen = Counter(key for page in pages for key in {_key(line, page) for line in _edge(page)})
    needed = max(2, min(3, len(pages)))
    running = {key for key, times in seen.items() if times >= needed}
    return [_strip(page, running) for page in pages]


def _strip(page: PrintedPage, running: set[tuple[str, int]]) -> PrintedPage:
    edge = _edge(page)
    numbers = [found[1] for line in edge if (found := _PAGE_NUMBER.match(line.text.strip()))]
    gone = {
        line
        for line in edge
        if _key(line, page) in running or _PAGE_NUMBER.match(line.text.strip())
    }
    kept = page.keeping([line for line in page.lines if line not in gone])
    return replace(kept, label=page.label or (numbers[-1] if numbers else None))


def _edge(page: PrintedPage) -> list[Line]:
    depth = HEAD_AND_FOOT * page.height
    return [line for line in page.lines if line.y1 <= depth or line.y0 >= page.height - depth]


def _key(line: Line, page: PrintedPage) -> tuple[str, int]:
    """Name a line by its words, its numbers blanked, and the end of the page it stands at."""
    words = re.sub(r"\d+", "#", " ".join(line.text.split())).casefold()
    return words, int(line.y0 > page.height / 2)
