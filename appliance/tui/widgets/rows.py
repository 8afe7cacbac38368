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
        self._drawn: dict[str, Sequence[str]] = {}

    def show(self, rows: Mapping[str, Sequence[str]]) -> None:
        """Cells of each row by its key; where the rows are the same, only what is new is drawn."""
        if list(rows) != list(self._drawn):
            self.draw(rows)
            return
        for key, cells in rows.items():
            for column, cell, was in zip(self._given, cells, self._drawn[key], strict=True):
                if cell != was:
                    self.update_cell(key, column, _line(cell))
        self._drawn = dict(rows)

    def draw(self, rows: Mapping[str, Sequence[str]]) -> None:
        """All anew, in columns as wide as there is room for; the cursor stays at its row."""
        at = self.chosen
        self._drawn = dict(rows)
        self.clear(columns=True)
        for key, width in self._widths().items():
            self.add_column(self._given[key][0], width=width, key=key)
        for key, cells in rows.items():
            self.add_row(*(_line(cell) for cell in cells), key=key)
        if at in rows:
            self.move_cursor(row=list(rows).index(at))

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
