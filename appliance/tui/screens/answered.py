"""What one may do with an answer, wherever it is shown: judge it, note, save, look closer."""

from collections.abc import Callable
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType

from appliance.core.cases import Verdict
from appliance.errors import ApplianceError
from appliance.tui import consulting
from appliance.tui.desk import Opened
from appliance.tui.screens.room import Room
from appliance.tui.shown import Shown, place_words
from appliance.tui.widgets.answer import AnswerView
from appliance.tui.widgets.passage_row import PassageRow

JUDGING = frozenset({"judge", "correct"})
LOOKING = frozenset({"save", "zoom", "external", "passage", "note"})


class AnsweredRoom(Room):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "judge('accepted')", "answer.accept", id="answer.accept"),
        Binding("e", "correct", "answer.correct", id="answer.correct"),
        Binding("x", "judge('rejected')", "answer.reject", id="answer.reject"),
        Binding("n", "note", "answer.note", id="answer.note"),
        Binding("s", "save", "answer.save", id="answer.save"),
        Binding("z", "zoom", "answer.zoom", id="answer.zoom"),
        Binding("v", "external", "answer.external", id="answer.external", show=False),
        *(
            Binding(str(n), f"passage({n})", f"passage.{n}", id=f"passage.{n}", show=False)
            for n in range(1, 10)
        ),
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

    def action_passage(self, rank: int) -> None:
        from appliance.tui.screens.passage import PassageScreen

        if self.shown is not None and rank <= len(self.shown.passages):
            self.app.push_screen(PassageScreen(self.say, self.shown.passages, rank))

    def on_passage_row_opened(self, event: PassageRow.Opened) -> None:
        self.action_passage(event.rank)

    def on_passage_row_copied(self, event: PassageRow.Copied) -> None:
        if self.shown is not None:
            self.app.copy_to_clipboard(place_words(self.shown.passages[event.rank - 1], self.say))
            self.tell(self.say("passage.copied"))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether it can be done now; only that is in the footer."""
        if action not in JUDGING | LOOKING:
            return True
        if not self.is_mounted or (shown := self.shown) is None:
            return False
        if action in JUDGING:
            return shown.case_id is not None and shown.has_caption
        if action == "note":
            return shown.case_id is not None
        if action == "zoom":
            return shown.pixels is not None
        if action == "passage":
            return int(str(parameters[0])) <= len(shown.passages)
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
