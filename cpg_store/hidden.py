"""Text that no reader can see: which spans of a page are dropped.

Invisible render mode, full transparency, under 2 points, off the page, light on an equally light
ground, or under a filled shape painted later. It runs in the child that parses the PDF, where
colour, position and order of painting are still known.
"""

from typing import Any

MIN_SIZE_PT = 2.0
LIGHT = 200
"""Grey level, of 255, from which text is compared with the ground it lies on."""

_RASTER_SIDE_PX = 800
_FILLED_OR_STROKED = 16 | 32
_ALIKE = 24
"""Grey levels that a reader does not tell apart."""
_OPAQUE = 0.98
_CLEAR = 16
"""Opacity, of 255, below which text is not seen."""


class Visibility:
    """Says which spans of one page a reader can see; draws the page only if it must."""

    def __init__(self, pymupdf: Any, page: Any, drawings: list[dict[str, Any]]) -> None:
        self._pymupdf = pymupdf
        self._page = page
        self._raster: Any = None
        self._order: dict[tuple[int, int], list[int]] = {}
        self._covers = [
            (drawing["rect"], drawing["seqno"])
            for drawing in drawings
            if drawing.get("fill") and (drawing.get("fill_opacity") or 1.0) >= _OPAQUE
        ]

    def sees(self, span: dict[str, Any]) -> bool:
        x0, y0, x1, y1 = span["bbox"]
        centre = ((x0 + x1) / 2, (y0 + y1) / 2)
        if span["size"] < MIN_SIZE_PT or centre not in self._page.rect:
            return False
        if span.get("alpha", 255) < _CLEAR or not span["char_flags"] & _FILLED_OR_STROKED:
            return False
        grey = _grey(span["color"])
        if grey >= LIGHT and not self._stands_out(span["bbox"], grey):
            return False
        return not self._is_covered(span)

    def _is_covered(self, span: dict[str, Any]) -> bool:
        """True under a later shape, unless the drawn page shows something there that no later
        text explains: a shape may be clipped, or round."""
        box = span["bbox"]
        above = max((order for cover, order in self._covers if _holds(cover, box)), default=-1)
        if above < 0 or above <= max(self._orders_at(span["origin"]), default=above + 1):
            return False
        return self._is_blank(box) or any(
            order > above and box[0] - 2 <= x <= box[2] + 2 and box[1] <= y <= box[3] + 2
            for (x, y), orders in self._order.items()
            for order in orders
        )

    def _orders_at(self, origin: tuple[float, float]) -> list[int]:
        """When the characters that stand at `origin` were painted."""
        if not self._order:
            for run in self._page.get_texttrace():
                for _, _, (x, y), _ in run["chars"]:
                    self._order.setdefault((round(x), round(y)), []).append(run["seqno"])
        return self._order.get((round(origin[0]), round(origin[1])), [])

    def _stands_out(self, box: tuple[float, ...], grey: int) -> bool:
        """True unless most of the drawn box has the text's own colour."""
        samples = self._samples(box)
        alike = sum(abs(sample - grey) <= _ALIKE for sample in samples)
        return alike * 2 < len(samples)

    def _is_blank(self, box: tuple[float, ...]) -> bool:
        samples = self._samples(box)
        return not samples or max(samples) - min(samples) <= _ALIKE

    def _samples(self, box: tuple[float, ...]) -> bytes:
        """The grey levels of the drawn page inside `box`."""
        rect = self._page.rect
        if self._raster is None:
            scale = min(1.0, _RASTER_SIDE_PX / max(rect.width, rect.height))
            self._raster = self._page.get_pixmap(
                matrix=self._pymupdf.Matrix(scale, scale),
                colorspace=self._pymupdf.csGRAY,
                alpha=False,
            )
        raster = self._raster
        zoom = raster.width / rect.width
        left, top, right, bottom = (int(edge * zoom) for edge in box)
        rows = range(max(top, 0), min(bottom + 1, raster.height))
        return b"".join(
            raster.samples_mv[row * raster.stride + max(left, 0) : row * raster.stride + right + 1]
            for row in rows
        )


def _holds(outer: tuple[float, ...], inner: tuple[float, ...]) -> bool:
    return (
        outer[0] <= inner[0] + 1
        and outer[1] <= inner[1] + 1
        and outer[2] >= inner[2] - 1
        and outer[3] >= inner[3] - 1
    )


def _grey(colour: int) -> int:
    red, green, blue = colour >> 16 & 255, colour >> 8 & 255, colour & 255
    return (299 * red + 587 * green + 114 * blue) // 1000
