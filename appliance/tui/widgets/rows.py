"""A table whose columns fill the width there is."""

from collections.abc import Mapping, Sequence

from rich.text import Text
from textual.widgets import DataTable

PADDING = 2
"""Columns that a table adds to each of its own."""


class Rows(DataTable[Text]):
    def __init__(self, columns: Mapping[str, tuple[str, int, int]], *, id: str) -> None:
        """`columns`, by key: heading, least width, and the share of what is left over."""
        super().__init__(cursor_type="row", id=id)
        self._given = columns

    def draw(self, rows: Mapping[str, Sequence[str]]) -> None:
        """Cells of each row by its key; the cursor stays at its row."""
        at = self.chosen
        self.clear(columns=True)
        for key, width in self._widths().items():
            self.add_column(self._given[key][0], width=width, key=key)
        for key, cells in rows.items():
            self.add_row(*(_line(cell) for cell in cells), key=key)
        if at in rows:
            self.move_cursor(row=list(rows).index(at))

    def change(self, row: str, cells: Sequence[str]) -> None:
        """Of one that is there."""
        for column, cell in zip(self._given, cells, strict=True):
            self.update_cell(row, column, _line(cell))

    @property
    def keys(self) -> list[str]:
        return [str(key.value) for key in self.rows]

    @property
    def chosen(self) -> str:
        """The key of the row under the cursor; empty in an empty table."""
        if not self.row_count:
            return ""
        return str(self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value)

    def _widths(self) -> dict[str, int]:
        least = sum(width + PADDING for _, width, _ in self._given.values())
        left = max(self.size.width - least - 1, 0)
        shares = sum(share for _, _, share in self._given.values())
        return {
            key: width + left * share // shares for key, (_, width, share) in self._given.items()
        }


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")
