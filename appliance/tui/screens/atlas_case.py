"""One reference case in full: its picture beside the patient's own, and whose it is."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.getters import query_one
from textual.widgets import Static

from appliance.core.text import safe_line
from appliance.tui.screens.room import Dialog
from appliance.tui.shown import Pixels
from appliance.tui.widgets.case_row import likeness_words, source_words
from appliance.tui.widgets.key_bar import KeyBar
from appliance.tui.widgets.picture import PictureView
from appliance.tui.words import Words


class AtlasCaseScreen(Dialog[None]):
    CSS_PATH = "atlas_case.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,right", "step(1)", "passage.next", id="case.following"),
        Binding("p,left", "step(-1)", "passage.back", id="case.before"),
        Binding("z", "zoom", "answer.zoom", id="case.zoom"),
    ]

    picture = query_one("#picture", PictureView)

    def __init__(
        self,
        say: Words,
        cases: Sequence[Mapping[str, Any]],
        place: int,
        pictures: Mapping[str, Pixels | None],
        own: Pixels | None,
    ) -> None:
        """`cases` as `core.atlas.neighbour_json` gives them, `place` from 0; `pictures` by case,
        None for one that is damaged; `own` is the patient's."""
        super().__init__(say)
        self._cases, self._place = cases, place
        self._pictures, self._own = pictures, own

    def compose(self) -> ComposeResult:
        say, plain = self.say, self.clinic.config.plain
        yield Static(say("atlas.teaching"), classes="teaching", markup=False)
        with Horizontal(id="pair"):
            if self._own is not None:
                with Vertical(classes="one"):
                    yield Static(say("atlas.own"), classes="heading", markup=False)
                    own = PictureView(say, plain=plain, told="atlas.plain")
                    own.pixels = self._own
                    yield own
            with Vertical(classes="one"):
                yield Static(id="heading", classes="heading", markup=False)
                yield PictureView(say, plain=plain, told="atlas.plain", id="picture")
                yield Static(id="instead", classes="quiet", markup=False)
        with VerticalScroll(id="words"):
            yield Static(id="told")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#words").focus()
        self._show()

    @property
    def case(self) -> Mapping[str, Any]:
        return self._cases[self._place]

    def action_step(self, by: int) -> None:
        self._place += by
        self._show()
        self.refresh_bindings()

    def action_zoom(self) -> None:
        from appliance.tui.screens.picture import PictureScreen

        if (pixels := self._pictures.get(self.case["case_id"])) is not None:
            self.app.push_screen(PictureScreen(self.say, pixels))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "step":
            return 0 <= self._place + int(str(parameters[0])) < len(self._cases)
        if action == "zoom":
            has_picture = self._pictures.get(self.case["case_id"]) is not None
            return has_picture and not self.clinic.config.plain
        return True

    def _show(self) -> None:
        say, case = self.say, self.case
        heading = say("atlas.case", place=self._place + 1, count=len(self._cases))
        self.query_one("#heading", Static).update(heading)
        pixels = self._pictures.get(case["case_id"])
        self.picture.pixels = pixels
        self.picture.display = pixels is not None
        is_plain = self.clinic.config.plain
        self.set_class(is_plain or (self._own or pixels) is None, "-undrawn")
        instead = self.query_one("#instead", Static)
        instead.display = pixels is None
        undrawn = "not_drawn" if is_plain else "damaged"
        instead.update(say(f"atlas.{undrawn if case['picture'] else 'not_carried'}"))
        self.query_one("#told", Static).update(self._told(case))

    def _told(self, case: Mapping[str, Any]) -> Text:
        text = Text(safe_line(case["label"]), "bold")
        text.append(f"  {likeness_words(case, self.say)}\n", "not bold")
        text.append(safe_line(case["caption"]), "not bold")
        text.append(f"\n\n{source_words(case, self.say)}", "not bold")
        return text.append("\n" + safe_line(case["source"]["attribution"]), "not bold")
