"""The last line: what can be done here and now, and no more of it than there is room for.

The library's own footer makes a widget a key at every change and keeps them all.
"""

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding
from textual.widget import Widget

HELP = "help"
"""The action that is always told: it lists all the others."""
GAP = 2
"""Columns between a key and what it does, and after it."""


class KeyBar(Widget):
    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-bar--key"}
    DEFAULT_CSS = """
    KeyBar {
        dock: bottom;
        height: 1;
        padding: 0 1;
        color: $footer-foreground;
        background: $footer-background;
        .key-bar--key { color: $footer-key-foreground; text-style: bold; }
    }
    """

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.refresh())

    def render(self) -> Text:
        style = self.get_component_rich_style("key-bar--key", partial=True)
        line = Text(no_wrap=True)
        for binding in self.told():
            if line:
                line.append(" ")
            line.append(self.app.get_key_display(binding), style)
            line.append(f" {binding.description}")
        return line

    def told(self) -> list[Binding]:
        """Those that fit, whole and in order; the last is how to see them all."""
        by_action = {
            active.binding.action: active.binding
            for active in reversed(self.screen.active_bindings.values())
            if active.binding.show and active.enabled
        }
        ours = list(reversed(by_action.values()))
        last = [binding for binding in ours if binding.action == HELP]
        room = self.size.width - sum(map(self._width, last))
        told = []
        for binding in ours:
            if binding.action != HELP and self._width(binding) <= room:
                room -= self._width(binding)
                told.append(binding)
        return told + last

    def _width(self, binding: Binding) -> int:
        return len(self.app.get_key_display(binding)) + len(binding.description) + GAP
