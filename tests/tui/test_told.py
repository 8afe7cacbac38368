"""What is shown of an answer, wherever it stands: nothing but its own, and every warning."""

import html
from dataclasses import replace
from pathlib import Path

import pytest
from stand_ins import OneImage

from appliance.config import Config
from appliance.core.answer import answer_json
from appliance.core.consult import Ports, consult
from appliance.core.decision import NOT_MEASURED, Decision
from appliance.core.ports import Passage, Picture
from appliance.core.query import GuidelineQuery, Within
from appliance.errors import GuidelineError
from appliance.tui.app import ClinicScreen
from appliance.tui.page import page_html, page_text
from appliance.tui.screens.consult import ConsultScreen
from appliance.tui.screens.picture import LARGE, PictureScreen
from appliance.tui.shown import Shown, shown_result
from appliance.tui.words import Words
from tests.tui.clinic import PICTURE, TWO, Shelf, answering, clinic, coarse, steps, unforeseen
from tests.tui.test_screen import offered, text_of

pytestmark = pytest.mark.anyio
ASK = (f"={PICTURE}", "enter")
FINDINGS = "irregular border"
NOTE = "only the first of 12 frames was read"
CORRECTED = {
    "label": "melanocytic nevus",
    "image_type": "dermoscopy",
    "anatomical_region": "skin lesion",
    "key_findings": "even colour",
    "clinical_significance": "urgent referral for excision",
}


class Failing(Shelf):
    def find(self, query: GuidelineQuery, k: int, within: Within | None = None) -> list[Passage]:
        raise GuidelineError("the index is damaged", "rebuild it")


class Noted(OneImage):
    def open(self, path: str, size: int) -> Picture:
        return replace(super().open(path, size), note=NOTE)


def noted(ports: Ports) -> Ports:
    return replace(ports, images=Noted(coarse("skin")))


def answered(ports: Ports, **changes: object) -> Shown:
    result = consult(PICTURE, ports, 3)
    for name, value in changes.items():
        setattr(result, name, value)
    return shown_result(result, answer_json(result))


async def test_another_file_under_the_same_name_is_never_shown(
    home: Path, tmp_path: Path, drawings: Path
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes((drawings / "chest-0.png").read_bytes())
    app = ClinicScreen(Config(home, passages=0), unforeseen)
    async with app.run_test() as pilot:
        await steps(f"={photo}", "enter", "z")(pilot)
        assert isinstance(app.screen, PictureScreen) and app.screen.view.pixels is not None
        assert app.screen.view.pixels.size == LARGE, "the file itself"
        photo.write_bytes((drawings / "fundus-0.png").read_bytes())
        await steps("escape", "z")(pilot)
        assert "another picture by now" in " ".join(text_of(app).split())
        large = app.screen.view.pixels
        await steps("escape", "v")(pilot)
        assert "not the picture that was answered" in " ".join(text_of(app).split())
        assert isinstance(app.screen, ConsultScreen) and app.screen.shown is not None
        assert large == app.screen.shown.pixels, "as it was read"


async def test_a_reading_that_failed_after_its_caption_shows_none(home: Path) -> None:
    app = clinic(home, replace(answering(), guidelines=Failing()))
    async with app.run_test() as pilot:
        await steps(*ASK)(pilot)
        assert "the index is damaged" in text_of(app) and FINDINGS not in text_of(app)
        assert not offered(app) & {"judge('accepted')", "correct", "judge('rejected')", "check"}
        await steps("f4", "enter")(pilot)
        assert FINDINGS not in text_of(app) and "melanoma" not in text_of(app)


@pytest.mark.parametrize("page", [page_text, page_html])
def test_a_page_has_the_warnings_that_the_screen_has(page: object) -> None:
    assert callable(page)
    say = Words("en")
    unmeasured = Decision("abstain", (), NOT_MEASURED, 0.1)
    text = html.unescape(page(answered(noted(answering()), decision=unmeasured), say))
    assert say("answer.trial") in text and NOTE in text
    assert "review was due on 2023-01-01" not in text, "an abstention cites nothing"
    text = " ".join(page(answered(answering()), say).split())
    assert say("answer.trial") not in text
    assert text.count("Caution: its review was due on 2023-01-01") == 1


@pytest.mark.parametrize("page", [page_text, page_html])
def test_a_page_tells_the_clinicians_words_from_the_releases(page: object) -> None:
    assert callable(page)
    shown = answered(answering()).changed(verdict="corrected", corrected=CORRECTED)
    text = " ".join(page(shown, Words("en")).split())
    assert FINDINGS in text and "corrected: even colour" in text
    assert "corrected: melanocytic nevus" in text
    assert "corrected: dermoscopy" not in text, "that was not otherwise"


async def test_a_caution_is_copied_with_its_citation(home: Path) -> None:
    app = clinic(home)
    async with app.run_test() as pilot:
        await steps(*ASK, "3", "y")(pilot)
    assert app.clipboard.endswith("Caution: its review was due on 2023-01-01")


async def test_two_pictures_beside_each_other_have_their_warnings(home: Path) -> None:
    app = clinic(home, noted(answering(TWO)))
    correct = ("e", "down", "down", "down", "end", "=, notched", "ctrl+s")
    async with app.run_test(size=(120, 60)) as pilot:
        await steps(*ASK, *correct, "b", *ASK)(pilot)
        seen = text_of(app)
        assert seen.count("only the first of 12 frames") == 2
        assert seen.count("corrected: irregular border, notched") == 1
        assert seen.count(FINDINGS) == 3
