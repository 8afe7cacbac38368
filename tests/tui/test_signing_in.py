"""A screen that several people share: in whose name each act is recorded."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from appliance.config import Config
from appliance.core.consult import Ports
from appliance.edges.audit_db import AuditDatabase
from appliance.tui.app import ClinicScreen
from appliance.wiring import open_audit, open_users, read_audit
from tests.tui.clinic import (
    SECRET,
    Behind,
    Log,
    Waiting,
    settled,
    steps,
    unforeseen,
    until,
    users_home,
    with_captioner,
)
from tests.tui.test_screen import text_of

pytestmark = pytest.mark.anyio
ALI = ("=ali", "enter", f"={SECRET}", "enter")
MEI = ("=mei", "enter", f"={SECRET}", "enter")


class Recorded(Behind):
    """With the real log, which knows who is signed in."""

    @cached_property
    def audit(self) -> AuditDatabase:  # type: ignore[override]
        return self._stack.enter_context(open_audit(self.config))

    @cached_property
    def ports(self) -> Ports:
        return replace(self._consulting, audit=self.audit, cases=self.cases)


def shared(home: Path, captioner: Waiting) -> ClinicScreen:
    users_home(home)
    with open_users(Config(home)) as users:
        users.add("mei", "clinician", SECRET, is_own=True)
    return ClinicScreen(
        Config(home, access="users"),
        unforeseen,
        opened=lambda config: Recorded(config, with_captioner(captioner), Log()),
        clock_s=lambda: 0.0,
    )


async def type_in(pilot: Pilot[None], keys: tuple[str, ...]) -> None:
    """As `steps`, while a picture is read."""
    for key in keys:
        if key.startswith("="):
            await pilot.app.on_event(events.Paste(key[1:]))
        else:
            await pilot.press(key)
        await pilot.pause()


async def locked_at_work(pilot: Pilot[None], captioner: Waiting, picture: Path) -> None:
    """As left by ali, whose picture is being read."""
    assert isinstance(pilot.app, ClinicScreen)
    await steps(*ALI)(pilot)
    pilot.app.add_to_worklist([str(picture)])
    await settled(pilot)
    await pilot.press("g")
    await until(pilot, captioner.is_reading.is_set)
    await pilot.press("ctrl+l")
    await until(pilot, lambda: pilot.app.current_mode == "sign_in")


def recorded(home: Path) -> list[tuple[str, str]]:
    with read_audit(Config(home)) as log:
        return [(entry.kind, entry.user) for entry in log.entries()]


async def test_behind_the_lock_nothing_is_recorded_as_of_who_was_there_before(home: Path) -> None:
    app = shared(home, Waiting())
    async with app.run_test() as pilot:
        await steps(*ALI, "ctrl+l", "=mei", "enter", "=not hers at all", "enter")(pilot)
        assert app.account is None
        await steps(f"={SECRET}", "enter", "f4")(pilot)
        assert app.account is not None and app.account.name == "mei"
    by = dict(recorded(home))
    assert by["user.signout.done"] == "ali"
    assert by["user.signin.failed"] == "" and by["case.list.done"] == "mei"


async def test_nobody_is_in_before_the_picture_at_work_is_read_to_its_end(
    home: Path, drawings: Path
) -> None:
    captioner = Waiting()
    app = shared(home, captioner)
    async with app.run_test() as pilot:
        await locked_at_work(pilot, captioner, drawings / "chest-0.png")
        await type_in(pilot, MEI)
        await until(pilot, lambda: "Waiting for the picture" in text_of(app))
        await pilot.press("f4")
        assert app.account is None and app.current_mode == "sign_in"
        assert all(field.disabled for field in app.screen.query(Input))
        captioner.cancel()
        await settled(pilot)
        assert app.account is not None and app.account.name == "mei"
        await steps("f4", "ctrl+l")(pilot)
        assert not any(field.disabled for field in app.screen.query(Input))
    by = recorded(home)
    assert ("caption.answered", "ali") in by and ("case.list.done", "mei") in by
    assert ("case.list.done", "ali") not in by


async def test_a_list_goes_on_behind_the_lock_for_who_comes_back(
    home: Path, drawings: Path
) -> None:
    captioner = Waiting()
    app = shared(home, captioner)
    async with app.run_test() as pilot:
        await locked_at_work(pilot, captioner, drawings / "chest-0.png")
        await type_in(pilot, ALI)
        await until(pilot, lambda: app.account is not None)
        assert app.worklist.is_running
        captioner.cancel()
        await settled(pilot)
