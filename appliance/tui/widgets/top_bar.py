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
        space = self.size.width - 2 - line.cell_len
        if self.who:
            who = self.who if len(self.who) <= space else self.who.partition(" ")[0]
            line.append(who.rjust(space))
        return line
