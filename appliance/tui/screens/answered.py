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
        """Of a corrected caption only after a question: the correction would be gone."""
        from appliance.tui.screens.asking import ConfirmDialog

        if (shown := self.shown) is None:
            return
        if shown.corrected and not await self.app.push_screen_wait(
            ConfirmDialog(self.say, "correct.drop")
        ):
            return
        try:
            await self._do(consulting.judged(shown, verdict), f"verdict.{verdict}")
        except ApplianceError as exc:
            self.tell_error(exc)

    @work(exclusive=True, group="judge")
    async def action_correct(self) -> None:
        from appliance.tui.screens.asking import CorrectDialog

        if (shown := self.shown) is None:
            return
        caption = {**shown.answer["caption"], **(shown.corrected or {})}
        names = tuple(shown.answer["label_probabilities"])

        async def keep(changed: Mapping[str, str]) -> None:
            if changed:
                corrected = {**(shown.corrected or {}), **changed}
                await self._do(
                    consulting.judged(shown, "corrected", corrected), "verdict.corrected"
                )

        await self.app.push_screen_wait(CorrectDialog(self.say, caption, names, keep))

    @work(exclusive=True, group="note")
    async def action_note(self) -> None:
        from appliance.tui.screens.asking import NoteDialog

        if (shown := self.shown) is None:
            return

        async def keep(given: Mapping[str, str]) -> None:
            job = consulting.annotated(shown, given["note.reference"], given["note.note"])
            await self._do(job, "note.kept")

        dialog = NoteDialog(self.say, shown.reference, shown.note, keep)
        await self.app.push_screen_wait(dialog)

    @work(exclusive=True, group="save")
    async def action_save(self) -> None:
        from appliance.tui.screens.asking import save_page

        if self.shown is not None:
            await save_page(self, self.shown)

    def action_zoom(self) -> None:
        from appliance.tui.screens.picture import PictureScreen

        if self.shown is not None and self.shown.pixels is not None:
            image = self.shown.answer["image"]
            self.app.push_screen(PictureScreen(self.say, self.shown.pixels, image))

    @work(exclusive=True, group="external")
    async def action_external(self) -> None:
        from appliance.tui.external import open_outside
        from appliance.tui.screens.picture import LARGE

        if (shown := self.shown) is None:
            return
        image = shown.answer["image"]
        try:  # opened here first: it may be another picture by now
            await self.clinic.side_desk.ask(consulting.larger_picture(image, LARGE))
            open_outside(image["path"])
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
        if action in ("zoom", "external"):
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
        """Run a job that changes the answer shown, and say that it is done. Raises: as the job."""
        self.show(await self.clinic.side_desk.ask(job))
        self.tell(self.say(done))
