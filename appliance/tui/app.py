"""The screen as a whole: who is signed in, which screens they may see, the desks, lock and keys."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import ClassVar

from rich.text import Text
from textual import events, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.signal import Signal

from appliance.config import Config
from appliance.core.access import Account, Act, may
from appliance.core.text import safe_line, safe_text
from appliance.errors import ApplianceError
from appliance.tui.desk import Desk, Opened
from appliance.tui.keys import read_keys
from appliance.tui.looking import Own
from appliance.tui.running import Running
from appliance.tui.screens.room import Room
from appliance.tui.shown import Shown
from appliance.tui.themes import THEMES
from appliance.tui.words import Words

ROOMS: dict[str, Act] = {
    "consult": "consult",
    "worklist": "consult",
    "history": "case.read",
    "guidelines": "guideline.read",
    "status": "release.read",
    "atlas": "atlas",
}
"""The screens, and what one must be allowed to do to see each."""
LOOK_S = 1.0
"""Seconds between two looks at how long nobody pressed a key."""
DUE_S = 3600.0
"""Seconds between two looks whether the log's newest entries need a checkpoint, and whether kept
cases are too old."""


def up_s() -> float:
    """Seconds since the machine started; on Linux those that it slept, too."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class ClinicScreen(App[None]):
    """`appliance tui`."""

    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (108, "-wide")]  # noqa: RUF012 - as the App's
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(f"f{number}", f"go('{room}')", f"go.{room}", show=False, id=f"go.{room}")
            for number, room in enumerate(ROOMS, 2)
        ),
        Binding("f1,question_mark", "help", "help", id="help"),
        Binding("ctrl+l", "lock", "lock", id="lock", show=False),
        Binding("ctrl+q", "quit", "quit", id="quit", show=False, priority=True),
    ]

    def __init__(
        self,
        config: Config,
        keep_fault: Callable[[], ApplianceError],
        *,
        opened: Callable[[Config], Opened] = Opened,
        clock_s: Callable[[], float] = up_s,
    ) -> None:
        """`keep_fault` writes the exception being handled to a file and gives what to show;
        `opened` is what a desk has open.

        Raises: ConfigError when the site's own keys cannot be used.
        """
        super().__init__()
        self.config = config
        self.say = Words(config.language)
        self.title = self.say("app.title")
        self.account: Account | None = None
        """Who is signed in; None on a machine of one person, and before signing in."""
        self._reads_for = config.user
        """Whose the model's desk is: behind the lock a worklist goes on for them."""
        self.desk = Desk("model", opened(config), keep_fault)
        """For the model."""
        self.side_desk = Desk("lookups", opened(config), keep_fault)
        """For all that must not wait for the model."""
        self.worklist = Running(
            self.desk,
            self.side_desk,
            config.watch_folder,
            on_change=lambda: self.worklist_changed.publish(None),
            on_stage=lambda: self.call_later(self.worklist_changed.publish, None),
        )
        self.worklist_changed: Signal[None] = Signal(self, "worklist-changed")
        self._keep_fault = keep_fault
        self.clock_s = clock_s
        self._touched_s = clock_s()
        self.animation_level = "none"
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = config.theme
        self.set_keymap(read_keys(config.home, self.binding_ids))
        for room in ROOMS:
            self.add_mode(room, self._opener(room))
        self.add_mode("sign_in", self._opener("sign_in"))
        self.set_class(config.plain, "-plain")

    @property
    def is_shared(self) -> bool:
        """Whether everybody signs in."""
        return self.config.access == "users"

    def on_mount(self) -> None:
        self.switch_mode("sign_in" if self.is_shared else "consult")
        self.set_interval(LOOK_S, self._lock_when_idle)
        self.set_interval(DUE_S, self._do_what_is_due)

    def rooms(self) -> dict[str, str]:
        """The screens that this person may see, and the key of each."""
        return {room: self.key_of(f"go.{room}") for room, act in ROOMS.items() if self.may(act)}

    def key_of(self, binding_id: str) -> str:
        """As shown: the first of its keys."""
        default = {str(b.id): b for b in self.BINDINGS if isinstance(b, Binding)}[binding_id]
        keys = self._keymap.get(binding_id, default.key)
        return keys.partition(",")[0].upper()

    def may(self, act: Act) -> bool:
        if not self.is_shared:
            return True
        return self.account is not None and may(self.account.role, act)

    def who(self) -> str:
        if self.account is None:
            return ""
        return f"{self.account.name} ({self.say(f'role.{self.account.role}')})"

    def binding_ids(self) -> list[str]:
        """Of every key that a site may set otherwise."""
        from appliance.tui.bindings import all_bindings

        return [str(binding.id) for binding in all_bindings()]

    async def sign_in(self, account: Account) -> None:
        """Go on as this person, once both desks are theirs: nobody else's list goes on, and the
        picture at work is read to its end first. Raises: ApplianceError."""
        config = replace(self.config, user=account.name)
        await self.side_desk.reopen(config)
        if account.name != self._reads_for:
            self.worklist.stop()
            await self.desk.reopen(config)
            self._reads_for = account.name
        self.config, self.account = config, account
        self._touched_s = self.clock_s()
        first = next(iter(self.rooms()))
        await self.switch_mode(first)

    async def ask_impression(self, shown: Shown) -> Shown | None:
        """A second reader's own label, recorded before the answer is shown; None when none was
        given. Raises: CaseError, AuditError."""
        from appliance.tui import consulting
        from appliance.tui.screens.asking import ImpressionDialog

        labels = tuple(shown.answer["label_probabilities"])
        label = await self.push_screen_wait(ImpressionDialog(self.say, labels, shown.pixels))
        if label is None:
            return None
        return await self.side_desk.ask(consulting.impressed(shown, label))

    @work(group="worklist-add")
    async def add_to_worklist(self, paths: list[str]) -> None:
        """Pictures, folders or lists; shown there."""
        await self.switch_mode("worklist")
        try:
            count = await self.worklist.add(paths)
            self._tell(self.say("worklist.added", count=count))
        except ApplianceError as exc:
            self._tell_error(exc)

    @work(group="worklist")
    async def run_worklist(self) -> None:
        try:
            await self.worklist.run()
        except ApplianceError as exc:
            self._tell_error(exc)

    @work(exclusive=True, group="open-case")
    async def open_case(self, case_id: str) -> None:
        """In the history."""
        from appliance.tui.screens.history import HistoryScreen

        await self.switch_mode("history")
        if isinstance(self.screen, HistoryScreen):
            self.screen.open_case(case_id)

    @work(exclusive=True, group="similar")
    async def show_similar(self, shown: Shown) -> None:
        """Reference cases that look like its picture; in the atlas."""
        from appliance.tui.screens.atlas import AtlasScreen

        came_from = self.current_mode
        await self.switch_mode("atlas")
        if isinstance(self.screen, AtlasScreen):
            self.screen.look_like(Own(shown.answer["image"]["path"], shown), came_from)

    def worklist_words(self) -> str:
        """How far it is, without a word of what is in it; empty while none runs."""
        if not self.worklist.is_running:
            return ""
        total = sum(not item.is_skipped for item in self.worklist.worklist.items)
        done = total - len(self.worklist.left)
        return self.say("sign_in.worklist", done=done, total=total)

    def _tell(self, text: str) -> None:
        if isinstance(self.screen, Room):
            self.screen.tell(text)

    def _tell_error(self, error: ApplianceError) -> None:
        if isinstance(self.screen, Room):
            self.screen.tell_error(error)

    def keymap_of(self, binding: Binding) -> str:
        """Its keys, the site's own where it has set some."""
        return self._keymap.get(str(binding.id), binding.key)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "go":
            return str(parameters[0]) in self.rooms()
        if action == "lock":
            return self.current_mode != "sign_in"
        return True

    def action_go(self, room: str) -> None:
        if len(self.screen_stack) == 1:  # a dialog is closed first
            self.switch_mode(room)

    def action_help(self) -> None:
        from appliance.tui.screens.help import Help

        if not isinstance(self.screen, Help):
            self.push_screen(Help(self.say))

    def action_lock(self) -> None:
        self.lock("asked")

    @work(exclusive=True, group="lock")
    async def lock(self, why: str) -> None:
        """Take everything off the screen, and out of memory what the screens hold.

        `why`: asked or idle.
        """
        was, self.account = self.account, None
        await self.switch_mode("sign_in")
        for room in ROOMS:
            self.remove_mode(room)
            self.add_mode(room, self._opener(room))
        if was is not None:
            nobody = self.config = replace(self.config, user="")

            def signed_out(opened: Opened) -> None:
                """What is recorded from here is nobody's."""
                from appliance.core.admission import sign_out

                try:
                    sign_out(opened.audit, was.name, why)
                finally:
                    opened.reopen(nobody)

            try:
                await self.side_desk.ask(signed_out)
            except ApplianceError as exc:
                self.notify(safe_line(exc.message), severity="error")

    def action_command_palette(self) -> None:
        from textual.command import CommandPalette  # not before it is opened

        if not isinstance(self.screen, CommandPalette):
            self.push_screen(CommandPalette(placeholder=self.say("palette.search")))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the palette lists: every act that a key does here, from the same declaration."""
        from appliance.tui.bindings import is_ours

        seen = set()
        for active in screen.active_bindings.values():
            binding = active.binding
            is_new = binding.action not in seen and not binding.action.startswith("app.focus")
            if active.enabled and is_ours(binding) and is_new:
                seen.add(binding.action)
                node, action = active.node, binding.action
                key = self.get_key_display(binding)
                yield SystemCommand(
                    binding.tooltip,
                    self.say("palette.key", key=key),
                    lambda node=node, action=action: self.run_later(node, action),
                )

    def run_later(self, node: object, action: str) -> None:
        self.call_later(self.run_action, action, node)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key | events.MouseDown | events.Paste):
            self._touched_s = self.clock_s()
        await super().on_event(event)

    def _lock_when_idle(self) -> None:
        is_idle = self.clock_s() - self._touched_s >= self.config.idle_lock_s
        if is_idle and self.current_mode != "sign_in":
            self.lock("idle")

    @work(group="due")
    async def _do_what_is_due(self) -> None:
        """A screen may stay open for months."""

        def do(opened: Opened) -> None:
            opened.audit.sign_if_due()
            opened.forget_old_cases()

        try:
            await self.side_desk.ask(do)
        except ApplianceError as exc:
            self._tell_error(exc)

    def _fatal_error(self) -> None:
        """Of what nobody foresaw the whole trace goes to a file and one line to the terminal; the
        library would print every variable, and so a patient's words."""
        fault = self._keep_fault()
        told = f"{self.say('notice.error')} {fault.message}\n{self.say('notice.hint')} {fault.hint}"
        self._exit_renderables.append(Text(safe_text(told)))
        self._close_messages_no_wait()

    def on_unmount(self) -> None:
        for desk in (self.desk, self.side_desk):
            desk.close()
        self.worklist.close()

    def _opener(self, room: str) -> Callable[[], Screen[None]]:
        return lambda: self._open(room)

    def _open(self, room: str) -> Screen[None]:
        """Each with its imports when it is first gone to."""
        if room == "consult":
            from appliance.tui.screens.consult import ConsultScreen

            return ConsultScreen(self.say)
        if room == "worklist":
            from appliance.tui.screens.worklist import WorklistScreen

            return WorklistScreen(self.say)
        if room == "history":
            from appliance.tui.screens.history import HistoryScreen

            return HistoryScreen(self.say)
        if room == "guidelines":
            from appliance.tui.screens.guidelines import GuidelinesScreen

            return GuidelinesScreen(self.say)
        if room == "status":
            from appliance.tui.screens.status import StatusScreen

            return StatusScreen(self.say)
        if room == "atlas":
            from appliance.tui.screens.atlas import AtlasScreen

            return AtlasScreen(self.say)
        from appliance.tui.screens.sign_in import SignInScreen

        return SignInScreen(self.say)
