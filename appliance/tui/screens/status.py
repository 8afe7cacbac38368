"""Status: release, index, log, disk, and what the doctor finds; each state in words."""

from typing import TYPE_CHECKING, ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from appliance.core.text import safe_line
from appliance.errors import ApplianceError
from appliance.tui.screens.room import Room

if TYPE_CHECKING:
    from appliance.tui.overview import Overview


class StatusScreen(Room):
    NAME = "status"
    CSS_PATH = "status.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "refresh", "status.refresh", id="status.refresh"),
        Binding("c", "checkpoint", "status.checkpoint", id="status.checkpoint"),
    ]

    def contents(self) -> ComposeResult:
        with VerticalScroll(id="facts"):
            yield Static(self.say("status.looking"), id="overview", markup=False)
            yield Static("", id="findings", markup=False)

    def on_mount(self) -> None:
        self.query_one("#facts").focus()

    def on_screen_resume(self) -> None:
        self._look()

    def action_refresh(self) -> None:
        self._look()

    @work(exclusive=True, group="look")
    async def _look(self) -> None:
        try:
            found = await self.clinic.side_desk.ask(lambda opened: opened.overview())
        except ApplianceError as exc:
            self.tell_error(exc)
            return
        self.query_one("#overview", Static).update(self._facts(found))
        self.query_one("#findings", Static).update(self._findings(found))

    def _facts(self, found: "Overview") -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column()
        for name, value in found.facts(self.say):
            table.add_row(Text(self.say(f"status.{name}"), "dim"), Text(safe_line(value)))
        return table

    def _findings(self, found: "Overview") -> Group:
        say = self.say
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column()
        for finding in found.findings:
            is_well = finding.state == "ok"
            text = Text(safe_line(finding.text))
            if finding.hint and not is_well:
                text.append(f"\n{safe_line(finding.hint)}", "dim")
            state = Text(say(f"finding.{finding.state}"), "" if is_well else "bold reverse")
            table.add_row(state, finding.name, text)
        return Group(Text(say("status.findings"), "bold"), table)

    @work(exclusive=True, group="checkpoint")
    async def action_checkpoint(self) -> None:
        """A signed checkpoint now, and its code for the register."""
        from appliance.tui.overview import checkpoint_code

        try:
            code = await self.clinic.side_desk.ask(checkpoint_code)
        except ApplianceError as exc:
            self.tell_error(exc)
            return
        self.tell(self.say("status.code", code=code))
        self._look()
