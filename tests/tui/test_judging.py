"""A caption judged on the screen: what is typed stays until it is kept, nothing is lost unasked."""

from functools import cached_property
from pathlib import Path

import pytest

from appliance.config import Config
from appliance.core.cases import Case, Verdict, Wanted
from appliance.core.labels import LabelSet
from appliance.edges.case_store import CaseStore
from appliance.errors import CaseError
from appliance.tui.app import ClinicScreen
from appliance.tui.screens.asking import ConfirmDialog, CorrectDialog, NoteDialog, SaveDialog
from appliance.tui.screens.consult import ConsultScreen
from tests.tui.clinic import PICTURE, Behind, Log, answering, clinic, steps, unforeseen
from tests.tui.test_screen import kinds, text_of

pytestmark = pytest.mark.anyio
ASK = (f"={PICTURE}", "enter")
LABEL = ("e", "end", "ctrl+u")
"""Correct the label, from an empty field."""


def kept(home: Path) -> Case:
    with CaseStore(Config(home).cases_folder) as cases:
        [case] = cases.find(Wanted())
        return case


@pytest.mark.parametrize("typed", ["=Melanocytic Nevus", "=MELANOCYTIC NEVUS"])
async def test_a_label_is_known_however_it_is_typed(home: Path, typed: str) -> None:
    app = clinic(home)
    async with app.run_test() as pilot:
        await steps(*ASK, *LABEL, typed, "ctrl+s")(pilot)
        assert isinstance(app.screen, ConsultScreen) and "Caption corrected" in text_of(app)
    corrected = kept(home).corrected
    assert corrected is not None and corrected["label"] == "melanocytic nevus"


@pytest.mark.parametrize(
    "keys",
    [(*LABEL, "=a broken leg"), ("e", "down", "ctrl+u"), ("e", "down", "down", f"={'x' * 400}")],
    ids=["no-label", "empty", "too-long"],
)
async def test_a_correction_that_is_none_stays_to_be_set_right(
    home: Path, keys: tuple[str, ...]
) -> None:
    app = clinic(home)
    async with app.run_test() as pilot:
        await steps(*ASK, *keys, "down", "end", "=, and CANARY", "ctrl+s")(pilot)
        assert isinstance(app.screen, CorrectDialog)
        assert "the correction is no caption" in text_of(app)
        assert any("CANARY" in text for text in app.screen.given().values())
        await steps("escape")(pilot)
        assert isinstance(app.screen, ConsultScreen)
    assert kept(home).verdict is None


class Full(CaseStore):
    """On a full disk."""

    def annotate(self, case_id: str, *, reference: str, note: str) -> None:
        raise CaseError("the kept cases cannot be written", "free disk space")


class OnFullDisk(Behind):
    @cached_property
    def cases(self) -> CaseStore:
        return self._stack.enter_context(Full(self.config.cases_folder))


class MeasuredAnew(Behind):
    """The release that said it is here no more under its hash."""

    def labels_of(self, release_sha256: str) -> LabelSet | None:  # type: ignore[override]
        return None


def screen(home: Path, behind: type[Behind], log: Log) -> ClinicScreen:
    return ClinicScreen(
        Config(home),
        unforeseen,
        opened=lambda config: behind(config, answering(), log),
        clock_s=lambda: 0.0,
    )


async def test_a_note_that_could_not_be_kept_stays(home: Path) -> None:
    app = screen(home, OnFullDisk, Log())
    async with app.run_test() as pilot:
        await steps(*ASK, "n", "=K-117", "enter", "=CANARY", "enter")(pilot)
        assert isinstance(app.screen, NoteDialog)
        seen = text_of(app)
        assert "cannot be written" in seen and "CANARY" in seen and "K-117" in seen


async def test_a_pages_name_that_is_taken_stays_to_be_set_right(home: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.txt"
    page.touch()
    app = clinic(home)
    async with app.run_test() as pilot:
        await steps(*ASK, "s", "home", "ctrl+k", f"={page}", "enter")(pilot)
        assert isinstance(app.screen, SaveDialog) and "is there already" in text_of(app)
        await steps("end", "=.txt", "enter")(pilot)
        assert isinstance(app.screen, ConsultScreen) and "Saved:" in text_of(app)


async def test_an_older_releases_caption_is_judged_and_not_corrected(home: Path) -> None:
    log = Log()
    app = screen(home, MeasuredAnew, log)
    async with app.run_test() as pilot:
        await steps(*ASK, "x", "a")(pilot)
        assert "Caption accepted" in text_of(app)
        await steps(*LABEL, "=melanocytic nevus", "ctrl+s")(pilot)
        assert isinstance(app.screen, CorrectDialog)
        assert "the release that said it is not here" in text_of(app)
    assert kept(home).verdict == "accepted"
    assert kinds(log).count("case.judge.done") == 2


@pytest.mark.parametrize(("key", "verdict"), [("a", "accepted"), ("x", "rejected")])
async def test_a_correction_is_dropped_after_a_question_only(
    home: Path, key: str, verdict: Verdict
) -> None:
    app = clinic(home)
    async with app.run_test() as pilot:
        await steps(*ASK, *LABEL, "=melanocytic nevus", "ctrl+s", key, "escape")(pilot)
        assert kept(home).verdict == "corrected"
        await steps(key)(pilot)
        assert isinstance(app.screen, ConfirmDialog) and "will be gone" in text_of(app)
        await steps("enter")(pilot)
        assert kept(home).verdict == verdict and kept(home).corrected is None
