"""Two pictures of one patient beside each other: both eyes, or two views."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Static

from appliance.core.text import safe_line
from appliance.tui.screens.room import Dialog
from appliance.tui.shown import Shown, decision_words
from appliance.tui.widgets.answer import limits_table, reason_words
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
        if shown.answer["image"]["note"]:
            yield Static(Text(safe_line(shown.answer["image"]["note"])), classes="said")
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
        if shown.has_caption:
            yield Static(self._findings(shown), classes="said")
        if shown.answer["limits"]:
            yield Static(limits_table(shown.answer["limits"], shown.alarm), classes="said")
        if shown.record:
            record = self.say("answer.record", number=shown.record[0], hash=shown.record[1])
            yield Static(Text(record), classes="said quiet")

    def _findings(self, shown: Shown) -> Text:
        """What the release said; under it the clinician's own words, where they are others."""
        said, own = shown.answer["caption"], shown.corrected or {}
        lines = [Text(safe_line(said["key_findings"]))]
        if shown.is_for_trial:
            lines.insert(0, Text(self.say("answer.trial"), "bold"))
        elif shown.kind == "set":
            lines.append(Text(self.say("answer.as_for", label=said["label"])))
        for field in ("label", "key_findings"):
            if own.get(field, said[field]) != said[field]:
                told = self.say("answer.corrected", text=safe_line(own[field]))
                lines.append(Text(told, "bold"))
        return Text("\n").join(lines)
