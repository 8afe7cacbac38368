"""Every key that works where one is, and every binding's id for a site's own keys."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.keys import format_key
from textual.widgets import Static

from appliance.tui.bindings import all_bindings
from appliance.tui.keys import KEYS_FILE
from appliance.tui.screens.room import Dialog
from appliance.tui.widgets.key_bar import KeyBar

KEY = 16
"""Columns."""
DOES = 30


class Help(Dialog[None]):
    DEFAULT_CSS = """
    Help {
        #keys { height: 1fr; padding: 1 2 0 2; }
    }
    """

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="keys"):
            yield Static(self._told())
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#keys").focus()

    def _told(self) -> Text:
        say = self.say
        text = Text(say("help.heading") + "\n", "bold")
        text.append(say("help.hint", file=KEYS_FILE) + "\n\n", "not bold")
        for binding in all_bindings():
            pressed = self.clinic.keymap_of(binding).split(",")
            keys = ", ".join(format_key(key.strip()) for key in pressed)
            does = say(f"does.{binding.description}")
            line = f"{keys:<{KEY}}{does:<{DOES}}"
            text.append(line, "not bold").append(f"{binding.id}\n", "not bold dim")
        return text
