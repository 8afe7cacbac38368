"""A treatment checked from the screen: what is recorded, shown and offered."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from stand_ins import OneImage
from textual import events

from appliance.cli.check import ANSWERS
from appliance.config import Config
from appliance.core.access import Account
from appliance.core.cases import Wanted
from appliance.core.check import MOST_CHARACTERS
from appliance.core.ports import Passage, Picture
from appliance.edges.case_store import CaseStore
from appliance.errors import GuidelineError
from appliance.tui.app import ClinicScreen
from appliance.tui.screens.check import CheckScreen
from appliance.tui.screens.consult import ConsultScreen
from appliance.tui.screens.history import HistoryScreen
from appliance.tui.screens.passage import PassageScreen
from appliance.tui.words import catalogue
from appliance.wiring import open_cases, read_audit
from tests.tui.clinic import (
    PICTURE,
    UNSURE,
    Crashing,
    First,
    Log,
    Shelf,
    Waiting,
    answering,
    clinic,
    coarse,
    settled,
    steps,
    unforeseen,
    until,
    with_captioner,
    with_rules,
)
from tests.tui.test_screen import kinds, offered, text_of

pytestmark = pytest.mark.anyio
ASK = (f"={PICTURE}", "enter")
FREEZE = ("k", "=Cryotherapy today", "enter", "=on the cheek of Siti", "enter")
CHECKED = ["check.asked", "caption.asked", "image.opened", "caption.answered", "check.done"]


@pytest.fixture(autouse=True)
def rules(home: Path) -> None:
    with_rules(home)


async def test_a_check_is_recorded_as_by_the_command_and_its_passage_opens(home: Path) -> None:
    log = Log()
    app = clinic(home, log=log)
    async with app.run_test() as pilot:
        await steps(*ASK)(pilot)
        before = len(log.entries)
        await steps(*FREEZE)(pilot)
        seen = text_of(app)
        assert ANSWERS["ERROR"][:20] in seen and "Severity: critical" in seen
        assert "Excise it whole with a margin of 2 mm" in seen and "page 12" in seen
        assert f"Record {len(log.entries)}" in seen and "not for clinical use" in seen
        await steps("1")(pilot)
        assert isinstance(app.screen, PassageScreen)
        await steps("escape", "tab", "y")(pilot)
        assert app.clipboard.startswith("Skin Cancer: Recognition and Referral; 2nd edition, 2024")
        await steps("escape")(pilot)
        assert isinstance(app.screen, ConsultScreen) and app.screen.shown is not None
    assert kinds(log)[before:] == CHECKED
    asked, done = log.entries[before], log.entries[-1]
    assert asked.body == {"treatments": ["cryotherapy"], "signs": []}
    assert done.body["verdict"] == "ERROR" and done.body["severity"] == "critical"
    assert done.body["caption"] == done.seq - 1 and len(done.body["passages"]) == 1
    written = json.dumps([entry.body for entry in log.entries], default=str)
    assert "today" not in written and "Siti" not in written
    with CaseStore(Config(home).cases_folder) as cases:
        assert len(cases.find(Wanted())) == 1, "the check is of a case that is kept already"


async def test_the_screen_says_what_the_command_says() -> None:
    english = catalogue("en")
    assert {name: english[f"check.verdict.{name}"] for name in ANSWERS} == ANSWERS


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (("enter", "enter"), "no treatment is given"),
        (("= ", "enter", "enter"), "no treatment is given"),
        ((f"={'x' * (MOST_CHARACTERS + 1)}", "ctrl+s"), f"has {MOST_CHARACTERS + 1} characters"),
    ],
)
async def test_words_that_cannot_be_asked_are_told_and_not_recorded(
    home: Path, typed: tuple[str, ...], told: str
) -> None:
    log = Log()
    app = clinic(home, log=log)
    async with app.run_test() as pilot:
        await steps(*ASK, "k", *typed)(pilot)
        assert told in text_of(app)
    assert "check.asked" not in kinds(log)


async def test_rules_that_cannot_be_read_are_told_and_read_again(home: Path) -> None:
    log, file = Log(), home / "rules" / "clinic.toml"
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole.replace("cryotherapy", "moonlight"), encoding="utf-8")
    app = clinic(home, log=log)
    async with app.run_test() as pilot:
        await steps(*ASK, *FREEZE)(pilot)
        assert "no words are given for `moonlight`" in " ".join(text_of(app).split())
        assert "check.asked" not in kinds(log)
        file.write_text(whole, encoding="utf-8")
        await steps("ctrl+s")(pilot)
        assert ANSWERS["ERROR"][:20] in text_of(app)


@pytest.mark.parametrize("keys", [("enter", "enter"), ("ctrl+s", "enter")])
async def test_two_quick_keys_ask_once(home: Path, keys: tuple[str, ...]) -> None:
    log = Log()
    app = clinic(home, log=log)
    async with app.run_test() as pilot:
        await steps(*ASK, *FREEZE[:-1])(pilot)
        for key in keys:
            app.post_message(events.Key(key, "\r" if key == "enter" else None))
        await settled(pilot)
        assert ANSWERS["ERROR"][:20] in text_of(app)
    assert kinds(log).count("check.asked") == 1


async def test_what_a_verdict_does_not_speak_of_is_said_to_be_unchecked(home: Path) -> None:
    app = clinic(home)
    async with app.run_test() as pilot:
        await steps(*ASK, "k", "=excision, then oral amoxicillin", "ctrl+s")(pilot)
        seen = " ".join(text_of(app).split())
        assert ANSWERS["CORRECT"] in seen and "speaks for excision for melanoma" in seen
        assert "UNCHECKED - antibiotic" in seen


async def test_a_check_is_stopped_by_escape_and_recorded_as_such(home: Path) -> None:
    waiting, log = Waiting(), Log()
    app = clinic(home, replace(with_captioner(waiting), captioner=First(waiting)), log)
    async with app.run_test() as pilot:
        await steps(*ASK, *FREEZE[:-1])(pilot)
        await pilot.press("enter")
        await until(pilot, waiting.is_reading.is_set)
        await pilot.pause()
        assert offered(app) == {"stop", "help"}
        await pilot.press("escape")
        await settled(pilot)
        assert "Stopped." in text_of(app) and "Cryotherapy today" in text_of(app)
        assert offered(app) == {"ask", "close", "help"}
    assert log.entries[-1].kind == "check.done"
    assert log.entries[-1].body["error"] == "model-cancelled"


async def test_a_crash_of_the_model_is_told_and_tried_again_by_one_key(home: Path) -> None:
    log = Log()
    app = clinic(home, with_captioner(First(Crashing())), log)
    async with app.run_test() as pilot:
        await steps(*ASK, *FREEZE)(pilot)
        assert "stopped twice" in text_of(app) and "retry" in offered(app)
        await steps("r")(pilot)
        assert ANSWERS["ERROR"][:20] in text_of(app) and "retry" not in offered(app)
    done = [entry.body for entry in log.entries if entry.kind == "check.done"]
    assert [(body["error"], body["verdict"]) for body in done] == [
        ("model-crash", None),
        (None, "ERROR"),
    ]


async def test_nothing_is_shown_that_could_not_be_recorded(home: Path) -> None:
    app = clinic(home, log=Log(full_at=8))
    async with app.run_test() as pilot:
        await steps(*ASK, *FREEZE)(pilot)
        assert "CHECK AGAIN" not in text_of(app)
        assert "the audit log cannot be written" in text_of(app)


async def test_guidelines_that_fail_are_told_and_recorded(home: Path) -> None:
    class Failing(Shelf):
        def holding(self, sentence: str) -> list[Passage]:
            raise GuidelineError("the index is damaged", "rebuild it")

    log = Log()
    app = clinic(home, replace(answering(), guidelines=Failing()), log)
    async with app.run_test() as pilot:
        await steps(*ASK, *FREEZE)(pilot)
        assert "the index is damaged" in text_of(app)
    assert log.entries[-1].kind == "check.failed"


async def test_another_file_under_the_same_name_is_not_checked(home: Path) -> None:
    class Replaced(OneImage):
        """Another file each time it is opened."""

        def open(self, path: str, size: int) -> Picture:
            self.opened = getattr(self, "opened", 0) + 1
            return replace(super().open(path, size), sha256=f"{self.opened:064}")

    log = Log()
    app = clinic(home, replace(answering(), images=Replaced(coarse("skin"))), log)
    async with app.run_test() as pilot:
        await steps(*ASK, *FREEZE)(pilot)
        assert "not the picture that was answered" in text_of(app)
        assert "retry" in offered(app)
    assert log.entries[-1].body["error"] == "image-changed"


async def test_it_is_asked_where_passages_are_not_looked_up(home: Path) -> None:
    app = clinic(home, replace(answering(), guidelines=None), passages=0)
    async with app.run_test() as pilot:
        await steps(*ASK, *FREEZE)(pilot)
        assert ANSWERS["ERROR"][:20] in text_of(app) and "page 12" in text_of(app)


async def test_it_is_offered_with_an_answer_to_those_who_may_consult(home: Path) -> None:
    app = clinic(home)
    async with app.run_test() as pilot:
        assert "check" not in offered(app)
        await steps(*ASK)(pilot)
        assert "check" in offered(app)
        app.config = replace(app.config, access="users")
        for role, may in (("auditor", False), ("clinician", True)):
            app.account = Account("ali", role)  # type: ignore[arg-type]
            await steps("k")(pilot)
            assert isinstance(app.screen, CheckScreen) is may


async def test_it_is_not_offered_where_the_release_abstains(home: Path) -> None:
    app = clinic(home, answering(UNSURE))
    async with app.run_test() as pilot:
        await steps(*ASK, "k")(pilot)
        assert isinstance(app.screen, ConsultScreen) and "check" not in offered(app)


async def test_from_the_history_with_the_label_that_was_set_right(home: Path) -> None:
    app = clinic(home)
    async with app.run_test() as pilot:
        await steps(*ASK, "e", "end", "ctrl+u", "=melanocytic nevus", "ctrl+s", "f4")(pilot)
        assert isinstance(app.screen, HistoryScreen) and "check" not in offered(app)
        await steps("enter", "k")(pilot)
        assert isinstance(app.screen, CheckScreen)
        assert app.screen.finding.value == "melanocytic nevus"
        await steps("=excision", "ctrl+s", "k")(pilot)
        assert app.screen.treatment.value == "excision", "what was typed stays"


async def test_a_locked_screen_holds_nothing_of_it(home: Path) -> None:
    app = clinic(home)
    async with app.run_test() as pilot:
        await steps(*ASK, "k", "=CANARY")(pilot)
        assert "CANARY" in text_of(app)
        await steps("ctrl+l")(pilot)
        assert app.current_mode == "sign_in" and "CANARY" not in text_of(app)
        kept = [screen for stack in app._screen_stacks.values() for screen in stack]
        assert not [screen for screen in kept if isinstance(screen, CheckScreen)]


async def test_a_whole_check_on_the_demonstration_release(
    clinic_home: Path, drawings: Path
) -> None:
    config = Config(clinic_home)
    app = ClinicScreen(config, unforeseen)
    async with app.run_test() as pilot:
        await steps(f"={drawings / 'fundus-2.png'}", "enter")(pilot)
        assert isinstance(app.screen, ConsultScreen) and app.screen.shown is not None
        with read_audit(config) as log:
            before = log.size()
        await steps("k", "=refer to the eye clinic, not urgent", "ctrl+s")(pilot)
        assert isinstance(app.screen, CheckScreen) and app.screen.verdict.found is not None
        found, seen = app.screen.verdict.found, text_of(app)
        assert found.judgement is not None and ANSWERS[found.judgement.verdict][:20] in seen
        assert f"Record {found.entry.seq} ({found.entry.hash[:12]})" in seen
        assert "not for clinical use" in seen
    with read_audit(config) as log:
        assert log.verify().fault is None
        entries = [entry for entry in log.entries(before + 1) if entry.kind in CHECKED]
    assert [entry.kind for entry in entries] == CHECKED
    assert entries[0].body["treatments"] == ["eye clinic referral"]
    assert entries[-1].hash == found.entry.hash
    assert entries[-1].body["verdict"] == found.judgement.verdict
    shown = [passage.passage_id for _, passage in found.passages]
    assert entries[-1].body["passages"] == shown
    assert shown or found.judgement.verdict == "UNSURE", "no passage, no verdict"
    with open_cases(config) as cases:
        assert len(cases.find(Wanted())) == 1
