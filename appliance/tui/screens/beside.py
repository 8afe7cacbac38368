"""Two pictures of one patient beside each other: both eyes, or two views."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Static

from appliance.core.text import safe_line
from appliance.tui.screens.room import Dialog
from appliance.tui.shown import Shown, decision_words
from appliance.tui.widgets.answer import reason_words
from appliance.tui.widgets.key_bar import KeyBar
from appliance.tui.widgets.picture import PictureView
from appliance.tui.widgets.probabilities import Probabilities
from appliance.tui.words import Words


class BesideScreen(Dialog[None]):
    CSS_PATH = "beside.tcss"

    def __init__(self, say: Words, pair: tuple[Shown, Shown]) -> None:
        super().__init__(say)
        self._pair = pair

    def compose(self) -> ComposeResult:
        if any(shown.is_demonstration for shown in self._pair):
            yield Static(self.say("answer.demonstration"), id="warning", markup=False)
        with Horizontal(id="pair"):
            for shown in self._pair:
                with VerticalScroll(classes="one"):
                    yield from self._one(shown)
        yield KeyBar()

    def _one(self, shown: Shown) -> ComposeResult:
        yield Static(Text(shown.name, "bold"), classes="heading")
        if shown.pixels:
            picture = PictureView(self.say, plain=self.clinic.config.plain)
            picture.pixels = shown.pixels
            yield picture
        text = Text(decision_words(shown.answer, self.say), "bold")
        if shown.answer["error"] is not None:
            text.append("\n" + safe_line(shown.answer["error"]["hint"]), "not bold")
            yield Static(text, classes="said")
            return
        decision = shown.answer["decision"]
        text.append("\n" + reason_words(decision["reason"], self.say), "not bold")
        yield Static(text, classes="said")
        found, others = shown.probabilities()
        plain = self.clinic.config.plain
        yield Probabilities(self.say, found, others, tuple(decision["labels"]), plain=plain)
        if shown.answer["caption"] and not shown.is_withheld:
            yield Static(Text(safe_line(shown.answer["caption"]["key_findings"])), classes="said")
        if shown.record:
            record = self.say("answer.record", number=shown.record[0], hash=shown.record[1])
            yield Static(Text(record), classes="said quiet")
