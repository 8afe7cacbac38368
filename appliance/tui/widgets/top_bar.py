"""The first line: the screens and their keys, and who is signed in."""

from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

from appliance.tui.words import Words


class TopBar(Widget):
    DEFAULT_CSS = """
    TopBar {
        dock: top;
        height: 1;
        padding: 0 1;
        background: $panel;
        color: $foreground;
    }
    """

    who: reactive[str] = reactive("")

    def __init__(self, say: Words, rooms: dict[str, str], here: str, who: str) -> None:
        """`rooms`: the key of each screen that may be gone to; `here`: the one that this is."""
        super().__init__()
        self._say, self._rooms, self._here = say, rooms, here
        self.set_reactive(TopBar.who, who)

    def render(self) -> Text:
        line = Text(no_wrap=True, overflow="ellipsis")
        for room, key in self._rooms.items():
            name = self._say(f"room.{room}")
            if room == self._here:
                line.append(f"[{key} {name}]", "bold")
            else:
                line.append(f" {key} {name} ")
        if self.who:
            line.rstrip()
            width = self.size.width - 2
            space = width - line.cell_len - 1
            who = self.who if len(self.who) <= space else self.who.partition(" ")[0]
            line.truncate(width - len(who) - 1, overflow="ellipsis")  # who it is, is always told
            line.append(who.rjust(width - line.cell_len))
        return line
