"""Signing in, and what hides everything else: on a machine of one person any key uncovers it."""

from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Center, Middle, Vertical
from textual.getters import query_one
from textual.widgets import Input, Static

from appliance.core.access import Account
from appliance.core.text import safe_line
from appliance.errors import ApplianceError
from appliance.tui.desk import Opened
from appliance.tui.screens.room import View
from appliance.tui.widgets.key_bar import KeyBar
from appliance.tui.words import Words


class SignInScreen(View[None]):
    CSS_PATH = "sign_in.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", "key.next", show=False, id="sign_in.next"),
        Binding("up", "app.focus_previous", "key.previous", show=False, id="sign_in.previous"),
    ]

    message = query_one("#message", Static)

    def __init__(self, say: Words) -> None:
        super().__init__()
        self.say = say
        self._must_change: Account | None = None
        self._secret = ""

    def compose(self) -> ComposeResult:
        with Middle(), Center(), Vertical(id="box"):
            yield Static(self.say("app.title"), classes="heading", markup=False)
            if self.clinic.is_shared:
                yield Static(self.say("sign_in.name"), classes="label", markup=False)
                yield Input(id="name", classes="field", compact=True)
                yield Static(self.say("sign_in.secret"), classes="label old", markup=False)
                yield Input(id="secret", classes="field old", compact=True, password=True)
                yield Static(self.say("sign_in.new"), classes="label new", markup=False)
                yield Input(id="new", classes="field new", compact=True, password=True)
                yield Static(self.say("sign_in.again"), classes="label new", markup=False)
                yield Input(id="again", classes="field new", compact=True, password=True)
                yield Static(self.say("sign_in.hint"), id="message", markup=False)
            else:
                yield Static(self.say("sign_in.hidden"), id="message", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        if self.clinic.is_shared:
            self.query_one("#name").focus()
            self._look_for_accounts()

    def on_screen_resume(self) -> None:
        told = self.say("sign_in.hint" if self.clinic.is_shared else "sign_in.hidden")
        running = self.clinic.worklist_words()
        self.message.update(f"{told}\n{running}".strip())

    def on_key(self, event: events.Key) -> None:
        if not self.clinic.is_shared:
            event.stop()
            self.clinic.switch_mode("consult")

    @work(exclusive=True, group="look")
    async def _look_for_accounts(self) -> None:
        try:
            if await self.clinic.side_desk.ask(lambda opened: opened.users.is_empty()):
                self.message.update(self.say("sign_in.nobody"))
        except ApplianceError as exc:
            self._tell_error(exc)

    @on(Input.Submitted)
    def _go_on(self, event: Input.Submitted) -> None:
        """Enter goes on to the next empty field, and signs in when there is none."""
        shown = [field for field in self.query(Input) if field.display]
        empty = next((field for field in shown if not field.value), None)
        if empty is not None:
            empty.focus()
        elif self._must_change is None:
            self._sign_in(self.query_one("#name", Input).value.strip())
        else:
            self._change(self._must_change)

    @work(exclusive=True, group="sign-in")
    async def _sign_in(self, name: str) -> None:
        secret_field = self.query_one("#secret", Input)
        secret, secret_field.value = secret_field.value, ""
        self.message.update(self.say("sign_in.trying"))

        def job(opened: Opened) -> Account:
            from appliance.core.admission import sign_in

            return sign_in(opened.users, opened.audit, name, secret)

        try:
            account = await self.clinic.side_desk.ask(job)
        except ApplianceError as exc:
            self._tell_error(exc)
            secret_field.focus()
            return
        if account.must_change:
            self._must_change, self._secret = account, secret
            self.add_class("-changing")
            self.message.update(self.say("sign_in.given"))
            self.call_after_refresh(self.query_one("#new").focus)
        else:
            await self._enter(account)

    @work(exclusive=True, group="sign-in")
    async def _change(self, account: Account) -> None:
        new, again = (self.query_one(name, Input).value for name in ("#new", "#again"))
        if new != again:
            self.message.update(self.say("sign_in.not_the_same"))
            return
        old = self._secret

        def job(opened: Opened) -> None:
            from appliance.core.record import recorded

            with recorded(opened.audit, "user.secret", {"account": account.name}):
                opened.users.change_secret(account.name, old, new)

        try:
            await self.clinic.side_desk.ask(job)
        except ApplianceError as exc:
            self._tell_error(exc)
            return
        await self._enter(account)

    async def _enter(self, account: Account) -> None:
        """Nothing that was typed stays, and nothing is typed until both desks are theirs."""
        self._must_change, self._secret = None, ""
        self.remove_class("-changing")
        for field in self.query(Input):
            field.value, field.disabled = "", True
        self.message.update(self.say("sign_in.waiting"))
        told = self.say("sign_in.hint")
        try:
            await self.clinic.sign_in(account)
        except ApplianceError as exc:
            told = _error_words(exc)
        for field in self.query(Input):
            field.disabled = False
        self.message.update(told)
        self.query_one("#name").focus()

    def _tell_error(self, error: ApplianceError) -> None:
        self.message.update(_error_words(error))


def _error_words(error: ApplianceError) -> str:
    return f"{safe_line(error.message)}\n{safe_line(error.hint)}"
