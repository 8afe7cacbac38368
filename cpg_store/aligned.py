"""Tables without rules: found where short runs of text stand in columns, row under row.

A row is at least two runs side by side; a table is at least three rows whose runs start at the
same places. Two columns of prose also stand side by side, but their runs are long and none shares
a block with its neighbour. It knows nothing of paragraphs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from cpg_store.printed import Line, PrintedPage, rows_of

MIN_ROWS = 3
_NEAR_PT = 6.0
_CELL_WORDS = 12
_TERSE_WORDS = 3
"""On average in a row whose runs the maker did not set together."""
_FULL_ROWS = 0.5
"""The share of rows that must have a run in every column."""
_SPACED = 2.2
"""A gap between two rows larger than this many lines ends the table."""

Row = list[Line]


@dataclass(frozen=True)
class AlignedTable:
    """Rows of cells; each cell is the lines it holds, from the top."""

    rows: tuple[tuple[tuple[Line, ...], ...], ...]

    def lines(self) -> set[Line]:
        return {line for row in self.rows for cell in row for line in cell}


def find_aligned(page: PrintedPage, taken: set[Line]) -> list[AlignedTable]:
    """Find the unruled tables of a page among the lines that no other table has taken."""
    free = [line for line in page.lines if line not in taken]
    found = (_table(group) for group in _groups(rows_of(free)))
    return [table for table in found if table]


def _groups(rows: list[Row]) -> Iterator[list[Row]]:
    """Cut the page's rows into runs that could each be a table."""
    group: list[Row] = []
    for row in rows:
        if group and not (_is_near(group[-1], row) and _fits(group, row)):
            yield group
            group = []
        if group or _is_paired(row):
            group.append(row)
    yield group


def _is_near(above: Row, row: Row) -> bool:
    return row[0].y0 - above[0].y1 < _SPACED * max(row[0].size, above[0].size)


def _is_paired(row: Row) -> bool:
    """At least two short runs, apart, set together by the maker or both of few words."""
    if len(row) < 2 or any(len(line.text.split()) > _CELL_WORDS for line in row):
        return False
    if any(b.x0 - a.x1 < 0.5 * a.size for a, b in pairwise(row)):
        return False
    is_bullet = len(row[0].text.strip()) <= 3 and len(row) == 2
    return not is_bullet and (len({line.block for line in row}) == 1 or _is_terse(row))


def _is_terse(row: Row) -> bool:
    return sum(len(line.text.split()) for line in row) <= _TERSE_WORDS * len(row)


def _fits(group: list[Row], row: Row) -> bool:
    """Tell whether the row's runs start where the group's columns do."""
    starts = [line.x0 for line in max(group, key=len)]
    aligned = [any(abs(line.x0 - start) < _NEAR_PT for start in starts) for line in row]
    if _is_paired(row):
        return sum(aligned) >= 2
    # A cell's second line stands alone under the first, and never runs into the next column.
    following = [start for start in starts if start > row[0].x0 + _NEAR_PT]
    is_clear = not following or row[-1].x1 < following[0]
    return len(row) == 1 and all(aligned) and is_clear


def _table(group: list[Row]) -> AlignedTable | None:
    while group and not _is_paired(group[-1]) and abs(group[-1][0].x0 - group[0][0].x0) < _NEAR_PT:
        group = group[:-1]
    paired = [row for row in group if _is_paired(row)]
    if len(paired) < MIN_ROWS:
        return None
    starts = _starts(paired)
    full = sum(len({_column(line, starts) for line in row}) == len(starts) for row in paired)
    if len(starts) < 2 or full < _FULL_ROWS * len(paired):
        return None
    rows: list[list[list[Line]]] = []
    for row in group:
        if rows and len(row) == 1 and not _is_paired(row):
            rows[-1][_column(row[0], starts)].append(row[0])
            continue
        rows.append([[] for _ in starts])
        for line in row:
            rows[-1][_column(line, starts)].append(line)
    return AlignedTable(tuple(tuple(tuple(cell) for cell in row) for row in rows))


def _starts(rows: list[Row]) -> list[float]:
    """Where columns start: the places at which most rows have a run."""
    starts: list[list[float]] = []
    for x in sorted(line.x0 for row in rows for line in row):
        if starts and x - starts[-1][0] < _NEAR_PT:
            starts[-1].append(x)
        else:
            starts.append([x])
    return [places[0] for places in starts if len(places) * 2 > len(rows)]


def _column(line: Line, starts: list[float]) -> int:
    before = [place for place, start in enumerate(starts) if start <= line.x0 + _NEAR_PT]
    return before[-1] if before else 0
