"""A printed page as the PDF reader saw it: lines with their type size and place, and drawn rules.

Plain data, in points from the top left. It knows nothing of what the lines mean.
"""

from dataclasses import dataclass, replace

Rule = tuple[float, float, float, float]
"""A drawn horizontal or vertical rule: x0, y0, x1, y1."""


@dataclass(frozen=True)
class Line:
    """One run of text on one baseline."""

    text: str
    size: float
    is_bold: bool
    x0: float
    y0: float
    x1: float
    y1: float
    block: int
    """Lines of one block were set together by the PDF's maker."""

    def shares_row(self, other: "Line") -> bool:
        """Tell whether two lines stand side by side."""
        overlap = min(self.y1, other.y1) - max(self.y0, other.y0)
        return overlap > 0.6 * min(self.y1 - self.y0, other.y1 - other.y0)


@dataclass(frozen=True)
class PrintedPage:
    """One page, its lines in the order the PDF's maker wrote them."""

    number: int
    label: str | None
    width: float
    height: float
    lines: tuple[Line, ...]
    rules: tuple[Rule, ...]

    def keeping(self, lines: list[Line]) -> "PrintedPage":
        """Give the same page with only these lines."""
        return replace(self, lines=tuple(lines))
