"""Atlas: reference cases by a picture, by words, by words with something added or taken away.

Teaching material, in a room of its own, apart from a patient's result.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import PurePath
from typing import ClassVar, TypeVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.getters import query_one
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from appliance.core.atlas import AtlasCard, Contrast, Description, Neighbour, neighbour_json
from appliance.core.ports import CANCELLED
from appliance.core.text import safe_line
from appliance.errors import ApplianceError
from appliance.tui import looking
from appliance.tui.desk import Opened
from appliance.tui.folders import typed_path
from appliance.tui.looking import Found, Looking, Own
from appliance.tui.screens.room import Room
from appliance.tui.shown import Pixels
from appliance.tui.widgets.case_row import CaseRow, PairedRow
from appliance.tui.widgets.picture import PictureView
from appliance.tui.words import Words

Result = TypeVar("Result")
Job = Callable[[Opened], Found[Result]]


class AtlasScreen(Room):
    NAME = "atlas"
    CSS_PATH = "atlas.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "atlas.search", id="atlas.search", key_display="/"),
        Binding("o", "choose", "atlas.choose", id="atlas.choose"),
        Binding("c", "contrast", "atlas.contrast", id="atlas.contrast"),
        Binding("d", "describe", "atlas.describe", id="atlas.describe"),
        Binding("r", "open", "atlas.open", id="atlas.open"),
        Binding("escape", "stop", "atlas.stop", id="atlas.stop"),
        Binding("escape", "back", "atlas.back", id="atlas.back"),
    ]

    @dataclass
    class Seen(Message):
        pixels: Pixels

    asked = query_one("#asked", Input)
    patient = query_one("#patient", PictureView)
    found = query_one("#found", VerticalScroll)

    def __init__(self, say: Words) -> None:
        super().__init__(say)
        self._card: AtlasCard | None = None
        """Of the atlas, as soon as it is open."""
        self._own: Own | None = None
        """The picture that was asked about, until one goes back."""
        self._came_from = ""
        """The room of the consultation that it is of."""
        self._job: object | None = None
        """The look under way."""
        self._columns: list[list[CaseRow]] = []
        self._pictures: dict[str, Pixels | None] = {}
        """By case, None for one that is damaged."""
        self._are_drawn = asyncio.Event()

    def contents(self) -> ComposeResult:
        say = self.say
        yield Static(say("atlas.teaching"), classes="teaching", markup=False)
        yield Input(id="asked", classes="field", compact=True, placeholder=say("atlas.ask"))
        with Horizontal(id="looked"):
            with Vertical(id="own"):
                plain = self.clinic.config.plain
                yield PictureView(say, plain=plain, told="atlas.plain", id="patient")
                yield Static("", id="whose", markup=False)
            yield VerticalScroll(id="found")

    def on_mount(self) -> None:
        self.query_one("#own").display = False
        self.found.focus()

    def on_screen_resume(self) -> None:
        if self._is_closed:
            self.action_open()

    def action_open(self) -> None:
        """What the atlas holds."""

        def look(opened: Opened) -> Found[None]:
            return Found(opened.atlas.card, None)

        async def draw(_: None) -> None:
            await self._draw_card()

        self._look(self.say("atlas.opening"), look, draw)

    # Asking

    def action_search(self) -> None:
        self.asked.focus()

    @on(Input.Submitted)
    def _words_given(self) -> None:
        if (text := self.asked.value.strip()) and self._can_ask:
            heading = self.say("atlas.fitting", text=text)

            async def draw(found: Sequence[Neighbour]) -> None:
                await self._draw_list(heading, found, self.say("atlas.nothing"))

            self._look(self.say("atlas.looking"), looking.found_by_words(text), draw)

    @work(exclusive=True, group="atlas-ask")
    async def action_contrast(self) -> None:
        from appliance.tui.screens.atlas_asking import ContrastDialog, several

        given = await self.app.push_screen_wait(ContrastDialog(self.say, self.asked.value))
        if not given:
            return
        text, plus, minus = given["atlas.text"], given["atlas.plus"], given["atlas.minus"]
        added, taken = several(plus), several(minus)
        changed = "".join([text, *(f" + {each}" for each in added), *(f" - {e}" for e in taken)])

        async def draw(found: Contrast) -> None:
            await self._draw_beside((text, found.original), (changed, found.changed))

        self._look(self.say("atlas.looking"), looking.found_by_contrast(text, added, taken), draw)

    @work(exclusive=True, group="atlas-ask")
    async def action_choose(self) -> None:
        from appliance.tui.screens.atlas_asking import PictureDialog

        if path := await self.app.push_screen_wait(PictureDialog(self.say)):
            self.look_like(Own(typed_path(path)))

    def look_like(self, own: Own, came_from: str = "") -> None:
        """Cases that look like this picture; Escape goes back to the room `came_from`."""
        self.patient.pixels = None
        heading = self.say("atlas.like", name=self._ask_about(own, came_from))

        async def draw(found: Sequence[Neighbour]) -> None:
            await self._draw_list(heading, found, self.say("atlas.none_like"))

        job = looking.looking_similar(own, self._seen_later)
        self._look(self.say("atlas.looking"), job, draw)

    def action_describe(self) -> None:
        if (own := self._own) is None:
            return
        heading = self.say("atlas.described", name=self._ask_about(own, self._came_from))

        async def draw(found: Description | None) -> None:
            if found is None:
                await self._draw_list(heading, (), self.say("atlas.none_like"))
            else:
                await self._draw_description(heading, found)

        job = looking.looking_to_describe(own, self._seen_later)
        self._look(self.say("atlas.looking"), job, draw)

    def _ask_about(self, own: Own, came_from: str) -> str:
        """Its name, as the screen says it."""
        self._own, self._came_from = own, came_from
        name = safe_line(PurePath(own.path).name)
        self.query_one("#whose", Static).update(f"{self.say('atlas.own')}\n{name}")
        self.query_one("#own").display = True
        return name

    def _seen_later(self, pixels: Pixels) -> None:
        """From the desk's thread."""
        self.post_message(self.Seen(pixels))

    def on_atlas_screen_seen(self, event: Seen) -> None:
        self.patient.pixels = event.pixels

    # Looking

    @work(exclusive=True, group="look")
    async def _look(
        self, busy: str, job: Job[Result], draw: Callable[[Result], Awaitable[None]]
    ) -> None:
        """Pictures are read at the model's desk, all else at the side desk."""
        self.notice.clear()
        self._job = job
        await self._fill(Static(Text(busy), classes="heading"))
        self.refresh_bindings()
        desk = self.clinic.desk if isinstance(job, Looking) else self.clinic.side_desk
        try:
            found = await desk.ask(job)
            self._card = found.card
            await draw(found.result)
        except ApplianceError as exc:
            if exc.code == CANCELLED:
                self.tell(self.say("atlas.stopped"))
            else:
                self.tell_error(exc)
                if isinstance(job, Looking):
                    self._forget_own()
            await self._draw_card()
        finally:
            if self._job is job:
                self._job = None
                self.refresh_bindings()

    @work(group="cancel")
    async def action_stop(self) -> None:
        if isinstance(job := self._job, Looking):
            await job.stop(self.clinic.desk, lambda: self._job is not job)
        else:
            self.workers.cancel_group(self, "look")
            await self._draw_card()
            self.tell(self.say("atlas.stopped"))

    @work(exclusive=True, group="back")
    async def action_back(self) -> None:
        self.notice.clear()
        self.asked.value = ""
        came_from = self._came_from
        self._forget_own()
        await self._draw_card()
        if came_from and self.is_current:  # it may have been locked meanwhile
            await self.clinic.switch_mode(came_from)

    @property
    def _is_closed(self) -> bool:
        """The look that opens it failed or was stopped, or is still to come."""
        return self._card is None and self._job is None

    @property
    def _can_ask(self) -> bool:
        return self._card is not None and self._job is None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_mounted:
            return False
        if action in ("search", "choose", "contrast"):
            return self._can_ask
        if action == "open":
            return self._is_closed
        if action == "describe":
            return self._can_ask and self._own is not None
        if action == "stop":
            return self._job is not None
        if action == "back":
            is_asking = self.focused is self.asked
            return self._job is None and bool(self._columns or self._own or is_asking)
        return True

    # Drawing

    def _forget_own(self) -> None:
        self._own, self._came_from = None, ""
        self.patient.pixels = None
        self.query_one("#own").display = False

    async def _draw_card(self) -> None:
        """What the atlas holds, nothing asked of it."""
        if (card := self._card) is None:
            await self._fill()
            return
        say = self.say
        labels = ", ".join(f"{label} {count}" for label, count in card.cases_by_label.items())
        sources = Text("\n").join(
            Text(safe_line(f"{each.title}; {each.attribution}; {each.licence}"))
            for each in card.sources
        )
        await self._fill(
            Static(self._of_atlas(card), classes="heading"),
            Static(Text(say("atlas.hint")), classes="block quiet"),
            *self._block(say("atlas.labels"), Text(safe_line(labels))),
            *self._block(say("atlas.sources"), sources),
        )

    def _block(self, heading: str, body: Text) -> tuple[Widget, Widget]:
        return Static(Text(heading), classes="quiet"), Static(body, classes="block")

    def _of_atlas(self, card: AtlasCard) -> Text:
        said = self.say("atlas.holds", name=card.name, count=card.cases, sha256=card.sha256[:12])
        return Text(safe_line(said))

    def _opening(self, heading: str, found: Sequence[Neighbour]) -> list[Widget]:
        assert self._card is not None, "something was found in it"
        lines = [Text(safe_line(heading), "bold")] if heading else []
        lines.append(self._of_atlas(self._card))
        if found and not _have_pictures(found):
            lines.append(Text(self.say("atlas.without_pictures")))
        return [Static(Text("\n").join(lines), classes="block")]

    async def _draw_list(self, heading: str, found: Sequence[Neighbour], none: str) -> None:
        rows = self._rows(found, found)
        told: Sequence[Widget] = rows or [Static(Text(none))]
        await self._fill(*self._opening(heading, found), *told, columns=[rows])
        self._draw_pictures(found)

    async def _draw_beside(self, *sides: tuple[str, Sequence[Neighbour]]) -> None:
        """Two results in two columns, rank beside rank."""
        found = [each for _, side in sides for each in side]
        columns = [self._rows(side, found, PairedRow) for _, side in sides]
        titles = (Static(Text(safe_line(title), "bold")) for title, _ in sides)
        pairs = (
            Horizontal(*(row or Static() for row in pair), classes="pair")
            for pair in zip_longest(*columns)
        )
        await self._fill(
            *self._opening("", found), Horizontal(*titles, classes="pair"), *pairs, columns=columns
        )
        self._draw_pictures(found)

    async def _draw_description(self, heading: str, found: Description) -> None:
        say, both = self.say, [*found.first, *found.second]
        ranks = {each.case.case_id: str(rank) for rank, each in enumerate(found.first, 1)}
        said = Text(
            say("atlas.agreeing", count=found.agreeing, all=len(found.first), label=found.label)
        )
        for statement in found.statements:
            cases = ", ".join(ranks[case_id] for case_id in statement.case_ids)
            said.append("\n" + safe_line(say("atlas.states", text=statement.text, cases=cases)))
        if not found.statements:
            said.append("\n" + say("atlas.states_nothing"))
        first, second = self._rows(found.first, both), self._rows(found.second, both)
        await self._fill(
            *self._opening(heading, both),
            Static(said, classes="block"),
            Static(Text(say("atlas.first")), classes="block quiet"),
            *first,
            Static(Text(say("atlas.second")), classes="block quiet"),
            *second,
            columns=[[*first, *second]],
        )
        self._draw_pictures(both)

    def _rows(
        self,
        found: Sequence[Neighbour],
        all_found: Sequence[Neighbour],
        kind: type[CaseRow] = CaseRow,
    ) -> list[CaseRow]:
        plain, with_pictures = self.clinic.config.plain, _have_pictures(all_found)
        return [
            kind(self.say, rank, neighbour_json(each), plain=plain, with_pictures=with_pictures)
            for rank, each in enumerate(found, 1)
        ]

    async def _fill(self, *widgets: Widget, columns: Sequence[list[CaseRow]] = ()) -> None:
        await self.found.remove_children()
        await self.found.mount(*widgets)
        self.found.scroll_home(animate=False)
        self._columns, self._pictures = [column for column in columns if column], {}
        self._are_drawn.clear()
        if self._columns:
            self._columns[0][0].focus(scroll_visible=False)
        elif self._job is None or self.focused is None:
            self.found.focus()
        self.refresh_bindings()

    @work(exclusive=True, group="pictures")
    async def _draw_pictures(self, found: Sequence[Neighbour]) -> None:
        if not self.clinic.config.plain and _have_pictures(found):
            job = looking.case_pictures([each.case for each in found])
            try:
                self._pictures = await self.clinic.side_desk.ask(job)
            except ApplianceError as exc:
                self.tell_error(exc)
        for row in (row for column in self._columns for row in column):
            if row.case["case_id"] in self._pictures:
                row.draw(self._pictures[row.case["case_id"]])
        self._are_drawn.set()

    # With cases

    def action_step(self, by: int) -> None:
        """In the same column."""
        for column in self._columns:
            if self.focused in column:
                place = column.index(self.focused) + by
                if 0 <= place < len(column):
                    column[place].focus()
                else:
                    self.found.scroll_relative(y=by, animate=False)

    def action_across(self, by: int) -> None:
        """To the same rank of the other column."""
        for number, column in enumerate(self._columns):
            if self.focused in column and 0 <= number + by < len(self._columns):
                other, place = self._columns[number + by], column.index(self.focused)
                other[min(place, len(other) - 1)].focus()
                return

    def on_case_row_opened(self, event: CaseRow.Opened) -> None:
        self._open_case(event.row)

    @work(exclusive=True, group="open")
    async def _open_case(self, opened: CaseRow) -> None:
        """As soon as its picture is there."""
        from appliance.tui.screens.atlas_case import AtlasCaseScreen

        await self._are_drawn.wait()
        column = next((column for column in self._columns if opened in column), None)
        if column is None or not self.is_current:  # other cases or another room came meanwhile
            return
        cases = [row.case for row in column]
        own = self.patient.pixels if self._own is not None else None
        self.app.push_screen(
            AtlasCaseScreen(self.say, cases, column.index(opened), self._pictures, own)
        )


def _have_pictures(found: Sequence[Neighbour]) -> bool:
    return any(each.case.picture is not None for each in found)
