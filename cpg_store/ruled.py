"""Tables drawn with rules: the grid is rebuilt from the rules, the cells filled with the lines.

A table without rules is not recognised: it stays text, in the order it was written. Looking at the
rules alone costs about a millisecond a page, a hundredth of a general table finder. It knows
nothing of paragraphs.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from cpg_store.printed import Line, PrintedPage, Rule

_NEAR_PT = 3.0
MIN_COLUMNS = 2
MIN_ROWS = 2
MIN_FILLED = 0.5
"""The boxes of a flow chart also line up, but leave most of their grid empty."""


@dataclass(frozen=True)
class Grid:
    """The edges of a table's columns and rows, ascending, in points."""

    xs: tuple[float, ...]
    ys: tuple[float, ...]

    def cell_of(self, line: Line) -> tuple[int, int] | None:
        """Give the row and column that hold the line's middle."""
        row = bisect_right(self.ys, (line.y0 + line.y1) / 2) - 1
        # A line that starts in a cell belongs to it, however far it runs into the next.
        column = bisect_right(self.xs, line.x0 + _NEAR_PT) - 1
        inside = 0 <= row < len(self.ys) - 1 and 0 <= column < len(self.xs) - 1
        return (row, column) if inside else None


def find_grids(page: PrintedPage) -> list[Grid]:
    """Find the ruled tables of a page, from the top."""
    grids = (_grid(group) for group in _touching(page.rules))
    return sorted(
        (grid for grid in grids if grid and _is_filled(grid, page)), key=lambda grid: grid.ys[0]
    )


def table_text(grid: Grid, lines: Iterable[Line]) -> str:
    """Write a table one row a line, its cells between bars."""
    cells: dict[tuple[int, int], list[str]] = {}
    for line in sorted(lines, key=lambda line: (round(line.y0), line.x0)):
        cell = grid.cell_of(line)
        if cell:
            cells.setdefault(cell, []).append(" ".join(line.text.split()))
    columns = sorted({column for _, column in cells})
    return "\n".join(
        "| " + " | ".join(" ".join(cells.get((row, column), ())) for column in columns) + " |"
        for row in sorted({row for row, _ in cells})
    )


def _is_filled(grid: Grid, page: PrintedPage) -> bool:
    """A box drawn round prose, or a chart, is not a table: rows must pair several cells."""
    filled = {cell for line in page.lines if (cell := grid.cell_of(line))}
    columns_by_row: dict[int, int] = {}
    for row, _ in filled:
        columns_by_row[row] = columns_by_row.get(row, 0) + 1
    used_columns = {column for _, column in filled}
    if len(filled) < MIN_FILLED * len(columns_by_row) * len(used_columns):
        return False
    paired = sum(columns >= MIN_COLUMNS for columns in columns_by_row.values())
    return paired >= MIN_ROWS and paired * 2 >= len(columns_by_row)


def _grid(rules: list[Rule]) -> Grid | None:
    xs = _edges(rule[0] for rule in rules if _is_upright(rule))
    ys = _edges(rule[1] for rule in rules if not _is_upright(rule))
    if len(xs) <= MIN_COLUMNS or len(ys) <= MIN_ROWS:
        return None
    return Grid(xs, ys)


def _touching(rules: tuple[Rule, ...]) -> list[list[Rule]]:
    """Group rules that meet, directly or through others."""
    groups: list[tuple[Rule, list[Rule]]] = []
    for rule in sorted(rules, key=lambda rule: (rule[1], rule[0])):
        bounds, members, apart = rule, [rule], []
        for other_bounds, other_members in groups:
            if _meet(bounds, other_bounds):
                bounds = _around(bounds, other_bounds)
                members = members + other_members
            else:
                apart.append((other_bounds, other_members))
        groups = [*apart, (bounds, members)]
    return [members for _, members in groups]


def _meet(a: Rule, b: Rule) -> bool:
    return (
        a[0] <= b[2] + _NEAR_PT
        and b[0] <= a[2] + _NEAR_PT
        and a[1] <= b[3] + _NEAR_PT
        and b[1] <= a[3] + _NEAR_PT
    )


def _around(a: Rule, b: Rule) -> Rule:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _is_upright(rule: Rule) -> bool:
    return rule[3] - rule[1] > rule[2] - rule[0]


def _edges(values: Iterable[float]) -> tuple[float, ...]:
    """Sort edges, those closer than a rule's thickness counted once."""
    edges: list[float] = []
    for value in sorted(values):
        if not edges or value - edges[-1] > _NEAR_PT:
            edges.append(value)
    return tuple(edges)
