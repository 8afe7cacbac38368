"""Consult: choose a picture, watch it being read, see the answer, say what one makes of it."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.getters import query_one
from textual.message import Message
from textual.widgets import ContentSwitcher, Static

from appliance.core.ports import CANCELLED
from appliance.core.text import safe_line
from appliance.core.worklist import usual_s
from appliance.errors import ApplianceError
from appliance.tui import consulting
from appliance.tui.consulting import Asking
from appliance.tui.folders import pasted_paths, typed_path
from appliance.tui.screens.answered import AnsweredRoom
from appliance.tui.shown import Pixels, Shown
from appliance.tui.widgets.answer import AnswerView
from appliance.tui.widgets.path_chooser import PathChooser
from appliance.tui.widgets.picture import PictureView
from appliance.tui.widgets.stages import Stages
from appliance.tui.words import Words

if TYPE_CHECKING:
    from appliance.core.consult import Stage


class ConsultScreen(AnsweredRoom):
    NAME = "consult"
    CSS_PATH = "consult.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "choose", "consult.open", id="consult.open"),
        Binding("b", "beside", "consult.beside", id="consult.beside"),
        Binding("r", "retry", "consult.retry", id="consult.retry"),
        Binding("escape", "stop", "consult.stop", id="consult.stop"),
        Binding("escape", "back", "consult.back", id="consult.back", show=False),
    ]

    @dataclass
    class Reached(Message):
        stage: "Stage"

    @dataclass
    class Seen(Message):
        pixels: Pixels

    switcher = query_one(ContentSwitcher)
    chooser = query_one(PathChooser)
    stages = query_one(Stages)
    preview = query_one("#preview", PictureView)
    answer = query_one("#answer", AnswerView)

    def __init__(self, say: Words) -> None:
        super().__init__(say)
        self._asking: Asking | None = None
        self._spent_s: list[float] = []
        self._first: Shown | None = None
        """Of two pictures of one patient, the one that was answered already."""

    @property
    def shown(self) -> Shown | None:
        return self.answer.shown if self.switcher.current == "answer" else None

    def contents(self) -> ComposeResult:
        plain = self.clinic.config.plain
        with ContentSwitcher(initial="choose"):
            yield PathChooser(self.say, id="choose")
            with Horizontal(id="busy"):
                yield PictureView(self.say, plain=plain, id="preview")
                with Vertical(id="progress"):
                    yield Static("", id="reading", markup=False)
                    yield Stages(self.say, self.clinic.clock_s)
            yield AnswerView(self.say, plain=plain, id="answer")

    def on_mount(self) -> None:
        self.chooser.path.focus()
        self.call_after_refresh(self._open_desks)

    @work(exclusive=True, group="open")
    async def _open_desks(self) -> None:
        """After the first paint: libraries and the model's files are read at the desks."""
        try:
            before = await self.clinic.side_desk.ask(consulting.before)
            self._spent_s = before.spent_s
            self.chooser.offer(before.recent)
            await self.clinic.desk.ask(consulting.warm)
        except ApplianceError as exc:
            self.tell_error(exc)

    # Choosing

    def on_path_chooser_chosen(self, event: PathChooser.Chosen) -> None:
        if len(event.paths) > 1:
            self.clinic.add_to_worklist(event.paths)
        else:
            self.consult(event.paths[0])

    def on_paste(self, event: events.Paste) -> None:
        """A file dropped while no input has the focus."""
        if self._asking is None:
            self._choose()
            self.chooser.drop(pasted_paths(event.text))

    def action_choose(self) -> None:
        self._first = None
        self._choose()

    def _choose(self) -> None:
        self.notice.clear()
        self.answer.shown = None
        self.switcher.current = "choose"
        self.chooser.clear()
        self.chooser.path.focus()
        self.refresh_bindings()

    # Reading

    @work(exclusive=True, group="consult")
    async def consult(self, path: str) -> None:
        path = typed_path(path)
        self.notice.clear()
        self.preview.pixels = None
        name = safe_line(PurePath(path).name)
        self.query_one("#reading", Static).update(self.say("busy.reading", name=name))
        self.stages.begin(usual_s(self._spent_s))
        self.switcher.current = "busy"
        self.set_focus(None)
        first, self._first = self._first, None  # of this reading, and of no later one
        asking = self._asking = Asking(
            path,
            lambda stage: self._tell_later(self.Reached(stage)),
            lambda pixels: self._tell_later(self.Seen(pixels)),
        )
        self.refresh_bindings()
        try:
            await self._reveal(await self.clinic.desk.ask(asking), first)
        except ApplianceError as exc:
            self._choose()
            self.chooser.drop([path])
            self.tell_error(exc)
        finally:
            self._asking = None
            self.refresh_bindings()

    def _tell_later(self, message: Message) -> None:
        """From the desk's thread."""
        self.post_message(message)

    async def _reveal(self, shown: Shown, first: Shown | None) -> None:
        """Show the answer, after the second reader's own impression where that is asked for; beside
        the `first` of the same patient, if there is one."""
        self._asking = None
        error = shown.answer["error"]
        if error is not None and error["code"] == CANCELLED:
            self._choose()
            self.tell(self.say("busy.cancelled", name=shown.name))
            return
        self._spent_s.append(sum(shown.answer["timings_ms"].values()) / 1000)
        if self.clinic.config.second_reader and error is None:
            given = await self.clinic.ask_impression(shown)
            if given is None:
                self._choose()
                self.tell(self.say("impression.hidden"))
                return
            shown = given
        self.show(shown)
        if first is not None:
            from appliance.tui.screens.beside import BesideScreen

            self.app.push_screen(BesideScreen(self.say, (first, shown)))

    def show(self, shown: Shown) -> None:
        self.switcher.current = "answer"
        self.draw_answer(self.answer, shown)

    def on_consult_screen_reached(self, event: Reached) -> None:
        self.stages.stage = event.stage

    def on_consult_screen_seen(self, event: Seen) -> None:
        self.preview.pixels = event.pixels

    def action_back(self) -> None:
        self.action_choose()

    @work(group="cancel")
    async def action_stop(self) -> None:
        if (asking := self._asking) is not None:
            await asking.stop(self.clinic.desk, lambda: self._asking is not asking)

    # With an answer

    def action_retry(self) -> None:
        if self.shown is not None:
            self.consult(self.shown.answer["image"]["path"])

    def action_beside(self) -> None:
        """Keep this one, and choose another picture of the same patient."""
        if (first := self.shown) is not None:
            self._choose()
            self._first = first
            self.tell(self.say("beside.choose", name=first.name))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_mounted:
            return False
        if action == "back":
            return self._asking is None and (self.shown is not None or self._first is not None)
        if action == "stop":
            return self._asking is not None
        if action == "choose":
            return self.shown is not None
        if action == "beside":
            return self.shown is not None and self.shown.pixels is not None
        if action == "retry":
            return self.shown is not None and self.shown.kind == "failed"
        return super().check_action(action, parameters)
