"""One passage in a list: its rank, where it stands, and how its text begins."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static

from appliance.core.text import safe_line
from appliance.tui.shown import grade_words, page_words
from appliance.tui.words import Words


class PassageRow(Static, can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "passage.open", id="passage.open"),
        Binding("y", "copy", "passage.copy", id="passage.copy"),
        Binding("down", "app.focus_next", "key.next", show=False, id="passage.next"),
        Binding("up", "app.focus_previous", "key.previous", show=False, id="passage.previous"),
    ]
    DEFAULT_CSS = """
    PassageRow {
        height: auto;
        margin: 0 0 1 0;
        &:focus { background: $block-cursor-background; color: $block-cursor-foreground; }
    }
    """

    @dataclass
    class Opened(Message):
        rank: int
        """From 1."""

    @dataclass
    class Copied(Message):
        rank: int
        """From 1."""

    def __init__(self, say: Words, rank: int, passage: Mapping[str, Any]) -> None:
        super().__init__(_told(say, rank, passage))
        self._rank = rank

    def action_open(self) -> None:
        self.post_message(self.Opened(self._rank))

    def action_copy(self) -> None:
        self.post_message(self.Copied(self._rank))

    def on_click(self) -> None:
        self.action_open()


def _told(say: Words, rank: int, passage: Mapping[str, Any]) -> Table:
    lines = [Text(safe_line(passage["document"]), "bold")]
    where = [page_words(passage, say), grade_words(passage, say), passage["edition"]]
    lines.append(Text(safe_line("; ".join(part for part in where if part))))
    if passage["section"]:
        lines.append(Text(safe_line(passage["section"])))
    if passage["caution"]:
        caution = f"{say('passage.caution')} {safe_line(passage['caution'])}"
        lines.append(Text(caution, "bold"))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_row(Text(str(rank), "bold"), Group(*lines))
    return table
