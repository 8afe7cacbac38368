"""A printed page as the PDF reader saw it: lines with their type and place, and what is drawn.

Plain data, in points from the top left. It knows nothing of what the lines mean.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

_ROW_PT = 8.0
_SHADOW_SHARE, _COPY_SHARE, _OTHER_SIZE_PT = 0.6, 0.15, 0.3

Rule = tuple[float, float, float, float]
"""A drawn horizontal or vertical rule, or the edges of an area: x0, y0, x1, y1."""


@dataclass(frozen=True, eq=False)
class Line:
    """One run of text on one baseline; two lines are equal only if they are the same."""

    text: str
    size: float
    is_bold: bool
    x0: float
    y0: float
    x1: float
    y1: float
    block: int
    """Lines of one block were set together by the PDF's maker."""
    font: str = ""
    colour: int = 0
    """0xRRGGBB, of most of the line."""
    word_starts: tuple[float, ...] = ()
    """Where each word begins, in points; none where it was not asked."""

    def cut_at(self, x: float) -> tuple["Line", "Line"] | None:
        """Give the line in two, where a word begins within 3 points of `x`."""
        words = self.text.split()
        at = next((n for n, start in enumerate(self.word_starts) if n and abs(start - x) < 3), 0)
        if not at:
            return None
        start = self.word_starts[at]
        return (
            replace(self, text=" ".join(words[:at]), x1=x - 2, word_starts=self.word_starts[:at]),
            replace(self, text=" ".join(words[at:]), x0=start, word_starts=self.word_starts[at:]),
        )

    def shares_row(self, other: "Line") -> bool:
        """Tell whether two lines stand side by side."""
        overlap = min(self.y1, other.y1) - max(self.y0, other.y0)
        return overlap > 0.6 * min(self.y1 - self.y0, other.y1 - other.y0)

    def lies_on(self, other: "Line") -> bool:
        """Tell whether this line is printed over the other."""
        if self.y1 <= other.y0 or other.y1 <= self.y0:
            return False
        across = min(self.x1, other.x1) - max(self.x0, other.x0)
        down = min(self.y1, other.y1) - max(self.y0, other.y0)
        whole = (self.x1 - self.x0) * (self.y1 - self.y0)
        # A copy of another size, left by the drawing program, need not lie on it exactly.
        share = _COPY_SHARE if abs(self.size - other.size) > _OTHER_SIZE_PT else _SHADOW_SHARE
        return across > 0 and across * down > share * whole

    def is_within(self, area: Rule) -> bool:
        """Tell whether the line's middle, and its start, lie in `area`."""
        return area[0] - 1 <= self.x0 <= area[2] and area[1] <= (self.y0 + self.y1) / 2 <= area[3]


def rows_of(lines: Iterable[Line]) -> list[list[Line]]:
    """Gather lines that stand side by side, from the top, each row from the left."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: (line.y0 + line.y1, line.x0)):
        if rows and rows[-1][0].shares_row(line):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda line: line.x0) for row in rows]


@dataclass(frozen=True)
class PrintedPage:
    """One page, its lines in the order the PDF's maker wrote them."""

    number: int
    label: str | None
    width: float
    height: float
    lines: tuple[Line, ...]
    rules: tuple[Rule, ...] = ()
    fills: tuple[tuple[Rule, int], ...] = ()
    """Filled areas and their colours."""
    frames: tuple[Rule, ...] = ()
    """Rectangles drawn round something."""
    slants: tuple[Rule, ...] = ()
    """The areas of drawn strokes that are neither horizontal nor vertical."""
    is_recognised: bool = False
    """True where the lines were recognised in a picture."""

    def without_doubles(self) -> "PrintedPage":
        """Give the same page without text that is printed again over the same text: a shadow, or
        a layer of the drawing that it was made from."""
        # By each of its words: what a line doubles has them all, so few lines are compared.
        near: dict[tuple[str, int], list[Line]] = {}
        kept: set[Line] = set()
        for line in sorted(self.lines, key=lambda line: (-line.size, -len(line.text))):
            words = set(line.text.split())
            row = round(line.y0 / _ROW_PT)
            others = min((near.get((word, row), []) for word in words), key=len)
            if any(line.lies_on(other) and words <= set(other.text.split()) for other in others):
                continue
            kept.add(line)
            for place in product(words, (row - 1, row, row + 1)):
                near.setdefault(place, []).append(line)
        return self.keeping([line for line in self.lines if line in kept])

    def keeping(self, lines: list[Line]) -> "PrintedPage":
        """Give the same page with only these lines."""
        return replace(self, lines=tuple(lines))
