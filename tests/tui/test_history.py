"""What the history lists, and what a screen that stays open keeps."""

import sqlite3
from pathlib import Path

import pytest

from appliance.config import Config
from appliance.edges.case_store import CASES_FILE, CaseStore
from appliance.tui.app import ClinicScreen
from appliance.tui.screens import history
from appliance.tui.screens.consult import ConsultScreen
from appliance.tui.screens.history import HistoryScreen
from appliance.wiring import read_audit
from tests.tui.clinic import (
    PICTURE,
    First,
    Waiting,
    clinic,
    settled,
    steps,
    unforeseen,
    until,
    with_captioner,
)
from tests.tui.test_screen import offered, text_of

pytestmark = pytest.mark.anyio
ASK = (f"={PICTURE}", "enter")


async def test_a_list_that_is_not_whole_says_so_and_goes_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "AT_ONCE", 2)
    app = clinic(home)
    async with app.run_test() as pilot:
        for _ in range(2):
            await steps(*ASK, "o")(pilot)
        await steps("f4")(pilot)
        assert isinstance(app.screen, HistoryScreen) and app.screen.table.row_count == 2
        assert "older" not in offered(app) and "The newest" not in text_of(app)
        await steps("f2", *ASK, "f4")(pilot)
        assert app.screen.table.row_count == 2 and "older" in offered(app)
        assert "The newest 2 are listed" in text_of(app)
        await steps("o")(pilot)
        assert app.screen.table.row_count == 3 and "The newest" not in text_of(app)
        await steps("c", "c", "c", "c", "c")(pilot)
        assert app.screen.table.row_count == 2, "another choice begins with the newest"


async def test_a_screen_that_stays_open_forgets_old_cases(home: Path, drawings: Path) -> None:
    app = ClinicScreen(Config(home, passages=0), unforeseen)
    async with app.run_test() as pilot:
        await steps(f"={drawings / 'chest-0.png'}", "enter")(pilot)
        database = sqlite3.connect(home / "cases" / CASES_FILE)
        with database:
            database.execute("UPDATE kept SET at = '2020-01-01T00:00:00.000+00:00'")
            database.execute("UPDATE retention SET day = date('now', '-1 day')")
        database.close()
        app._do_what_is_due()
        await settled(pilot)
    with CaseStore(home / "cases") as store:
        assert store.count() == 0
    with read_audit(Config(home)) as log:
        [purge] = [entry.body for entry in log.entries() if entry.kind == "case.purge.done"]
        assert purge["count"] == 1 and log.verify().fault is None


async def test_the_first_of_two_is_beside_the_next_reading_and_no_later_one(home: Path) -> None:
    later = Waiting()
    app = clinic(home, with_captioner(First(later)))
    async with app.run_test() as pilot:
        await steps(*ASK, "b", f"={PICTURE}")(pilot)
        await pilot.press("enter")
        await until(pilot, later.is_reading.is_set)
        assert isinstance(app.screen, ConsultScreen)
        app.screen.action_stop()
        later.cancel()
        await settled(pilot)
        assert "Stopped" in text_of(app)
        later.read = First(later).read  # type: ignore[method-assign]
        await steps(*ASK)(pilot)
        assert isinstance(app.screen, ConsultScreen), "another patient's picture stands alone"
        assert app.screen.shown is not None
