"""Worklist: pictures read one after the other; order, progress and time left on this machine."""

from collections.abc import Awaitable
from pathlib import PurePath
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.getters import query_one
from textual.widgets import DataTable, Static

from appliance.core.answer import is_refusal
from appliance.core.text import safe_line
from appliance.core.worklist import Item, Outcome
from appliance.errors import ApplianceError
from appliance.tui.folders import pasted_paths
from appliance.tui.screens.room import Room
from appliance.tui.widgets.probabilities import FULL
from appliance.tui.widgets.rows import Rows
from appliance.tui.words import Words

LOOK_S = 5.0
"""Seconds between two looks into the watched folder."""
DRAW_S = 0.1
"""Seconds from a change to its being drawn."""
BAR = 20
"""Columns."""
COLUMNS = (("picture", (24, 1)), ("state", (38, 2)), ("record", (7, 0)))
"""Least width, and share of what is left over."""


class WorklistScreen(Room):
    NAME = "worklist"
    CSS_PATH = "worklist.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "start", "worklist.start", id="worklist.start"),
        Binding("p", "pause", "worklist.pause", id="worklist.pause"),
        Binding("o", "add", "worklist.add", id="worklist.add"),
        Binding("k", "skip", "worklist.skip", id="worklist.skip"),
        Binding("u", "urgent", "worklist.urgent", id="worklist.urgent"),
        Binding("r", "again", "worklist.again", id="worklist.again"),
        Binding("c", "forget", "worklist.forget", id="worklist.forget"),
    ]

    table = query_one(Rows)

    is_stale = False
    """Whether something changed since it was drawn."""

    def contents(self) -> ComposeResult:
        yield Static("", id="progress", markup=False)
        say = self.say
        yield Rows({n: (say(f"worklist.column.{n}"), *w) for n, w in COLUMNS}, id="items")
        yield Static(self.say("worklist.empty"), id="none", markup=False)

    def on_mount(self) -> None:
        self.table.focus()
        self.set_interval(LOOK_S, self._look_again)
        self.clinic.worklist_changed.subscribe(self, lambda _: self._draw_soon())
        self._open()

    @work(exclusive=True, group="open")
    async def _open(self) -> None:
        try:
            await self.clinic.worklist.open()
            await self.clinic.worklist.look_again()
        except ApplianceError as exc:
            self.tell_error(exc)
        self.draw()

    @work(exclusive=True, group="look")
    async def _look_again(self) -> None:
        try:
            await self.clinic.worklist.look_again()
        except ApplianceError as exc:
            self.tell_error(exc)

    def _draw_soon(self) -> None:
        """Many changes are drawn at once, and none while another screen is seen."""
        if not self.is_stale:
            self.is_stale = True
            if self.is_current:
                self.set_timer(DRAW_S, self.draw)

    def on_screen_resume(self) -> None:
        if self.is_stale:
            self.draw()

    def draw(self) -> None:
        """What there is now; the cursor stays at its picture."""
        self.is_stale = False
        table, items = self.table, self.clinic.worklist.worklist.in_order()
        table.show({item.item_id: self._row(item) for item in items})
        table.display = bool(items)
        if items and self.focused is None:
            table.focus()
        self.query_one("#none").display = not items
        self.query_one("#progress", Static).update(self._progress())
        self.refresh_bindings()

    def _progress(self) -> str:
        running, say = self.clinic.worklist, self.say
        total = sum(not item.is_skipped for item in running.worklist.items)
        if not total:
            return ""
        done = total - len(running.left)
        filled = BAR * done // total
        plain = self.clinic.config.plain
        bar = "" if plain else f"{FULL * filled}{'░' * (BAR - filled)}  "
        state = "running" if running.is_running else "done" if done == total else "standing"
        words = f"{bar}{say('worklist.of', done=done, total=total)}  {say(f'worklist.{state}')}"
        left_s = running.left_s
        if running.left and left_s is not None:
            words += f"  {say('worklist.left', time=time_words(left_s, say))}"
        return words

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw_anew)

    def _draw_anew(self) -> None:
        """With columns as wide as there is room for."""
        items = self.clinic.worklist.worklist.in_order()
        self.table.draw({item.item_id: self._row(item) for item in items})

    def _row(self, item: Item) -> tuple[str, str, str]:
        outcome = self.clinic.worklist.done.get(item.item_id)
        name = safe_line(PurePath(item.path).name)
        return name, safe_line(self._state(item)), str(outcome.seq) if outcome else ""

    def _state(self, item: Item) -> str:
        running, say = self.clinic.worklist, self.say
        outcome = running.done.get(item.item_id)
        if outcome is not None:
            words = self._answer(outcome)
        elif running.now is item:
            stage = running.stage
            words = say(f"stage.{stage.replace(' ', '_')}" if stage else "stage.now")
            words = say("worklist.now", stage=words)
        elif item.is_skipped:
            words = say("worklist.skipped")
        else:
            words = say("worklist.urgent" if item.is_urgent else "worklist.waiting")
        return words

    def _answer(self, outcome: Outcome) -> str:
        if outcome.decision == "refused":
            is_refused = outcome.error is not None and is_refusal(outcome.error)
            return self.say("decision.refused" if is_refused else "decision.failed")
        if self.clinic.config.second_reader:
            return self.say("impression.wanted")
        if outcome.decision == "abstain":
            return self.say("decision.abstain")
        labels = ", ".join(outcome.labels)
        is_set = outcome.decision == "set"
        return self.say("decision.set", labels=labels) if is_set else labels

    def _chosen(self) -> Item | None:
        """The item under the cursor."""
        items = {item.item_id: item for item in self.clinic.worklist.worklist.items}
        return items.get(self.table.chosen)

    @on(DataTable.RowSelected)
    def _row_selected(self, event: DataTable.RowSelected) -> None:
        outcome = self.clinic.worklist.done.get(str(event.row_key.value))
        if outcome is not None and outcome.case_id is not None:
            self.clinic.open_case(outcome.case_id)

    @on(DataTable.RowHighlighted)
    def _row_highlighted(self) -> None:
        self.refresh_bindings()

    def on_paste(self, event: events.Paste) -> None:
        self.clinic.add_to_worklist(pasted_paths(event.text))

    def action_start(self) -> None:
        self.notice.clear()
        self.clinic.run_worklist()

    @work(group="change")
    async def action_pause(self) -> None:
        await self._changed(self.clinic.worklist.pause())

    @work(group="change")
    async def action_skip(self) -> None:
        if (item := self._chosen()) is not None:
            running = self.clinic.worklist
            await self._changed(running.change(item, is_skipped=not item.is_skipped))

    @work(group="change")
    async def action_urgent(self) -> None:
        if (item := self._chosen()) is not None:
            running = self.clinic.worklist
            await self._changed(running.change(item, is_urgent=not item.is_urgent))

    @work(group="change")
    async def action_again(self) -> None:
        if (item := self._chosen()) is not None:
            await self._changed(self.clinic.worklist.ask_again(item))

    @work(group="change")
    async def action_forget(self) -> None:
        await self._changed(self.clinic.worklist.forget_done())

    @work(exclusive=True, group="add")
    async def action_add(self) -> None:
        from appliance.tui.screens.asking import Form

        say = self.say
        form = Form(
            say, say("worklist.add_heading"), {"worklist.path": ""}, say("worklist.add_hint")
        )
        given = await self.app.push_screen_wait(form)
        if given and given["worklist.path"]:
            self.clinic.add_to_worklist([given["worklist.path"]])

    async def _changed(self, change: Awaitable[None]) -> None:
        try:
            await change
        except ApplianceError as exc:
            self.tell_error(exc)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_mounted:
            return False
        running = self.clinic.worklist
        if action == "start":
            return not running.is_running and bool(running.left)
        if action == "pause":
            return running.is_running and not running.worklist.is_paused
        if action == "forget":
            return bool(running.done)
        if action in ("skip", "urgent"):
            item = self._chosen()
            return item is not None and item.item_id not in running.done and item != running.now
        if action == "again":
            item = self._chosen()
            outcome = running.done.get(item.item_id) if item else None
            return outcome is not None and outcome.decision == "refused"
        return True


def time_words(seconds: float, say: Words) -> str:
    """Minutes where it is more than one and a half."""
    if seconds > 90:
        return say("time.minutes", count=round(seconds / 60))
    return say("time.seconds", count=max(1, round(seconds)))
