"""One passage in full, with what stands right before and after it; its page as a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.getters import query_one
from textual.widgets import Static

from appliance.core.text import safe_text
from appliance.errors import ApplianceError
from appliance.tui.desk import Opened
from appliance.tui.screens.room import Dialog
from appliance.tui.shown import Pixels, cited_words, place_words
from appliance.tui.widgets.key_bar import KeyBar
from appliance.tui.widgets.notice import Notice
from appliance.tui.words import Words

PAGE_SIZE = 1024
"""Pixels of a page's side, for the terminal."""


class PassageScreen(Dialog[None]):
    CSS_PATH = "passage.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,right", "step(1)", "passage.next", id="passage.following"),
        Binding("p,left", "step(-1)", "passage.back", id="passage.before"),
        Binding("g", "page", "passage.show_page", id="passage.page"),
        Binding("y", "copy", "passage.copy", id="passage.copy_shown"),
    ]

    notice = query_one(Notice)

    def __init__(self, say: Words, passages: Sequence[Mapping[str, Any]], rank: int) -> None:
        """`passages` as in an answer; `rank` from 1."""
        super().__init__(say)
        self._passages, self._rank = passages, rank

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="full"):
            yield Static(id="place")
            yield Static(id="above", classes="near")
            yield Static(id="text")
            yield Static(id="below", classes="near")
        yield Notice(self.say)
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#full").focus()
        self._show()

    @property
    def passage(self) -> Mapping[str, Any]:
        return self._passages[self._rank - 1]

    def action_step(self, by: int) -> None:
        self._rank += by
        self._show()
        self.refresh_bindings()

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(cited_words(self.passage, self.say))
        self.notice.tell(self.say("passage.copied"))

    @work(exclusive=True, group="page")
    async def action_page(self) -> None:
        from appliance.tui.screens.picture import PictureScreen

        document_id = self.passage["passage_id"].rpartition("-")[0]
        page = int(self.passage["page"])

        def draw(opened: Opened) -> Pixels:
            return Pixels(*opened.guidelines.page_pixels(document_id, page, PAGE_SIZE))

        try:
            pixels = await self.clinic.side_desk.ask(draw)
        except ApplianceError as exc:
            self.notice.tell_error(exc)
            return
        self.app.push_screen(PictureScreen(self.say, pixels))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "step":
            return 1 <= self._rank + int(str(parameters[0])) <= len(self._passages)
        if action == "page":
            return self.passage["page"] is not None
        return True

    def _show(self) -> None:
        passage = self.passage
        head = Text(f"{self._rank}  {place_words(passage, self.say)}", "bold")
        if passage["caution"]:
            head.append(f"\n{self.say('passage.caution')} {safe_text(passage['caution'])}")
        if passage["kind"] == "figure":
            head.append("\n" + self.say("passage.figure"))
        self.query_one("#place", Static).update(head)
        self.query_one("#text", Static).update(Text(safe_text(passage["text"])))
        self._near(None, None)
        self._read_neighbours(passage)

    def _near(self, above: str | None, below: str | None) -> None:
        for name, text in (("above", above), ("below", below)):
            found = self.query_one(f"#{name}", Static)
            found.display = text is not None
            if text is not None:
                told = Text(self.say(f"passage.{name}") + "\n", "bold")
                found.update(told.append(safe_text(text), "not bold"))

    @work(exclusive=True, group="neighbours")
    async def _read_neighbours(self, passage: Mapping[str, Any]) -> None:
        name = passage["passage_id"]

        def look(opened: Opened) -> list[dict[str, Any]]:
            return [asdict(near) for near in opened.guidelines.around(name)]

        try:
            near = await self.clinic.side_desk.ask(look)
        except ApplianceError as exc:
            self.notice.tell_error(exc)
            return
        names = [each["passage_id"] for each in near]
        if name not in names:
            self.notice.tell(self.say("passage.gone"))
            return
        place = names.index(name)
        above = near[place - 1]["text"] if place > 0 else None
        below = near[place + 1]["text"] if place + 1 < len(near) else None
        self._near(above, below)
