"""The last line: what can be done here and now, and no more of it than there is room for."""

from collections.abc import Iterator

from textual import events
from textual.app import ComposeResult
from textual.widget import Widget
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

HELP = "help"
"""The action that is always told: it lists all the others."""
GAP = 2
"""Columns between a key and what it does, and after it."""


class KeyBar(Footer):
    def __init__(self) -> None:
        super().__init__(show_command_palette=False, compact=True)

    def compose(self) -> ComposeResult:
        yield from self._fitting(list(super().compose()))

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self.recompose)

    def _fitting(self, keys: list[Widget]) -> Iterator[Widget]:
        """Whole ones, in order; the last is how to see them all."""
        ours = [key for key in keys if isinstance(key, FooterKey)]
        room = self.size.width - 2 - sum(_width(key) for key in ours if key.action == HELP)
        for key in ours:
            if key.action == HELP:
                continue
            room -= _width(key)
            if room < 0:
                break
            yield key
        yield from (key for key in ours if key.action == HELP)


def _width(key: FooterKey) -> int:
    return len(key.key_display) + len(key.description) + GAP
