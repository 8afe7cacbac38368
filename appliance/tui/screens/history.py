"""History: every consultation that is kept, filtered; one in full; read once more and compared."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.getters import query_one
from textual.widgets import ContentSwitcher, DataTable, Input, Static

from appliance.core.cases import Wanted
from appliance.core.labels import DOMAINS
from appliance.core.text import safe_line
from appliance.errors import ApplianceError
from appliance.tui import consulting
from appliance.tui.screens.answered import AnsweredRoom
from appliance.tui.shown import Shown, decision_words
from appliance.tui.widgets.answer import AnswerView
from appliance.tui.widgets.choice import Choice
from appliance.tui.widgets.rows import Rows
from appliance.tui.words import Words

DECISIONS = ("label", "set", "abstain", "refused")
DAYS = ("1", "7", "31")
COLUMNS = (("when", (16, 0)), ("picture", (15, 1)), ("decision", (28, 2)), ("verdict", (10, 0)))
"""Least width, and share of what is left over."""
AT_ONCE = 200
"""Cases that are listed, until older ones are asked for."""


class HistoryScreen(AnsweredRoom):
    NAME = "history"
    CSS_PATH = "history.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "history.filter", id="history.filter", key_display="/"),
        Binding("t", "turn('days')", "history.days", id="history.days"),
        Binding("d", "turn('domain')", "history.domain", id="history.domain"),
        Binding("c", "turn('decision')", "history.decision", id="history.decision"),
        Binding("u", "turn('user')", "history.user", id="history.user"),
        Binding("o", "older", "history.older", id="history.older"),
        Binding("r", "again", "history.again", id="history.again"),
        Binding("escape", "back", "history.back", id="history.back"),
    ]

    switcher = query_one(ContentSwitcher)
    table = query_one("#cases", Rows)
    answer = query_one("#case", AnswerView)
    text = query_one("#text", Input)

    def __init__(self, say: Words) -> None:
        super().__init__(say)
        self._found: Sequence[Shown] = ()
        self._most = AT_ONCE
        self._are_more = False
        """Whether older ones fit, too."""

    @property
    def shown(self) -> Shown | None:
        return self.answer.shown if self.switcher.current == "case" else None

    def contents(self) -> ComposeResult:
        say = self.say
        domains = {"": say("filter.any_domain")} | {d: say(f"domain.{d}") for d in DOMAINS}
        decisions = {"": say("filter.any_decision")}
        decisions |= {kind: say(f"filter.decision.{kind}") for kind in DECISIONS}
        days = {"": say("filter.any_day")} | {n: say(f"filter.days.{n}") for n in DAYS}
        with ContentSwitcher(initial="list"):
            with Vertical(id="list"):
                with Horizontal(id="filters"):
                    yield Choice("days", days)
                    yield Choice("domain", domains)
                    yield Choice("decision", decisions)
                    yield Choice("user", {"": say("filter.any_user")})
                    yield Input(id="text", classes="field", compact=True)
                yield Static("", id="told", markup=False)
                yield Rows({name: (say(f"history.{name}"), *w) for name, w in COLUMNS}, id="cases")
            yield AnswerView(say, plain=self.clinic.config.plain, id="case")

    def on_mount(self) -> None:
        self.text.placeholder = self.say("filter.text")
        self.table.focus()

    def on_screen_resume(self) -> None:
        if self.switcher.current == "list":
            self._find()

    @work(exclusive=True, group="find")
    async def _find(self) -> None:
        try:
            job = consulting.cases_found(self._wanted(), self._most)
            found = await self.clinic.side_desk.ask(job)
        except ApplianceError as exc:
            self.tell_error(exc)
            return
        self._are_more = len(found) > self._most
        self._found = found = found[: self._most]
        users = {shown.user: shown.user for shown in found if shown.user}
        self.query_one("#user", Choice).offer({"": self.say("filter.any_user"), **users})
        self._draw()
        self.table.display = bool(found)
        if found and self.focused is None:
            self.table.focus()
        told = self.query_one("#told", Static)
        told.display = self._are_more or not found
        told.update(self._told())
        self.refresh_bindings()

    def _told(self) -> str:
        """What the list is not."""
        if self._found:
            return self.say("history.more", count=self._most)
        is_kept = self.clinic.config.keep_cases_days > 0
        return self.say("history.none" if is_kept else "history.not_kept")

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        self.table.draw({str(shown.case_id): self._row(shown) for shown in self._found})

    def _row(self, shown: Shown) -> list[str]:
        verdict = self.say(f"history.{shown.verdict}") if shown.verdict else ""
        decision = decision_words(shown.answer, self.say)
        if self.needs_impression(shown):
            decision = self.say("impression.wanted")
        cells = (shown.at[:16].replace("T", " "), shown.name, decision, verdict)
        return [safe_line(cell) for cell in cells]

    def _wanted(self) -> Wanted:
        days = self.query_one("#days", Choice).value
        since = datetime.now(UTC) - timedelta(days=int(days)) if days else None
        return Wanted(
            since=since.isoformat(timespec="milliseconds") if since else None,
            user=self.query_one("#user", Choice).value or None,
            domain=self.query_one("#domain", Choice).value or None,
            decision=self.query_one("#decision", Choice).value or None,
            text=self.text.value.strip(),
        )

    def action_filter(self) -> None:
        self.text.focus()

    def action_turn(self, name: str) -> None:
        self.query_one(f"#{name}", Choice).turn()

    @on(Choice.Changed)
    def _filter_changed(self) -> None:
        self._most = AT_ONCE
        self._find()

    @on(Input.Submitted, "#text")
    def _text_given(self) -> None:
        self.table.focus()
        self._filter_changed()

    def action_older(self) -> None:
        self._most += AT_ONCE
        self._find()

    @on(DataTable.RowSelected)
    def _row_selected(self, event: DataTable.RowSelected) -> None:
        self.open_case(str(event.row_key.value))

    @work(exclusive=True, group="case")
    async def open_case(self, case_id: str) -> None:
        try:
            shown = await self.clinic.side_desk.ask(consulting.case_opened(case_id))
            if self.needs_impression(shown):
                given = await self.clinic.ask_impression(shown)
                if given is None:
                    self.tell(self.say("impression.hidden"))
                    return
                shown = given
        except ApplianceError as exc:
            self.tell_error(exc)
            return
        self.notice.clear()
        self.show(shown)

    def needs_impression(self, shown: Shown) -> bool:
        """A second reader sees no answer of their own before they gave their impression."""
        config = self.clinic.config
        is_own = shown.user == config.user
        has_answer = shown.answer["error"] is None
        return config.second_reader and is_own and has_answer and not shown.impression

    def show(self, shown: Shown) -> None:
        self.switcher.current = "case"
        self.draw_answer(self.answer, shown)

    def action_back(self) -> None:
        self.notice.clear()
        if self.shown is not None:
            self.answer.shown = None
            self.switcher.current = "list"
            self._find()
        self.table.focus()

    @work(exclusive=True, group="again")
    async def action_again(self) -> None:
        if (shown := self.shown) is None:
            return
        self.tell(self.say("again.reading"))
        try:
            again = await self.clinic.desk.ask(consulting.read_again(shown))
        except ApplianceError as exc:
            self.tell_error(exc)
            return
        key = "same" if again.is_same else "other" if again.is_same_text else "other_text"
        self.tell(self.say(f"again.{key}", difference=f"{again.largest_difference:.2g}"))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_mounted:
            return False
        if action in ("filter", "turn"):
            return self.shown is None
        if action == "older":
            return self.shown is None and self._are_more
        if action == "back":
            return self.shown is not None or self.focused is self.text
        if action == "again":
            return self.shown is not None and self.shown.has_caption
        return super().check_action(action, parameters)
