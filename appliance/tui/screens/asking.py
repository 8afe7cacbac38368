"""Small questions on top of a screen: note, correction, a page's place, a second reader's label."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.getters import query_one
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
from appliance.tui.widgets.notice import Notice
from appliance.tui.widgets.picture import PictureView
from appliance.tui.words import Words

Keep = Callable[[Mapping[str, str]], Awaitable[None]]
"""Does what a form is for, with the texts by name. Raises: ApplianceError."""
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

    notice = query_one(Notice)

    def __init__(self, say: Words, heading: str, fields: Mapping[str, str], hint: str = "") -> None:
        """`fields`: the text of each by its key in the catalogue."""
        super().__init__(say)
        self._heading, self._fields, self._hint = heading, fields, hint

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box", can_focus=False):
            yield Static(self._heading, classes="heading row", markup=False)
            yield Notice(self.say)
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


class KeepingForm(Form):
    """Stays, with all that was typed, until what it is for is done."""

    def __init__(
        self, say: Words, heading: str, fields: Mapping[str, str], hint: str, keep: Keep
    ) -> None:
        super().__init__(say, heading, fields, hint)
        self._keep, self._is_keeping = keep, False

    def action_keep(self) -> None:
        if not self._is_keeping:
            self._is_keeping = True
            self._do(self.given())

    def action_close(self) -> None:
        if not self._is_keeping:
            super().action_close()

    @work(group="keep")
    async def _do(self, given: dict[str, str]) -> None:
        try:
            await self._keep(given)
        except ApplianceError as exc:
            self._is_keeping = False
            self.notice.tell_error(exc)
            self.call_after_refresh(self.notice.scroll_visible, animate=False)
        else:
            self.dismiss(given)


class NoteDialog(KeepingForm):
    """Reference and note of a case."""

    def __init__(self, say: Words, reference: str, note: str, keep: Keep) -> None:
        fields = {"note.reference": reference, "note.note": note}
        super().__init__(say, say("note.heading"), fields, say("note.hint"), keep)


class CorrectDialog(KeepingForm):
    """The caption as the clinician would have it: what was changed, by field."""

    def __init__(
        self, say: Words, caption: Mapping[str, str], labels: Sequence[str], keep: Keep
    ) -> None:
        fields = {f"caption.{field}": words for field, words in caption.items()}
        super().__init__(say, say("correct.heading"), fields, say("correct.hint"), keep)
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

    def given(self) -> dict[str, str]:
        """What was changed; a label as the release writes it, however it is typed."""
        typed = super().given()
        names = {label.casefold(): label for label in self._labels}
        label = typed["caption.label"]
        typed["caption.label"] = names.get(label.casefold(), label)
        changed = {name: text for name, text in typed.items() if text != self._fields[name]}
        return {name.partition(".")[2]: text for name, text in changed.items()}


class ConfirmDialog(Dialog[bool]):
    """Whether something is to be lost."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "agree", "dialog.agree", id="dialog.agree"),
    ]

    def __init__(self, say: Words, question: str) -> None:
        """`question`: its key in the catalogue."""
        super().__init__(say)
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Static(self.say(self._question), classes="heading", markup=False)
        yield KeyBar()

    def action_agree(self) -> None:
        self.dismiss(True)


class SaveDialog(KeepingForm):
    """Where one page is to be written."""

    def __init__(self, say: Words, path: str, keep: Keep) -> None:
        super().__init__(say, say("page.heading"), {"page.path": path}, say("page.hint"), keep)


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

    async def keep(given: Mapping[str, str]) -> None:
        if not (path := given["page.path"]):
            return
        text = page_html(shown, say) if path.lower().endswith(HTML) else page_text(shown, say)
        await room.clinic.side_desk.ask(consulting.page_saved(shown, path, text))
        room.tell(say("page.saved", path=safe_line(path)))

    await room.app.push_screen_wait(SaveDialog(say, proposed, keep))
