"""Checking a treatment: what is planned for the picture, the check at work, and its verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.getters import query_one
from textual.message import Message
from textual.widgets import ContentSwitcher, Input, Static

from appliance.core.check import Check, Question
from appliance.core.ports import CANCELLED
from appliance.core.text import safe_line
from appliance.errors import ApplianceError
from appliance.tui.checking import Checking
from appliance.tui.screens.asking import MOVES
from appliance.tui.screens.quoting import NUMBERS, Quoting
from appliance.tui.shown import Shown, shown_result
from appliance.tui.widgets.key_bar import KeyBar
from appliance.tui.widgets.notice import Notice
from appliance.tui.widgets.picture import PictureView
from appliance.tui.widgets.stages import Stages
from appliance.tui.widgets.verdict import VerdictView
from appliance.tui.words import Words

if TYPE_CHECKING:
    from appliance.core.consult import Stage


class CheckScreen(Quoting[None]):
    CSS_PATH = "check.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "ask", "check.ask", id="check.ask"),
        Binding("k", "change", "check.change", id="check.change"),
        Binding("r", "retry", "consult.retry", id="check.retry"),
        Binding("escape", "stop", "consult.stop", id="check.stop"),
        Binding("escape", "close", "dialog.close", id="check.close"),
        *MOVES,
        *NUMBERS,
    ]

    @dataclass
    class Reached(Message):
        stage: "Stage"

    switcher = query_one(ContentSwitcher)
    treatment = query_one("#treatment", Input)
    finding = query_one("#finding", Input)
    stages = query_one(Stages)
    verdict = query_one(VerdictView)

    def __init__(self, say: Words, answered: Shown) -> None:
        """`answered`: the consultation whose picture it is about."""
        super().__init__()
        self.say = say
        self._answered = answered
        self._question: Question | None = None
        self._checking: Checking | None = None

    def compose(self) -> ComposeResult:
        say, pixels = self.say, self._answered.pixels
        yield Static(say("answer.demonstration"), id="warning", markup=False)
        with Horizontal(id="check"):
            with Vertical(id="side"):
                if pixels and not self.clinic.config.plain:
                    picture = PictureView(say)
                    picture.pixels = pixels
                    yield picture
                yield Static(id="facts")
            with ContentSwitcher(initial="form"):
                with VerticalScroll(id="form", can_focus=False):
                    yield Static(say("in_full.check.open"), classes="heading row", markup=False)
                    yield Static(say("check.hint"), classes="row quiet", markup=False)
                    yield Static(say("check.treatment"), classes="quiet", markup=False)
                    yield self._field("treatment")
                    yield Static(say("check.finding"), classes="quiet", markup=False)
                    yield self._field("finding", self._corrected)
                with Vertical(id="busy"):
                    yield Static(say("check.checking"), classes="heading row", markup=False)
                    yield Stages(say, self.clinic.clock_s)
                yield VerdictView(say, id="verdict")
        yield Notice(say)
        yield KeyBar()

    def _field(self, name: str, text: str = "") -> Input:
        return Input(text, id=name, classes="field row", compact=True, select_on_focus=False)

    @property
    def _corrected(self) -> str:
        """The label that the clinician set right: a finding of their own."""
        return (self._answered.corrected or {}).get("label", "")

    @property
    def quoted(self) -> Sequence[Mapping[str, Any]]:
        return self.verdict.passages if self.switcher.current == "verdict" else ()

    def on_mount(self) -> None:
        self._ask_again()

    # Asking

    @on(Input.Submitted)
    def _next_or_ask(self, event: Input.Submitted) -> None:
        """Enter goes on, and asks in the last field."""
        if event.input is self.finding:
            self.action_ask()
        else:
            self.finding.focus()

    def action_ask(self) -> None:
        if self._checking is not None:  # a key typed ahead
            return
        path = self._answered.answer["image"]["path"]
        try:
            self._question = Question(path, self.treatment.value, self.finding.value)
        except ApplianceError as exc:
            self.notice.tell_error(exc)
            self.treatment.focus()
            return
        self.check(self._question)

    def action_change(self) -> None:
        self.notice.clear()
        self._ask_again()

    def _ask_again(self) -> None:
        """The form, with what was typed."""
        self.switcher.current = "form"
        self.treatment.focus()
        self._draw_facts(self._answered)
        self.refresh_bindings()

    # At work

    @work(exclusive=True, group="check")
    async def check(self, question: Question) -> None:
        self.notice.clear()
        self.stages.begin(None)
        self.verdict.found = self.verdict.shown = None  # no old one beside a new question
        self.switcher.current = "busy"
        self.set_focus(None)
        sha256 = self._answered.answer["image"]["sha256"]
        checking = self._checking = Checking(
            question, sha256, lambda stage: self._tell_later(self.Reached(stage))
        )
        self.refresh_bindings()
        try:
            self._show(await self.clinic.desk.ask(checking))
        except ApplianceError as exc:
            self._ask_again()
            if exc.code == CANCELLED:
                self.notice.tell(self.say("check.cancelled"))
            else:
                self.notice.tell_error(exc)
        finally:
            self._checking = None
            self.refresh_bindings()

    def _tell_later(self, message: Message) -> None:
        """From the desk's thread."""
        self.post_message(message)

    def on_check_screen_reached(self, event: Reached) -> None:
        self.stages.stage = event.stage

    @work(group="cancel")
    async def action_stop(self) -> None:
        if (checking := self._checking) is not None:
            await checking.stop(self.clinic.desk, lambda: self._checking is not checking)

    # With a verdict

    def _show(self, found: Check) -> None:
        from appliance.core.answer import answer_json

        error = found.consultation.error
        if error is not None and error.code == CANCELLED:
            raise error
        shown = shown_result(found.consultation, answer_json(found.consultation))
        self.verdict.found = found
        self.verdict.shown = shown
        self.switcher.current = "verdict"
        self.verdict.scroll_home(animate=False)
        self.verdict.focus()
        self._draw_facts(shown)

    def action_retry(self) -> None:
        if self._question is not None:
            self.check(self._question)

    def action_close(self) -> None:
        self.dismiss()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_mounted:
            return False
        if action == "ask":
            return self.switcher.current == "form"
        if action == "change":
            return self.switcher.current == "verdict"
        if action == "retry":
            found = self.verdict.found if self.switcher.current == "verdict" else None
            return found is not None and found.judgement is None
        if action in ("stop", "close"):
            return (self._checking is not None) == (action == "stop")
        return super().check_action(action, parameters)

    def _draw_facts(self, shown: Shown) -> None:
        say = self.say
        self.query_one("#warning").display = shown.is_demonstration
        lines = [Text(self._answered.name, "bold", overflow="ellipsis", no_wrap=True)]
        if self.switcher.current == "verdict" and self._question and self.verdict.found:
            lines.append(Text(say("check.planned", text=safe_line(self._question.treatment))))
            if finding := safe_line(self._question.finding):
                lines.append(Text(say("check.found", text=finding)))
            entry = self.verdict.found.entry
            lines.append(Text(say("answer.record", number=entry.seq, hash=entry.hash[:12])))
            if self.quoted:
                lines.append(Text(say("answer.passage_keys", count=len(self.quoted))))
        self.query_one("#facts", Static).update(Text("\n").join(lines))
