"""Tables drawn with rules or shaded cells: the grid is rebuilt from the edges, the cells filled.

Looking at the edges alone costs about a millisecond a page, a hundredth of a general table finder.
A table without any is `aligned`'s. It knows nothing of paragraphs.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce

from cpg_store.printed import Line, PrintedPage, Rule, rows_of

_NEAR_PT = 3.0
MIN_COLUMNS = 2
MIN_ROWS = 2
MIN_FILLED = 0.5
"""The boxes of a flow chart also line up, but leave most of their grid empty."""
_BAND_GAP_PT, _SAME_PT, _PADDING_PT = 240.0, 6.0, 12.0
_TICK_BOX_PT = 11.0
_NARROWEST_PT = 18.0
"""A narrower column is a margin or a bullet's room."""
_NEW_ROW = 0.5
"""Of the type's size: more room above a line of the first column than between its lines."""
_COVERED = 0.6
"""The share of a column's width that a rule must cross to part two of its cells."""
_BACKGROUND = 0.8
"""Of a page's width and height; a larger area is the page's ground."""

BOX_WIDTH, BOX_HEIGHT = 100.0, 24.0
"""Points; a smaller frame is an ornament."""

Cell = tuple[int, int]


@dataclass(frozen=True)
class Grid:
    """The edges of a table's columns and rows, ascending, in points."""

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    open_edges: frozenset[Cell] = frozenset()
    """(edge, column) where no rule parts the rows above and below: one cell over both."""
    open_sides: frozenset[Cell] = frozenset()
    """(row, column) where no rule parts the column from the next one: one cell over both."""

    def cell_of(self, line: Line) -> Cell | None:
        """Give the row and column of the cell that holds the line's middle."""
        row = bisect_right(self.ys, (line.y0 + line.y1) / 2) - 1
        # A line that starts in a cell belongs to it, however far it runs into the next.
        column = bisect_right(self.xs, line.x0 + _NEAR_PT) - 1
        if not (0 <= row < len(self.ys) - 1 and 0 <= column < len(self.xs) - 1):
            return None
        while row and (row, column) in self.open_edges:
            row -= 1
        return row, column


def find_boxes_and_grids(page: PrintedPage) -> tuple[list[Grid], list[Rule]]:
    """Find the ruled tables of a page, and the boxes drawn round prose, each from the top."""
    grids: list[Grid] = []
    boxes: list[Rule] = []
    for group in _stacked(_touching(_edges_drawn(page)), page):
        grid = _grid(group)
        grid = grid and _with_rows_closed(grid, page)
        if grid and _is_filled(grid, page):
            grids.append(grid)
        elif any(_is_upright(rule) for rule in group):
            bounds = reduce(_around, group)
            if bounds[2] - bounds[0] > BOX_WIDTH and bounds[3] - bounds[1] > BOX_HEIGHT:
                boxes.append(bounds)
    grids.sort(key=lambda grid: grid.ys[0])
    return grids, sorted(boxes, key=lambda box: box[1])


def cells_of(grid: Grid, lines: Iterable[Line]) -> list[list[list[Line]]]:
    """Give a table's rows, each a list of cells, each the lines it holds; none is all empty."""
    cells: dict[Cell, list[Line]] = {}
    for line in lines:
        cell = grid.cell_of(line)
        if cell:
            cells.setdefault(cell, []).append(line)
    _part_cells(grid, cells)
    columns = sorted({column for _, column in cells})
    return [
        [_down(cells.get((row, column), [])) for column in columns]
        for row in sorted({row for row, _ in cells})
    ]


def _part_cells(grid: Grid, cells: dict[Cell, list[Line]]) -> None:
    """Where the PDF gives two cells as one line, part it where the next column's lines begin."""
    starts = {
        column: Counter(
            round(line.x0)
            for (_, other), lines in cells.items()
            if other == column
            for line in lines
        ).most_common(1)[0][0]
        for column in {column for _, column in cells}
    }
    columns = range(len(grid.xs) - 2)
    for row, column in ((row, column) for row in {row for row, _ in cells} for column in columns):
        lines = cells.get((row, column), [])
        following = row, column + 1
        if column + 1 not in starts or (row, column) in grid.open_sides:
            continue
        across = [line for line in lines if line.x1 > grid.xs[column + 1] + _NEAR_PT]
        halves = [both for line in across if (both := line.cut_at(starts[column + 1]))]
        if len(halves) < len(across):  # some line runs on over the edge: one cell over both
            continue
        for line, (left, right) in zip(across, halves, strict=True):
            lines[lines.index(line)] = left
            cells.setdefault(following, []).append(right)


def _down(lines: list[Line]) -> list[Line]:
    """A cell's lines from the top, those side by side from the left."""
    return [line for row in rows_of(lines) for line in row]


def _is_filled(grid: Grid, page: PrintedPage) -> bool:
    """A box drawn round prose, or a chart, is not a table: rows must pair several cells."""
    filled = {cell for line in page.lines if (cell := grid.cell_of(line))}
    columns_by_row = Counter(row for row, _ in filled)
    used_columns = {column for _, column in filled}
    if len(filled) < MIN_FILLED * len(columns_by_row) * len(used_columns):
        return False
    paired = sum(columns >= MIN_COLUMNS for columns in columns_by_row.values())
    return paired >= MIN_ROWS and paired * 2 >= len(columns_by_row)


def _edges_drawn(page: PrintedPage) -> list[Rule]:
    """All edges a table may be made of: rules, frames, and the sides of shaded cells."""
    wide, high = _BACKGROUND * page.width, _BACKGROUND * page.height
    fills = [
        (area, colour)
        for area, colour in page.fills
        if area[2] - area[0] < wide or area[3] - area[1] < high
    ]
    # A paragraph's shading inside a cell of the same colour is no edge that a reader sees.
    shades = [
        area
        for area, colour in fills
        if not any(colour == other and _within(area, outer) for outer, other in fills)
    ]
    sides = [side for area in (*shades, *page.frames) if _is_cell(area) for side in _sides(*area)]
    return [*page.rules, *sides]


def _is_cell(area: Rule) -> bool:
    return max(area[2] - area[0], area[3] - area[1]) > _TICK_BOX_PT


def _within(inner: Rule, outer: Rule) -> bool:
    return (
        inner != outer
        and outer[0] <= inner[0] + 0.5
        and outer[1] <= inner[1] + 0.5
        and outer[2] >= inner[2] - 0.5
        and outer[3] >= inner[3] - 0.5
    )


def _sides(x0: float, y0: float, x1: float, y1: float) -> list[Rule]:
    return [(x0, y0, x1, y0), (x0, y1, x1, y1), (x0, y0, x0, y1), (x1, y0, x1, y1)]


def _grid(rules: list[Rule]) -> Grid | None:
    level = [rule for rule in rules if not _is_upright(rule)]
    xs = _columns(rules)
    ys = _edges(rule[1] for rule in level if _length(rule) > _NEAR_PT * 2)
    if len(xs) <= MIN_COLUMNS or len(ys) <= MIN_ROWS:
        return None
    return Grid(xs, ys, _open_edges(xs, ys, level), _open_sides(xs, ys, rules))


def _with_rows_closed(grid: Grid, page: PrintedPage) -> Grid:
    """Part the rows where only some columns draw an edge, but the first column begins anew."""
    inside = [line for line in page.lines if grid.cell_of(line)]
    first = [line for line in inside if grid.xs[0] <= line.x0 + _NEAR_PT < grid.xs[1]]
    closed = {
        row
        for row, column in grid.open_edges
        if column == 0
        and _begins_anew(first, grid.ys[row])
        and not _straddled(inside, grid.ys[row])
    }
    return replace(
        grid, open_edges=frozenset(edge for edge in grid.open_edges if edge[0] not in closed)
    )


def _begins_anew(first: list[Line], y: float) -> bool:
    below = min(
        (line for line in first if line.y0 >= y - 2), key=lambda line: line.y0, default=None
    )
    if below is None or below.y0 > y + 1.2 * below.size:
        return False
    above = max((line.y1 for line in first if line.y0 < y - 2), default=float("-inf"))
    return below.y0 - above > _NEW_ROW * below.size


def _straddled(inside: list[Line], y: float) -> bool:
    return any(line.y0 + 0.3 * line.size < y < line.y1 - 0.3 * line.size for line in inside)


def _open_edges(xs: tuple[float, ...], ys: tuple[float, ...], level: list[Rule]) -> frozenset[Cell]:
    crossed: Counter[Cell] = Counter()
    for rule in level:
        row = bisect_right(ys, rule[1] + 0.1) - 1
        for column in range(len(xs) - 1):
            covered = min(rule[2], xs[column + 1]) - max(rule[0], xs[column])
            if covered > _COVERED * (xs[column + 1] - xs[column]):
                crossed[row, column] += 1
    return frozenset(
        (row, column)
        for row in range(1, len(ys) - 1)
        for column in range(len(xs) - 1)
        if not crossed[row, column]
    )


def _open_sides(xs: tuple[float, ...], ys: tuple[float, ...], rules: list[Rule]) -> frozenset[Cell]:
    """In a row with any upright rule inside, the sides that have none; elsewhere none is drawn."""
    parted = {
        (row, column)
        for rule in rules
        if _is_upright(rule)
        for column in range(len(xs) - 2)
        if abs(rule[0] - xs[column + 1]) <= _NEAR_PT
        for row in range(len(ys) - 1)
        if min(rule[3], ys[row + 1]) - max(rule[1], ys[row]) > _COVERED * (ys[row + 1] - ys[row])
    }
    ruled = {row for row, _ in parted}
    return frozenset(
        (row, column)
        for row in ruled
        for column in range(len(xs) - 2)
        if (row, column) not in parted
    )


def _touching(rules: list[Rule]) -> list[list[Rule]]:
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


def _stacked(groups: list[list[Rule]], page: PrintedPage) -> list[list[Rule]]:
    """Put together the shaded rows of one table: bands of the same columns, one under the other,
    with nothing between them that runs across a column's edge."""
    stacks: list[list[Rule]] = []
    for group in sorted(groups, key=lambda group: reduce(_around, group)[1]):
        above = next((stack for stack in stacks if _goes_on(stack, group, page)), None)
        if above is None:
            stacks.append(list(group))
        else:
            above.extend(group)
    return stacks


def _goes_on(stack: list[Rule], group: list[Rule], page: PrintedPage) -> bool:
    above, bounds = reduce(_around, stack), reduce(_around, group)
    gap = bounds[1] - above[3]
    if not -_NEAR_PT < gap < _BAND_GAP_PT or not _is_pieced(stack, above):
        return False
    if bounds[0] < above[0] - _SAME_PT or bounds[2] > above[2] + _SAME_PT:
        return False
    edges = _columns([*stack, *group])[1:-1]
    between = (
        line
        for line in page.lines
        if above[3] - 1 <= (line.y0 + line.y1) / 2 <= bounds[1] + 1
        and line.x1 > above[0]
        and line.x0 < above[2]
    )
    # A cell may lie over two columns; prose runs over more, or over the only edge there is.
    most = min(len(edges) - 1, 1)
    return bool(edges) and not any(
        line.x0 < above[0] - _SAME_PT
        or sum(_crosses(line, edge) for edge in edges) > most
        or (most and line.x0 < edges[0] and line.x1 > edges[-1] + _PADDING_PT)
        for line in between
    )


def _is_pieced(rules: list[Rule], bounds: Rule) -> bool:
    """Tell a table's row from a rule under a heading: some piece of it ends inside."""
    return any(
        bounds[0] + _SAME_PT < end < bounds[2] - _SAME_PT
        for rule in rules
        for end in (rule[0], rule[2])
    )


def _crosses(line: Line, edge: float) -> bool:
    """Tell prose across a column's edge from two cells given as one line, the second of which
    begins just right of the edge."""
    if not line.x0 < edge - _SAME_PT < edge + _SAME_PT < line.x1:
        return False
    return not any(edge - 2 <= start <= edge + _PADDING_PT for start in line.word_starts)


def _columns(rules: list[Rule]) -> tuple[float, ...]:
    """The columns' edges: upright rules, and where the rules of several rows end."""
    level = [rule for rule in rules if not _is_upright(rule)]
    upright = [rule[0] for rule in rules if _is_upright(rule) and _length(rule) > _TICK_BOX_PT]
    # Word draws a row's rule cell by cell: where several rows' pieces end is a column's edge.
    all_ends = [end for rule in level for end in (rule[0], rule[2])]
    ends = Counter(round(end / _NEAR_PT) for end in all_ends)
    recurring = [end for end in all_ends if ends[round(end / _NEAR_PT)] > MIN_ROWS]
    return _edges([*upright, *recurring], _NARROWEST_PT)


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


def _length(rule: Rule) -> float:
    return max(rule[3] - rule[1], rule[2] - rule[0])


def _edges(values: Iterable[float], nearest: float = _NEAR_PT) -> tuple[float, ...]:
    """Sort edges, those closer than a rule's thickness counted once."""
    edges: list[float] = []
    for value in sorted(values):
        if not edges or value - edges[-1] > nearest:
            edges.append(value)
    return tuple(edges)
