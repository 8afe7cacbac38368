"""A picture in the terminal: two pixels a cell, or one line of words."""

import textwrap
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from appliance.tui.shown import Pixels
from appliance.tui.words import Words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UPPER_HALF = "▀"


class PictureView(Widget):
    """Draws `pixels` as large as fits, in their own shape, at the top left."""

    DEFAULT_CSS = """
    PictureView {
        width: 1fr;
        height: 1fr;
    }
    """

    pixels: reactive[Pixels | None] = reactive(None, layout=True)
    """None: nothing is drawn."""

    def __init__(
        self,
        say: Words,
        *,
        plain: bool = False,
        told: str = "picture.plain",
        id: str | None = None,
    ) -> None:
        """With `plain` the picture is told in words, those that stand under `told` in the
        catalogue."""
        super().__init__(id=id)
        self._say, self._plain, self._words = say, plain, told

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        if self.pixels is None:
            return 0
        if self._plain:
            return len(self._told(width))
        high = fitted(self.pixels.width, self.pixels.height, width, viewport.height * 2)[1]
        return (high + 1) // 2

    def render_line(self, y: int) -> Strip:
        if self.pixels is None:
            return Strip.blank(self.size.width, self.rich_style)
        if self._plain:
            lines = self._told(self.size.width)
            text = lines[y] if y < len(lines) else ""
            strip = Strip([Segment(text, self.rich_style)])
            return strip.adjust_cell_length(self.size.width, self.rich_style)
        rows = half_cells(self.pixels, self.size.width, self.size.height)
        background = self.rich_style
        if y >= len(rows):
            return Strip.blank(self.size.width, background)
        return rows[y].adjust_cell_length(self.size.width, background)

    def _told(self, width: int) -> list[str]:
        assert self.pixels is not None
        image = self.pixels
        told = self._say(self._words, width=image.width, height=image.height)
        return textwrap.wrap(told, max(width, 1))


@lru_cache(maxsize=8)
def half_cells(pixels: Pixels, columns: int, rows: int) -> tuple[Strip, ...]:
    """The picture in at most `columns` x `rows` cells, each the mean of the pixels under it."""
    wide, high = fitted(pixels.width, pixels.height, columns, rows * 2)
    small = _shrunk(pixels, wide, high + high % 2)
    return tuple(_strip(small[y], small[y + 1]) for y in range(0, len(small), 2))


def fitted(width: int, height: int, columns: int, lines: int) -> tuple[int, int]:
    """The largest shape like width x height within columns x lines, each at least 1."""
    scale = min(columns / max(width, 1), lines / max(height, 1))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _strip(upper: "NDArray[np.uint8]", lower: "NDArray[np.uint8]") -> Strip:
    cells = (
        Segment(UPPER_HALF, Style(color=_hex(top), bgcolor=_hex(bottom)))
        for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True)
    )
    return Strip(cells).simplify()


def _hex(colour: list[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _shrunk(pixels: Pixels, wide: int, high: int) -> "NDArray[np.uint8]":
    import numpy as np  # not before the first picture

    square = np.frombuffer(pixels.rgb, np.uint8).reshape(pixels.size, pixels.size, 3)
    rows, columns = _means(pixels.size, high), _means(pixels.size, wide)
    small: NDArray[np.float32] = np.einsum("ry,yxk,cx->rck", rows, square, columns, optimize=True)
    return small.round().clip(0, 255).astype(np.uint8)


def _means(size: int, cells: int) -> "NDArray[np.float32]":
    """(cells, size): each row averages the pixels that lie under one cell, in parts if need be."""
    import numpy as np

    edges = np.linspace(0, size, cells + 1, dtype=np.float32)
    left, right = edges[:-1, None], edges[1:, None]
    pixel = np.arange(size, dtype=np.float32)[None]
    under = np.clip(np.minimum(right, pixel + 1) - np.maximum(left, pixel), 0, 1)
    shares: NDArray[np.float32] = under / under.sum(axis=1, keepdims=True)
    return shares
