"""Small questions on top of a screen: note, correction, a page's place, a second reader's label."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from appliance.core.text import safe_line
from appliance.errors import ApplianceError
from appliance.tui import consulting
from appliance.tui.page import page_html, page_text
from appliance.tui.screens.room import Dialog, Room
from appliance.tui.shown import Pixels, Shown
from appliance.tui.widgets.key_bar import KeyBar
from appliance.tui.widgets.picture import PictureView
from appliance.tui.words import Words

HTML = (".html", ".htm")
NONE_OF_THEM = ""
MOVES = (
    Binding("down", "app.focus_next", "key.next", show=False, id="form.next"),
    Binding("up", "app.focus_previous", "key.previous", show=False, id="form.previous"),
)
"""From field to field, for the BINDINGS of whatever has some."""


class Form(Dialog[dict[str, str]]):
    """Fields under one another; gives their texts by name."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "keep", "form.keep", id="form.keep"),
        *MOVES,
    ]

    def __init__(self, say: Words, heading: str, fields: Mapping[str, str], hint: str = "") -> None:
        """`fields`: the text of each by its key in the catalogue."""
        super().__init__(say)
        self._heading, self._fields, self._hint = heading, fields, hint

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box", can_focus=False):
            yield Static(self._heading, classes="heading row", markup=False)
            if self._hint:
                yield Static(self._hint, classes="row quiet", markup=False)
            for name, text in self._fields.items():
                with Vertical(classes="row"):
                    yield Static(self.say(name), classes="label", markup=False)
                    yield self.field(name, text)
        yield KeyBar()

    def field(self, name: str, text: str) -> Widget:
        return Input(text, name=name, classes="field", compact=True, select_on_focus=False)

    @on(Input.Submitted)
    def _next_or_keep(self, event: Input.Submitted) -> None:
        """Enter goes on, and keeps in the last field."""
        event.stop()
        fields = list(self.query(Input))
        if event.input is fields[-1]:
            self.action_keep()
        else:
            self.focus_next()

    def given(self) -> dict[str, str]:
        return {str(field.name): field.value.strip() for field in self.query(Input)}

    def action_keep(self) -> None:
        self.dismiss(self.given())


class NoteDialog(Form):
    """Reference and note of a case."""

    def __init__(self, say: Words, reference: str, note: str) -> None:
        fields = {"note.reference": reference, "note.note": note}
        super().__init__(say, say("note.heading"), fields, say("note.hint"))


class CorrectDialog(Form):
    """The caption as the clinician would have it: what was changed, by field."""

    def __init__(self, say: Words, caption: Mapping[str, str], labels: Sequence[str]) -> None:
        fields = {f"caption.{field}": words for field, words in caption.items()}
        super().__init__(say, say("correct.heading"), fields, say("correct.hint"))
        self._labels = labels

    def field(self, name: str, text: str) -> Widget:
        is_label = name == "caption.label"
        return Input(
            text,
            name=name,
            classes="field",
            compact=True,
            select_on_focus=False,
            suggester=SuggestFromList(self._labels, case_sensitive=False) if is_label else None,
        )

    def action_keep(self) -> None:
        changed = {
            name.partition(".")[2]: text
            for name, text in self.given().items()
            if text != self._fields[name]
        }
        self.dismiss(changed)


class SaveDialog(Form):
    """Where one page is to be written."""

    def __init__(self, say: Words, path: str) -> None:
        super().__init__(say, say("page.heading"), {"page.path": path}, say("page.hint"))


class ImpressionDialog(Dialog[str]):
    """The label that a second reader would give, before the release's is shown; nothing keeps the
    answer hidden."""

    DEFAULT_CSS = """
    ImpressionDialog {
        OptionList { height: auto; max-height: 10; border: none; background: $surface; }
        PictureView { height: 8; margin-bottom: 1; }
    }
    """

    def __init__(self, say: Words, labels: Sequence[str], pixels: Pixels | None) -> None:
        super().__init__(say)
        self._labels = (*labels, NONE_OF_THEM)
        self._pixels = pixels

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Static(self.say("impression.heading"), classes="heading row", markup=False)
            yield Static(self.say("impression.hint"), classes="row quiet", markup=False)
            picture = PictureView(self.say, plain=self.clinic.config.plain)
            picture.pixels = self._pixels
            yield picture
            yield OptionList(
                *(Option(Text(label or self.say("impression.none"))) for label in self._labels),
                compact=True,
            )
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        label = self._labels[event.option_index]
        self.dismiss(label or self.say("impression.none"))


async def save_page(room: Room, shown: Shown) -> None:
    """Ask where, write it, say so."""
    say, number = room.say, shown.record[0] if shown.record else 0
    proposed = str(Path("~") / say("page.file", number=f"{number:05}"))
    given = await room.app.push_screen_wait(SaveDialog(say, proposed))
    if not given or not given["page.path"]:
        return
    path = given["page.path"]
    text = page_html(shown, say) if path.lower().endswith(HTML) else page_text(shown, say)
    try:
        await room.clinic.side_desk.ask(consulting.page_saved(shown, path, text))
        room.tell(say("page.saved", path=safe_line(path)))
    except ApplianceError as exc:
        room.tell_error(exc)
