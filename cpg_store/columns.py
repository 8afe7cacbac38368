"""Reading order: a page cut at its gutters, the left side read before the right.

After Nagy and Seth's recursive cuts (ICPR 1984), with text across a gutter parting what stands
above it from what stands below. It knows nothing of what the parts say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_GUTTER_PT = 4.0
_MOST_ACROSS = 0.4
"""Of the text; where more lies across it, a gap is no gutter."""
_LEAST_BESIDE = 0.12
"""Of the text; a side with less is no column."""


@dataclass(frozen=True)
class Part:
    """Something that is read whole, and where it stands."""

    x0: float
    y0: float
    x1: float
    y1: float
    weight: int
    """Characters."""
    place: int
    """Its number in the order given."""


def reading_order(parts: Sequence[Part]) -> list[int]:
    """Give the places of `parts` in the order a reader takes them."""
    gutter = _gutter(parts)
    if gutter is None:
        return [part.place for part in sorted(parts, key=lambda part: (part.y0, part.x0))]
    across = sorted((part for part in parts if _crosses(part, gutter)), key=lambda part: part.y0)
    order: list[int] = []
    tops = [*(part.y0 for part in across), float("inf")]
    beside = [part for part in parts if part not in across]
    above = float("-inf")
    for number, top in enumerate(tops):
        band = [part for part in beside if above <= part.y0 < top]
        for side in (
            [part for part in band if part.x1 <= gutter + _GUTTER_PT],
            [part for part in band if part.x1 > gutter + _GUTTER_PT],
        ):
            order += reading_order(side) if len(side) < len(parts) else [p.place for p in side]
        if number < len(across):
            order.append(across[number].place)
        above = top
    return order


def _gutter(parts: Sequence[Part]) -> float | None:
    """The place with the least text across it and enough on both sides of it."""
    whole = sum(part.weight for part in parts)
    found: list[tuple[int, float]] = []
    for x in {part.x0 - _GUTTER_PT / 2 for part in parts}:
        across = sum(part.weight for part in parts if _crosses(part, x))
        left = sum(part.weight for part in parts if part.x1 <= x + _GUTTER_PT)
        right = whole - across - left
        if across <= _MOST_ACROSS * whole and min(left, right) >= _LEAST_BESIDE * whole:
            found.append((across, x))
    return min(found)[1] if found else None


def _crosses(part: Part, x: float) -> bool:
    return part.x0 < x - _GUTTER_PT / 2 and part.x1 > x + _GUTTER_PT
