"""One reference case in a list: its rank, its picture where the atlas carries one, its label, how
near it is, its caption, and whose it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Static

from appliance.core.text import safe_line
from appliance.tui.shown import Pixels
from appliance.tui.widgets.picture import PictureView
from appliance.tui.words import Words


class CaseRow(Horizontal, can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "passage.open", id="case.open"),
        Binding("down", "app.focus_next", "key.next", show=False, id="case.next"),
        Binding("up", "app.focus_previous", "key.previous", show=False, id="case.previous"),
    ]
    DEFAULT_CSS = """
    CaseRow {
        height: auto;
        margin: 0 0 1 0;
        &:focus { background: $block-cursor-background; color: $block-cursor-foreground; }
        PictureView, .none { width: 12; height: 6; margin-right: 2; }
        .none { color: $quiet; }
        .words { width: 1fr; height: auto; }
    }
    """

    @dataclass
    class Opened(Message):
        row: "CaseRow"

    def __init__(
        self,
        say: Words,
        rank: int,
        case: Mapping[str, Any],
        *,
        plain: bool = False,
        with_pictures: bool = False,
    ) -> None:
        """`case` as `core.atlas.neighbour_json` gives it; `with_pictures`: the list has some, and
        so a column for them."""
        super().__init__()
        self._say, self.rank, self.case = say, rank, case
        self._plain, self._with_pictures = plain, with_pictures

    def compose(self) -> ComposeResult:
        if self._with_pictures and not self._plain:
            if self.case["picture"]:
                yield PictureView(self._say)
            else:
                yield Static(Text(self._say("atlas.no_picture")), classes="none")
        words = self.words()
        if self._with_pictures and self._plain:
            key = "atlas.not_drawn" if self.case["picture"] else "atlas.no_picture"
            words.append("\n" + self._say(key), "not bold")
        yield Static(words, classes="words")

    def words(self) -> Text:
        """As the command prints it."""
        return self._told(self.case["caption"])

    def _told(self, said: str) -> Text:
        say, case = self._say, self.case
        text = Text(f"{self.rank}  {safe_line(case['label'])}", "bold")
        text.append(f"  {likeness_words(case, say)}", "not bold")
        text.append("\n" + safe_line(said), "not bold")
        return text.append("\n" + source_words(case, say), "not bold dim")

    def draw(self, pixels: Pixels | None) -> None:
        """Its picture; None where that is damaged."""
        for view in self.query(PictureView):
            if pixels is None:
                view.remove()
                self.mount(Static(Text(self._say("atlas.damaged")), classes="none"), before=0)
            else:
                view.pixels = pixels

    def action_open(self) -> None:
        self.post_message(self.Opened(self))

    def on_click(self) -> None:
        self.action_open()


class PairedRow(CaseRow):
    """One of two columns, in fewer words; arrows keep to the column, or go to the other's."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "screen.step(1)", "key.next", show=False, id="case.below"),
        Binding("up", "screen.step(-1)", "key.previous", show=False, id="case.above"),
        Binding("right", "screen.across(1)", "atlas.across", show=False, id="case.right"),
        Binding("left", "screen.across(-1)", "atlas.across", show=False, id="case.left"),
    ]

    def words(self) -> Text:
        return self._told(self.case["findings"])


def likeness_words(case: Mapping[str, Any], say: Words) -> str:
    return say("atlas.likeness", value=f"{case['cosine']:.2f}")


def source_words(case: Mapping[str, Any], say: Words) -> str:
    """Whose picture it is, which of theirs, and on what terms."""
    source = case["source"]
    return safe_line(
        say("atlas.source", title=source["title"], row=case["row"], licence=source["licence"])
    )
