"""Running heads, running feet and page numbers: found, removed, and read for the printed label.

It looks only at the head and foot of the page, and only believes what recurs, what repeats one of
the document's headings, or what stands outside the body where such lines always stand. It knows
nothing of paragraphs.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from cpg_store.printed import Line, PrintedPage
from cpg_store.typography import LARGER, letters

HEAD_AND_FOOT = 0.09
"""The share of the page's height, at each end, in which running lines are looked for."""
_USUAL_PAGES = 8
"""A place and type in which this many pages set a line is a place for running lines."""

_PAGE_NUMBER = re.compile(r"^\W*(?:page\s+)?(\d{1,4}|[ivxlc]{1,7})(?:\s*(?:of|/)\s*\d+)?\W*$", re.I)

Place = tuple[int, float, str]


def strip_running_lines(
    pages: list[PrintedPage], outline_titles: Iterable[str] = ()
) -> list[PrintedPage]:
    """Remove running lines and page numbers, keeping the printed number as the page's label."""
    edges = [_edge(page) for page in pages]
    running = _recurring(pages, edges)
    body = _body_size(pages)
    places = Counter(place for edge in edges for place in {_place(line) for line in edge})
    usual = {
        place for place, times in places.items() if times >= _USUAL_PAGES and place[1] < body - 0.4
    }
    titles = {letters(title) for title in outline_titles} | {
        letters(line.text) for page in pages for line in page.lines if line.size >= body * LARGER
    }
    titles.discard("")

    def is_running(line: Line, page: PrintedPage) -> bool:
        return (
            _key(line, page) in running
            or bool(_PAGE_NUMBER.match(line.text.strip()))
            or (line.size < body * LARGER and letters(line.text) in titles)
            or (_place(line) in usual and _is_outside(line, page, body))
        )

    return [
        _strip(page, edge, {line for line in edge if is_running(line, page)})
        for page, edge in zip(pages, edges, strict=True)
    ]


def running_words(pages: list[PrintedPage]) -> str:
    """Give each line that recurs at the head or foot of pages once: it may name the edition."""
    edges = [_edge(page) for page in pages]
    running = _recurring(pages, edges)
    lines = (
        line.text.strip()
        for page, edge in zip(pages, edges, strict=True)
        for line in edge
        if _key(line, page) in running
    )
    return "\n".join(dict.fromkeys(line for line in lines if not _PAGE_NUMBER.match(line)))


def _recurring(pages: list[PrintedPage], edges: list[list[Line]]) -> set[tuple[str, int]]:
    seen = Counter(
        key
        for page, edge in zip(pages, edges, strict=True)
        for key in {_key(line, page) for line in edge}
    )
    needed = max(2, min(3, len(pages)))
    return {key for key, times in seen.items() if times >= needed}


def _strip(page: PrintedPage, edge: list[Line], gone: set[Line]) -> PrintedPage:
    numbers = [found[1] for line in edge if (found := _PAGE_NUMBER.match(line.text.strip()))]
    kept = page.keeping([line for line in page.lines if line not in gone])
    return replace(kept, label=page.label or (numbers[-1] if numbers else None))


def _edge(page: PrintedPage) -> list[Line]:
    depth = HEAD_AND_FOOT * page.height
    return [
        line
        for line in page.lines
        if (line.y1 <= depth or line.y0 >= page.height - depth) and not _is_in_table(line, page)
    ]


def _is_in_table(line: Line, page: PrintedPage) -> bool:
    """Tell a table's head at the head of the page: it recurs, too, but stands between rules."""
    middle = (line.y0 + line.y1) / 2
    beside = [rule for rule in page.rules if rule[1] < middle < rule[3]]
    return any(rule[0] <= line.x0 for rule in beside) and any(rule[0] >= line.x1 for rule in beside)


def _is_outside(line: Line, page: PrintedPage, body: float) -> bool:
    """Tell whether no line of the body stands beyond this one."""
    bodies = [other for other in page.lines if abs(other.size - body) < 0.5]
    if line.y0 > page.height / 2:
        return all(other.y1 <= line.y1 for other in bodies)
    return all(other.y0 >= line.y0 for other in bodies)


def _body_size(pages: list[PrintedPage]) -> float:
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            sizes[line.size] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _place(line: Line) -> Place:
    return round(line.y0), line.size, line.font


def _key(line: Line, page: PrintedPage) -> tuple[str, int]:
    """Name a line by its words, its numbers blanked, and the end of the page it stands at."""
    words = re.sub(r"\d+", "#", " ".join(line.text.split())).casefold()
    return words, int(line.y0 > page.height / 2)
