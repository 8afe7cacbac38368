"""Flow charts: where words stand in shapes joined by arrows, and their order cannot be told.

It finds the area of a page that one takes up; the whole area is one figure. It knows nothing of
what the words say.
"""

from cpg_store.printed import Line, PrintedPage, Rule

MIN_SHAPES = 5
MIN_CONNECTORS = 4
_SHAPE_WORDS = 45
_LEAST_WIDE, _LEAST_HIGH = 20.0, 8.0
_MOST_OF_PAGE = 0.7


def chart_area(page: PrintedPage) -> Rule | None:
    """Give the area of the page's flow chart, or None where it has none."""
    shapes = [area for area in _shapes(page) if _holds_few_words(area, page.lines)]
    # A table's shaded cells share their edges; the shapes of a chart stand apart.
    apart = [area for area in shapes if not any(_touch(area, other) for other in shapes)]
    if len(apart) < MIN_SHAPES:
        return None
    chart = (
        min(area[0] for area in shapes),
        min(area[1] for area in shapes),
        max(area[2] for area in shapes),
        max(area[3] for area in shapes),
    )
    # Rules that lie flat may underline words; those upright, slant or bent join shapes.
    shafts = (rule for rule in page.rules if rule[3] - rule[1] > rule[2] - rule[0])
    connectors = sum(_touch(chart, slant) for slant in page.slants)
    connectors += sum(_touch(chart, shaft) and _is_free(shaft, shapes) for shaft in shafts)
    return chart if connectors >= MIN_CONNECTORS else None


def _shapes(page: PrintedPage) -> list[Rule]:
    areas = {
        tuple(round(edge) for edge in area)
        for area in (*(area for area, _ in page.fills), *page.frames)
    }
    large = _MOST_OF_PAGE * page.width
    return [
        (float(x0), float(y0), float(x1), float(y1))
        for x0, y0, x1, y1 in areas
        if _LEAST_WIDE <= x1 - x0 <= large and _LEAST_HIGH <= y1 - y0 <= page.height / 2
    ]


def _holds_few_words(area: Rule, lines: tuple[Line, ...]) -> bool:
    words = sum(len(line.text.split()) for line in lines if line.is_within(area))
    return 0 < words <= _SHAPE_WORDS


def _touch(a: Rule, b: Rule) -> bool:
    """Side by side or overlapping, but not the same shape drawn as area and as frame."""
    if max(abs(x - y) for x, y in zip(a, b, strict=True)) <= 4:
        return False
    return a[0] <= b[2] + 1 and b[0] <= a[2] + 1 and a[1] <= b[3] + 1 and b[1] <= a[3] + 1


def _is_free(rule: Rule, shapes: list[Rule]) -> bool:
    """An arrow's shaft is not a shape's side."""
    return not any(
        area[0] - 2 <= rule[0]
        and rule[2] <= area[2] + 2
        and area[1] - 2 <= rule[1]
        and rule[3] <= area[3] + 2
        for area in shapes
    )
