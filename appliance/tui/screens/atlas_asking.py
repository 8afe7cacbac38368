"""What the atlas asks for: a picture's path; words, and what to take from them or to add."""

from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from appliance.errors import ApplianceError
from appliance.tui import consulting
from appliance.tui.screens.asking import Form
from appliance.tui.screens.room import Dialog
from appliance.tui.widgets.key_bar import KeyBar
from appliance.tui.widgets.notice import Notice
from appliance.tui.widgets.path_chooser import PathChooser
from appliance.tui.words import Words

BETWEEN = ";"
"""Stands between several texts of one field."""


class PictureDialog(Dialog[str]):
    """Which picture; gives its path."""

    def compose(self) -> ComposeResult:
        yield PathChooser(self.say, hint="atlas.choose_hint")
        yield Notice(self.say)
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(PathChooser).path.focus()
        if self.clinic.may("case.read"):
            self._offer()

    @work(exclusive=True, group="offer")
    async def _offer(self) -> None:
        try:
            before = await self.clinic.side_desk.ask(consulting.before)
            self.query_one(PathChooser).offer(before.recent)
        except ApplianceError as exc:
            self.query_one(Notice).tell_error(exc)

    def on_path_chooser_chosen(self, event: PathChooser.Chosen) -> None:
        self.dismiss(event.paths[0])


class ContrastDialog(Form):
    """Words, and at least one that is taken from them or added."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "keep", "atlas.contrast", id="atlas.compare"),
    ]

    def __init__(self, say: Words, text: str) -> None:
        fields = {"atlas.text": text, "atlas.minus": "", "atlas.plus": ""}
        super().__init__(say, say("atlas.contrast_heading"), fields, say("atlas.contrast_hint"))

    def action_keep(self) -> None:
        """What is missing is asked for."""
        given = self.given()
        if not given["atlas.text"]:
            self.query(Input).first().focus()
        elif given["atlas.minus"] or given["atlas.plus"]:
            self.dismiss(given)
        else:
            self.query(Input).last().focus()


def several(field: str) -> list[str]:
    """The texts of one field."""
    return [part for part in map(str.strip, field.split(BETWEEN)) if part]
