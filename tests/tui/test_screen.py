"""What the screen does, over stand-ins: what is recorded, hidden, offered and kept."""

import json
import os
from pathlib import Path

import pytest
from textual.pilot import Pilot

from appliance.config import Config
from appliance.core.cases import Wanted
from appliance.edges.case_store import CaseStore
from appliance.tui.app import ClinicScreen
from appliance.tui.keys import KEYS_FILE
from appliance.tui.screens.consult import ConsultScreen
from appliance.tui.screens.room import Dialog
from appliance.tui.widgets.key_bar import KeyBar
from tests.tui.clinic import (
    PICTURE,
    SECRET,
    TWO,
    UNSURE,
    Crashing,
    Log,
    Waiting,
    answering,
    clinic,
    settled,
    steps,
    until,
    users_home,
    with_captioner,
)

pytestmark = pytest.mark.anyio
ASK = (f"={PICTURE}", "enter")
DRAWN = set(map(chr, range(0x2500, 0x2600)))
"""Box drawing, blocks and geometric shapes (Unicode charts U+2500 to U+25FF)."""


def text_of(app: ClinicScreen) -> str:
    """What stands on the screen."""
    lines = app.screen._compositor.render_strips(app.size)
    return "\n".join("".join(segment.text for segment in strip) for strip in lines)


def kinds(log: Log) -> list[str]:
    return [entry.kind for entry in log.entries]


def offered(app: ClinicScreen) -> set[str]:
    """What the last line offers."""
    return {binding.action for binding in app.screen.query_one(KeyBar).told()}


async def test_an_answer_is_recorded_when_it_is_shown_and_judged(home: Path) -> None:
    log = Log()
    app = clinic(home, log=log)
    async with app.run_test() as pilot:
        await steps(*ASK)(pilot)
        assert kinds(log) == ["caption.asked", "image.opened", "caption.answered"]
        assert "melanoma" in text_of(app) and "not for clinical use" in text_of(app)
        await steps("a", "n", "=K-117", "enter", "=seen again", "enter")(pilot)
    assert kinds(log)[3:] == [
        *("case.judge.asked", "case.judge.done", "case.annotate.asked", "case.annotate.done")
    ]
    with CaseStore(Config(home).cases_folder) as cases:
        [case] = cases.find(Wanted())
    assert (case.verdict, case.reference, case.note) == ("accepted", "K-117", "seen again")
    written = json.dumps([entry.body for entry in log.entries], default=str)
    assert "K-117" not in written and "seen again" not in written and "eye left" not in written


async def test_nothing_is_shown_that_could_not_be_recorded(home: Path) -> None:
    app = clinic(home, log=Log(full_at=3))
    async with app.run_test() as pilot:
        await steps(*ASK)(pilot)
        assert "melanoma" not in text_of(app)
        assert "the audit log cannot be written" in text_of(app)


async def test_a_reading_is_stopped_by_escape_and_recorded_as_such(home: Path) -> None:
    captioner, log = Waiting(), Log()
    app = clinic(home, with_captioner(captioner), log)
    async with app.run_test() as pilot:
        await steps(f"={PICTURE}")(pilot)
        await pilot.press("enter")
        await until(pilot, captioner.is_reading.is_set)
        await pilot.pause()
        assert offered(app) == {"stop", "help"}
        await pilot.press("escape")
        await settled(pilot)
        assert "Stopped: eye left.png" in text_of(app)
    assert log.entries[-1].body["error"] == "model-cancelled"


async def test_a_crash_of_the_model_is_told_and_tried_again_by_one_key(home: Path) -> None:
    log = Log()
    app = clinic(home, with_captioner(Crashing()), log)
    async with app.run_test() as pilot:
        await steps(*ASK)(pilot)
        assert "stopped twice" in text_of(app) and "retry" in offered(app)
        await steps("r")(pilot)
        assert "melanoma" in text_of(app) and "retry" not in offered(app)
    errors = [entry.body["error"] for entry in log.entries if entry.kind == "caption.answered"]
    assert errors == ["model-crash", None]


async def test_an_abstention_shows_no_caption_and_nothing_to_judge(home: Path) -> None:
    app = clinic(home, answering(UNSURE))
    async with app.run_test() as pilot:
        await steps(*ASK)(pilot)
        shown = text_of(app)
        assert "No answer: refer" in shown and "irregular border" not in shown
        assert not offered(app) & {"judge('accepted')", "correct", "judge('rejected')"}


async def test_a_correction_is_kept_beside_what_was_said(home: Path) -> None:
    app = clinic(home)
    async with app.run_test() as pilot:
        await steps(*ASK, "e", "down", "down", "down", "end", "=, notched", "ctrl+s")(pilot)
        assert isinstance(app.screen, ConsultScreen)
        shown = app.screen.shown
        assert shown is not None and shown.verdict == "corrected"
    with CaseStore(Config(home).cases_folder) as cases:
        [case] = cases.find(Wanted())
    assert case.answer["caption"]["key_findings"] == "irregular border"
    assert case.corrected is not None
    assert case.corrected["key_findings"] == "irregular border, notched"


async def test_a_second_readers_impression_is_recorded_before_the_answer_is_shown(
    home: Path,
) -> None:
    log = Log()
    app = clinic(home, log=log, second_reader=True)
    async with app.run_test() as pilot:
        await steps(*ASK)(pilot)
        assert isinstance(app.screen, Dialog) and "irregular border" not in text_of(app)
        assert kinds(log)[-1] == "caption.answered"
        await steps("down", "enter")(pilot)
        assert log.entries[-1].kind == "case.impression.done"
        assert log.entries[-1].body["label"] == "melanocytic nevus"
        assert log.entries[-1].body["agrees"] is False
        assert "irregular border" in text_of(app)


async def test_without_an_impression_the_answer_stays_hidden_everywhere(home: Path) -> None:
    app = clinic(home, second_reader=True)
    async with app.run_test() as pilot:
        await steps(*ASK, "escape")(pilot)
        assert "stays hidden" in text_of(app)
        await steps("f4")(pilot)
        assert "melanoma" not in text_of(app)
        await steps("enter")(pilot)
        assert isinstance(app.screen, Dialog)


async def test_an_impression_is_recorded_where_no_cases_are_kept(home: Path) -> None:
    log = Log()
    app = clinic(home, log=log, second_reader=True, keep_cases_days=0)
    async with app.run_test() as pilot:
        await steps(*ASK)(pilot)
        assert isinstance(app.screen, Dialog) and "irregular border" not in text_of(app)
        await steps("enter")(pilot)
        assert "irregular border" in text_of(app)
    assert log.entries[-1].kind == "case.impression.done"
    assert log.entries[-1].body == {"entry": 3, "label": "melanoma", "agrees": True}


async def test_what_nobody_foresaw_prints_no_variable(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = "CANARY of a patient"

    def fail() -> None:
        words = canary
        raise RuntimeError(f"with {len(words)} letters")

    app = clinic(home)
    with pytest.raises(RuntimeError):
        async with app.run_test() as pilot:
            await settled(pilot)
            app.call_later(fail)
            await pilot.pause()
    printed = capsys.readouterr().err
    assert "something unforeseen happened" in printed and "CANARY" not in printed


async def test_an_idle_screen_is_locked_and_holds_nothing_of_a_patient(home: Path) -> None:
    users_home(home)
    now_s = 0.0
    log = Log()
    app = clinic(home, log=log, access="users")
    app.clock_s = lambda: now_s
    async with app.run_test() as pilot:
        await steps("=ali", "enter", f"={SECRET}", "enter", *ASK, "n", "=CANARY", "ctrl+s")(pilot)
        assert "CANARY" in text_of(app)
        await steps("n")(pilot)
        assert isinstance(app.screen, Dialog)
        now_s = 299.0
        app._lock_when_idle()
        await settled(pilot)
        assert "CANARY" in text_of(app)
        now_s = 300.0
        app._lock_when_idle()
        await settled(pilot)
        assert "CANARY" not in text_of(app) and "eye left" not in text_of(app)
        assert app.current_mode == "sign_in" and app.account is None
        assert log.entries[-1].kind == "user.signout.done"
        assert log.entries[-1].body == {"account": "ali", "why": "idle"}
        kept = [screen for stack in app._screen_stacks.values() for screen in stack]
        assert not [screen for screen in kept if isinstance(screen, ConsultScreen)]


async def test_a_role_sees_only_what_it_may(home: Path) -> None:
    users_home(home)
    own = ("=a secret of hers", "enter", "=a secret of hers", "enter")
    app = clinic(home, access="users")
    async with app.run_test() as pilot:
        await steps("=siti", "enter", "=given to siti", "enter", *own)(pilot)
        assert list(app.rooms()) == ["guidelines", "status"]
        for key in ("f2", "f3", "f4"):
            await steps(key)(pilot)
            assert app.current_mode == "guidelines"


async def test_a_wrong_secret_lets_nobody_in(home: Path) -> None:
    users_home(home)
    log = Log()
    app = clinic(home, log=log, access="users")
    async with app.run_test() as pilot:
        await steps("=ali", "enter", "=wrong secret", "enter")(pilot)
        assert app.account is None and app.current_mode == "sign_in"
    assert kinds(log) == ["user.signin.asked", "user.signin.failed"]


@pytest.mark.parametrize(
    "keys", [(), ASK, (*ASK, "1"), (*ASK, "n"), (*ASK, "f4"), ("f3",), ("f5",), ("f1",)]
)
async def test_plain_is_words_alone(home: Path, keys: tuple[str, ...]) -> None:
    app = clinic(home, answering(TWO), plain=True)
    async with app.run_test() as pilot:
        await steps(*keys)(pilot)
        assert not set(text_of(app)) & DRAWN


@pytest.mark.parametrize("size", [(60, 20), (200, 60)])
async def test_any_size_will_do(home: Path, size: tuple[int, int]) -> None:
    app = clinic(home, answering(TWO))
    async with app.run_test(size=(80, 24)) as pilot:
        await steps(*ASK)(pilot)
        await pilot.resize_terminal(*size)
        for room in ("f2", "f3", "f4", "f5"):
            await steps(room)(pilot)
            assert "f1 Help" in text_of(app).splitlines()[-1], "the help is always told"


async def test_a_sites_own_key_takes_the_place_of_ours(home: Path) -> None:
    home.mkdir()
    (home / KEYS_FILE).write_text('"answer.accept" = "ctrl+a"\n', encoding="utf-8")
    log = Log()
    app = clinic(home, log=log)
    async with app.run_test(size=(120, 36)) as pilot:
        await steps(*ASK, "a")(pilot)
        assert "case.judge.done" not in kinds(log)
        await steps("ctrl+a")(pilot)
        assert "case.judge.done" in kinds(log)
        assert "^a Accept" in text_of(app)


async def test_a_saved_page_is_recorded_and_private(home: Path, tmp_path: Path) -> None:
    log, page = Log(), tmp_path / "page.html"
    app = clinic(home, log=log)
    async with app.run_test() as pilot:
        await steps(*ASK, "s", "home", "ctrl+k", f"={page}", "enter")(pilot)
        assert "Saved:" in text_of(app)
    assert kinds(log)[-2:] == ["case.page.asked", "case.page.done"]
    text = page.read_text(encoding="utf-8")
    assert "melanoma" in text and "eye left" not in text


async def test_a_search_by_hand_is_recorded_with_the_set_that_answered(home: Path) -> None:
    log = Log()
    app = clinic(home, log=log)
    async with app.run_test() as pilot:
        await steps("f5", "slash", "=margin of Mr Somebody", "enter")(pilot)
    done = log.entries[-1]
    assert (done.kind, done.body["guidelines"]) == ("lookup.done", "own")
    assert done.body["passages"] and "Somebody" not in json.dumps(dict(done.body))


async def test_a_citation_is_copied(home: Path) -> None:
    app = clinic(home)
    async with app.run_test() as pilot:
        await steps(*ASK, "1", "y")(pilot)
    assert app.clipboard.startswith("Skin Cancer: Recognition and Referral; 2nd edition, 2024")


async def walk(pilot: Pilot[None], drawings: Path) -> None:
    """To a worklist of all drawings."""
    assert isinstance(pilot.app, ClinicScreen)
    await settled(pilot)
    pilot.app.add_to_worklist([str(drawings)])
    await settled(pilot)


async def test_a_worklist_keeps_its_order_and_goes_on_after_a_restart(
    home: Path, drawings: Path
) -> None:
    log = Log()
    app = clinic(home, log=log)
    async with app.run_test() as pilot:
        await walk(pilot, drawings)
        await steps("k", "ctrl+end", "u")(pilot)
        left = [Path(item.path).name for item in app.worklist.left]
        assert left[0] == "skin-3.png" and "chest-0.png" not in left and len(left) == 11
    again = clinic(home, log=log)
    async with again.run_test() as pilot:
        await steps("f3")(pilot)
        assert [Path(item.path).name for item in again.worklist.left] == left
        await steps("g")(pilot)
        assert not again.worklist.left and "11 of 11" in text_of(again)
    assert kinds(log).count("caption.answered") == 11
    third = clinic(home, log=log)
    async with third.run_test() as pilot:
        await steps("f3")(pilot)
        assert not third.worklist.left, "what the log says is done is done"


async def test_pictures_that_come_into_the_watched_folder_are_listed(
    home: Path, drawings: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    app = clinic(home, watch_folder=str(folder))
    async with app.run_test() as pilot:
        await steps("f3")(pilot)
        assert not app.worklist.left
        picture = folder / "new.png"
        picture.write_bytes((drawings / "chest-0.png").read_bytes())
        await app.worklist.look_again()
        assert not app.worklist.left, "it may still be being written"
        os.utime(picture, (1, 1))
        await app.worklist.look_again()
        assert [item.path for item in app.worklist.left] == [str(picture)]
