"""What one may do with an answer, wherever it is shown: judge it, note, save, look closer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from textual import work
from textual.binding import Binding, BindingType

from appliance.core.cases import Verdict
from appliance.errors import ApplianceError
from appliance.tui import consulting
from appliance.tui.desk import Opened
from appliance.tui.screens.quoting import NUMBERS, Quoting
from appliance.tui.screens.room import Room
from appliance.tui.shown import Shown
from appliance.tui.widgets.answer import AnswerView

JUDGING = frozenset({"judge", "correct"})
LOOKING = frozenset({"save", "zoom", "external", "note", "check", "similar"})


class AnsweredRoom(Quoting[None], Room):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "judge('accepted')", "answer.accept", id="answer.accept"),
        Binding("e", "correct", "answer.correct", id="answer.correct"),
        Binding("x", "judge('rejected')", "answer.reject", id="answer.reject"),
        Binding("n", "note", "answer.note", id="answer.note"),
        Binding("s", "save", "answer.save", id="answer.save"),
        Binding("z", "zoom", "answer.zoom", id="answer.zoom"),
        Binding("k", "check", "check.open", id="check.open"),
        Binding("l", "similar", "answer.similar", id="answer.similar"),
        Binding("v", "external", "answer.external", id="answer.external", show=False),
        *NUMBERS,
    ]

    @property
    def shown(self) -> Shown | None:
        """The answer on the screen."""
        raise NotImplementedError

    def show(self, shown: Shown) -> None:
        raise NotImplementedError

    @work(exclusive=True, group="judge")
    async def action_judge(self, verdict: Verdict) -> None:
        if (shown := self.shown) is not None:
            await self._judge(shown, verdict, None)

    @work(exclusive=True, group="judge")
    async def action_correct(self) -> None:
        from appliance.tui.screens.asking import CorrectDialog

        if (shown := self.shown) is None:
            return
        caption = {**shown.answer["caption"], **(shown.corrected or {})}
        names = tuple(shown.answer["label_probabilities"])
        fields = await self.app.push_screen_wait(CorrectDialog(self.say, caption, names))
        if fields:
            await self._judge(shown, "corrected", {**(shown.corrected or {}), **fields})

    async def _judge(
        self, shown: Shown, verdict: Verdict, corrected: dict[str, str] | None
    ) -> None:
        job = consulting.judged(shown, verdict, corrected)
        await self._do(job, f"verdict.{verdict}")

    @work(exclusive=True, group="note")
    async def action_note(self) -> None:
        from appliance.tui.screens.asking import NoteDialog

        if (shown := self.shown) is None:
            return
        given = await self.app.push_screen_wait(NoteDialog(self.say, shown.reference, shown.note))
        if given is not None:
            job = consulting.annotated(shown, given["note.reference"], given["note.note"])
            await self._do(job, "note.kept")

    @work(exclusive=True, group="save")
    async def action_save(self) -> None:
        from appliance.tui.screens.asking import save_page

        if self.shown is not None:
            await save_page(self, self.shown)

    def action_zoom(self) -> None:
        from appliance.tui.screens.picture import PictureScreen

        if self.shown is not None and self.shown.pixels is not None:
            path = self.shown.answer["image"]["path"]
            self.app.push_screen(PictureScreen(self.say, self.shown.pixels, path))

    def action_external(self) -> None:
        from appliance.tui.external import open_outside

        if self.shown is not None:
            try:
                open_outside(self.shown.answer["image"]["path"])
            except ApplianceError as exc:
                self.tell_error(exc)

    def action_check(self) -> None:
        from appliance.tui.screens.check import CheckScreen

        if self.shown is not None:
            self.app.push_screen(CheckScreen(self.say, self.shown))

    def action_similar(self) -> None:
        if self.shown is not None:
            self.clinic.show_similar(self.shown)

    def on_case_row_opened(self) -> None:
        """One of the cases that stand beside an answer: in the atlas, with its picture."""
        if self.check_action("similar", ()):
            self.action_similar()

    @property
    def quoted(self) -> Sequence[Mapping[str, Any]]:
        return self.shown.passages if self.shown is not None else ()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether it can be done now; only that is in the footer."""
        if action not in JUDGING | LOOKING:
            return super().check_action(action, parameters)
        if not self.is_mounted or (shown := self.shown) is None:
            return False
        if action in JUDGING:
            return shown.case_id is not None and shown.has_caption
        if action == "note":
            return shown.case_id is not None
        if action == "zoom":
            return shown.pixels is not None
        if action == "check":
            return shown.has_caption and self.clinic.may("consult")
        if action == "similar":
            return shown.pixels is not None and shown.is_let_through and self.clinic.may("atlas")
        return True

    def draw_answer(self, view: AnswerView, shown: Shown) -> None:
        view.shown = shown
        self.refresh_bindings()

    async def _do(self, job: Callable[[Opened], Shown], done: str) -> None:
        """Run a job that changes the answer shown, and say that it is done."""
        try:
            self.show(await self.clinic.side_desk.ask(job))
            self.tell(self.say(done))
        except ApplianceError as exc:
            self.tell_error(exc)
