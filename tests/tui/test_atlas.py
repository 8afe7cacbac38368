"""What the atlas' room does: what it finds, records, hides, offers and says when it cannot."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from PIL import Image
from textual import events

from appliance.config import Config
from appliance.core.atlas import TEACHING, AtlasCard, Vector
from appliance.core.gate import BLANK
from appliance.core.ports import Picture
from appliance.errors import ModelError
from appliance.release.atlas_files import (
    BUILT_IN,
    CASES,
    PICTURES,
    read_atlas,
    read_cases,
    write_atlas_manifest,
)
from appliance.release.drawings import draw
from appliance.tui.app import ClinicScreen
from appliance.tui.screens.atlas import AtlasScreen
from appliance.tui.screens.atlas_case import AtlasCaseScreen
from appliance.tui.screens.consult import ConsultScreen
from appliance.tui.screens.history import HistoryScreen
from appliance.tui.widgets.case_row import CaseRow
from appliance.tui.widgets.picture import PictureView
from appliance.tui.words import Words
from appliance.wiring import add_atlas, read_audit
from tests.tui.atlas_cases import ELSEWHERE, DrawnAtlas
from tests.tui.clinic import (
    PICTURE,
    SECRET,
    UNSURE,
    Log,
    Waiting,
    answering,
    clinic,
    settled,
    steps,
    unforeseen,
    until,
    users_home,
    with_captioner,
)
from tests.tui.test_screen import DRAWN, kinds, offered, text_of

pytestmark = pytest.mark.anyio
ASK = (f"={PICTURE}", "enter")
SIMILAR = ("f7", "o", *ASK)
CONTRAST = ("f7", "c", "=melanoma", "enter", "=dark centre", "enter", "=nevus; round", "enter")


def atlas_clinic(
    home: Path, atlas: DrawnAtlas | None = None, log: Log | None = None, **settings: Any
) -> ClinicScreen:
    return clinic(home, replace(answering(), atlas=atlas or DrawnAtlas()), log, **settings)


def ranked(app: ClinicScreen) -> list[str]:
    return [row.case["case_id"] for row in app.screen.query(CaseRow)]


async def test_a_picture_finds_cases_and_the_record_has_which(home: Path) -> None:
    log = Log()
    app = atlas_clinic(home, log=log)
    async with app.run_test() as pilot:
        await steps(*SIMILAR)(pilot)
        assert TEACHING in text_of(app) and "eye left.png" in text_of(app)
        found = ranked(app)
    assert kinds(log) == ["atlas.similar.asked", "atlas.similar.done"]
    assert log.entries[0].body == {"atlas": "ef" * 32}
    assert log.entries[1].body == {"image": "marked cdcd", "cases": found} and len(found) == 5
    assert "eye left" not in str([entry.body for entry in log.entries])


async def test_one_key_leads_from_an_answer_to_its_similar_cases_and_back(home: Path) -> None:
    log = Log()
    app = atlas_clinic(home, DrawnAtlas(refused=BLANK), log)
    async with app.run_test() as pilot:
        await steps(*ASK, "l")(pilot)
        assert isinstance(app.screen, AtlasScreen) and len(ranked(app)) == 5, "its gate took it"
        assert log.entries[-1].kind == "atlas.similar.done"
        assert log.entries[-1].body["image"] == "marked cdcd"
        await steps("escape")(pilot)
        assert isinstance(app.screen, ConsultScreen) and app.screen.shown is not None
        await steps("f7")(pilot)
        assert not ranked(app) and "eye left" not in text_of(app)
        await steps("f4", "enter", "l")(pilot)
        assert len(ranked(app)) == 5, "a kept case is as good"
        await steps("escape")(pilot)
        assert isinstance(app.screen, HistoryScreen) and app.screen.shown is not None


@pytest.mark.parametrize("size", [(60, 20), (200, 60)])
async def test_any_size_will_do(home: Path, size: tuple[int, int]) -> None:
    app = atlas_clinic(home)
    async with app.run_test(size=(80, 24)) as pilot:
        await steps(*SIMILAR)(pilot)
        await pilot.resize_terminal(*size)
        for key, told in (("down", "f1 Help"), ("d", "f1 Help"), ("enter", "esc Back")):
            await steps(key)(pilot)
            assert told in text_of(app).splitlines()[-1]


async def test_an_abstention_has_similar_cases_and_a_refused_picture_none(home: Path) -> None:
    app = clinic(home, replace(answering(UNSURE), atlas=DrawnAtlas()))
    async with app.run_test() as pilot:
        await steps(*ASK, "l")(pilot)
        assert len(ranked(app)) == 5
    blank = answering(error=ModelError("the model failed", "try again"))
    app = clinic(home, replace(blank, atlas=DrawnAtlas()))
    async with app.run_test() as pilot:
        await steps(*ASK, "l")(pilot)
        assert isinstance(app.screen, ConsultScreen)


async def test_words_and_contrasts_are_recorded_by_their_length_alone(home: Path) -> None:
    log = Log()
    app = atlas_clinic(home, log=log)
    async with app.run_test(size=(120, 36)) as pilot:
        await steps("f7", "slash", "=melanoma of Mr Somebody", "enter")(pilot)
        assert len(ranked(app)) == 5
        await steps("c", "ctrl+u", "=melanoma", "enter", "=dark; blue", "enter", "enter")(pilot)
        assert "- dark - blue" in text_of(app)
    assert [entry.body for entry in log.entries if entry.kind.endswith(".asked")] == [
        {"atlas": "ef" * 32, "characters": 23},
        {"atlas": "ef" * 32, "characters": 8, "plus": 0, "minus": 2},
    ]
    assert set(log.entries[-1].body) == {"cases", "changed"}


async def test_a_contrast_stands_rank_beside_rank_and_is_walked_by_arrows(home: Path) -> None:
    app = atlas_clinic(home)
    async with app.run_test(size=(120, 36)) as pilot:
        await steps(*CONTRAST)(pilot)
        lines = [line for line in text_of(app).splitlines() if "likeness" in line]
        assert all(line.count("likeness") == 2 for line in lines)

        def at() -> tuple[int, bool]:
            row = app.screen.focused
            assert isinstance(row, CaseRow)
            return row.rank, row.region.x > 40

        assert at() == (1, False)
        await steps("down")(pilot)
        assert at() == (2, False)
        await steps("right")(pilot)
        assert at() == (2, True)
        await steps("up")(pilot)
        assert at() == (1, True)
        await steps("up", "left")(pilot)
        assert at() == (1, False)


async def test_a_contrast_that_changes_nothing_is_not_asked(home: Path) -> None:
    log = Log()
    app = atlas_clinic(home, log=log)
    async with app.run_test() as pilot:
        await steps("f7", "c", "=melanoma", "enter", "enter", "enter")(pilot)
        assert not isinstance(app.screen, AtlasScreen) and kinds(log) == []
        await steps("=light", "enter")(pilot)
        assert kinds(log) == ["atlas.contrast.asked", "atlas.contrast.done"]


async def test_a_contrast_of_which_nothing_is_left_is_told_and_recorded(home: Path) -> None:
    log = Log()
    app = atlas_clinic(home, log=log)
    async with app.run_test() as pilot:
        await steps("f7", "c", "=melanoma", "enter", "=melanoma", "enter", "enter")(pilot)
        assert "nothing is left of the query" in text_of(app)
    assert log.entries[-1].kind == "atlas.contrast.failed"


async def test_a_description_repeats_what_two_cases_state_and_names_them(home: Path) -> None:
    log = Log()
    app = atlas_clinic(home, log=log)
    async with app.run_test(size=(120, 60)) as pilot:
        await steps(*SIMILAR, "d")(pilot)
        shown = text_of(app)
        assert "3 of the 5 nearest: melanoma" in shown
        assert "they state: irregular border (cases 1, 2)" in shown
        found = ranked(app)
    assert log.entries[-1].kind == "atlas.describe.done"
    assert [*log.entries[-1].body["cases"], *log.entries[-1].body["second"]] == found
    assert len(found) == 10


async def test_a_case_stands_in_full_beside_the_patients_own_picture(home: Path) -> None:
    app = atlas_clinic(home)
    async with app.run_test() as pilot:
        await steps(*SIMILAR, "enter")(pilot)
        assert isinstance(app.screen, AtlasCaseScreen)
        shown = text_of(app)
        for said in (TEACHING, "The patient's own picture", "Reference case 1 of 5", "CC0 1.0"):
            assert said in shown
        assert app.screen.picture.pixels is not None
        await steps("n")(pilot)
        assert "Reference case 2 of 5" in text_of(app)
        assert "The atlas carries no picture" in text_of(app)
        assert "zoom" not in offered(app)
        await steps("escape", "escape")(pilot)
        assert isinstance(app.screen, AtlasScreen) and not ranked(app)


async def test_a_damaged_picture_is_said_and_takes_nothing_from_the_others(home: Path) -> None:
    app = atlas_clinic(home, DrawnAtlas(is_damaged=True))
    async with app.run_test(size=(120, 60)) as pilot:
        await steps(*SIMILAR)(pilot)
        shown = text_of(app)
        assert "damaged" in shown and "no picture" in shown and "▀" in shown


async def test_a_refused_picture_is_told_with_what_to_do(home: Path) -> None:
    log = Log()
    app = atlas_clinic(home, DrawnAtlas(refused=BLANK), log)
    async with app.run_test() as pilot:
        await steps(*SIMILAR)(pilot)
        assert BLANK.reason in text_of(app) and BLANK.hint.split()[0] in text_of(app)
        assert not ranked(app) and "eye left" not in text_of(app)
    assert log.entries[-1].body == {"error": BLANK.code}


async def test_a_picture_that_nothing_is_like_finds_none(home: Path) -> None:
    app = atlas_clinic(home, DrawnAtlas(ELSEWHERE))
    async with app.run_test() as pilot:
        await steps(*SIMILAR)(pilot)
        assert "no case of this atlas is like it" in text_of(app)
        await steps("d")(pilot)
        assert "no case of this atlas is like it" in text_of(app)


async def test_without_an_atlas_it_is_said_and_nothing_is_offered(home: Path) -> None:
    app = clinic(home)
    async with app.run_test() as pilot:
        await steps("f7")(pilot)
        assert "there is no atlas" in text_of(app) and "appliance atlas add" in text_of(app)
        assert offered(app) == {"open", "help"}


class Slow(DrawnAtlas):
    """It opens when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_opening, self.goes_on = Event(), Event()

    @property
    def card(self) -> AtlasCard:
        self.is_opening.set()
        assert self.goes_on.wait(60)
        return super().card


async def test_a_room_whose_opening_was_stopped_is_opened_by_one_key(home: Path) -> None:
    atlas = Slow()
    app = atlas_clinic(home, atlas)
    async with app.run_test() as pilot:
        await settled(pilot)
        await pilot.press("f7")
        await until(pilot, atlas.is_opening.is_set)
        await pilot.pause()
        assert offered(app) == {"stop", "help"}
        await pilot.press("escape")
        await settled(pilot)
        assert "Stopped" in text_of(app) and offered(app) == {"open", "help"}
        atlas.goes_on.set()
        await steps("r")(pilot)
        assert "Atlas drawn: 6 cases" in text_of(app) and "choose" in offered(app)


class Stopped(DrawnAtlas):
    """Its model reads until it is told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.is_reading, self._stop = Event(), Event()

    def cancel(self) -> None:
        self._stop.set()

    def features(self, picture: Picture) -> Vector:
        self.is_reading.set()
        assert self._stop.wait(60)
        raise ModelError("the reading was cancelled", "start it again", code="model-cancelled")


async def test_a_look_is_stopped_by_escape_and_recorded_as_such(home: Path) -> None:
    atlas, log = Stopped(), Log()
    app = clinic(home, replace(answering(), atlas=atlas, cancel=atlas.cancel), log)
    async with app.run_test() as pilot:
        await steps("f7", "o", f"={PICTURE}")(pilot)
        await pilot.press("enter")
        await until(pilot, atlas.is_reading.is_set)
        await pilot.pause()
        assert offered(app) == {"stop", "help"}
        await pilot.press("escape")
        await settled(pilot)
        assert "Stopped" in text_of(app) and not ranked(app)
    assert log.entries[-1].kind == "atlas.similar.failed"
    assert log.entries[-1].body == {"error": "model-cancelled"}


async def test_a_look_that_waits_is_stopped_without_the_reading_before_it(
    home: Path, drawings: Path
) -> None:
    captioner, log = Waiting(), Log()
    app = clinic(home, replace(with_captioner(captioner), atlas=DrawnAtlas()), log)
    async with app.run_test() as pilot:
        await settled(pilot)
        app.add_to_worklist([str(drawings / "chest-0.png")])
        await settled(pilot)
        await pilot.press("g")
        await until(pilot, captioner.is_reading.is_set)
        await pilot.press("f7", "o")
        await app.on_event(events.Paste(PICTURE))
        await pilot.press("enter", "escape")
        await pilot.pause()
        assert app.worklist.now is not None and app.worklist.is_running
        captioner.cancel()
        await settled(pilot)
        assert "Stopped" in text_of(app)
    assert not [kind for kind in kinds(log) if kind.startswith("atlas.")]


async def test_nothing_is_shown_that_could_not_be_recorded(home: Path) -> None:
    app = atlas_clinic(home, log=Log(full_at=2))
    async with app.run_test() as pilot:
        await steps(*SIMILAR)(pilot)
        assert not ranked(app) and "the audit log cannot be written" in text_of(app)


async def test_a_consultation_shows_its_cases_and_the_alarm_where_that_is_set(home: Path) -> None:
    app = atlas_clinic(home, DrawnAtlas((0.0, 1.0, 0.0)), atlas_cases=3)
    async with app.run_test(size=(80, 70)) as pilot:
        await steps(*ASK)(pilot)
        assert isinstance(app.screen, ConsultScreen) and app.screen.shown is not None
        shown = text_of(app)
        alarm = app.screen.shown.alarm
        assert alarm is not None and alarm in " ".join(shown.split())
        assert shown.index("Guidelines\n".strip()) < shown.index("TEACHING MATERIAL")
        assert shown.count("likeness") == 3
        await steps("tab", "tab", "tab", "tab")(pilot)
        assert isinstance(app.screen.focused, CaseRow), "keys reach them"
        await steps("enter")(pilot)
        assert isinstance(app.screen, AtlasScreen) and len(ranked(app)) == 5
    app = atlas_clinic(home, DrawnAtlas((0.0, 1.0, 0.0)))
    async with app.run_test(size=(80, 70)) as pilot:
        await steps(*ASK)(pilot)
        assert "TEACHING" not in text_of(app) and "disagree" not in text_of(app)


async def test_an_auditor_has_no_atlas_and_a_lock_empties_it(home: Path) -> None:
    users_home(home)
    app = atlas_clinic(home, access="users")
    async with app.run_test() as pilot:
        await steps("=ali", "enter", f"={SECRET}", "enter", *SIMILAR)(pilot)
        assert "eye left" in text_of(app)
        await steps("ctrl+l")(pilot)
        assert "eye left" not in text_of(app)
        kept = [screen for stack in app._screen_stacks.values() for screen in stack]
        assert not [screen for screen in kept if isinstance(screen, AtlasScreen)]
        own = ("=a secret of hers", "enter", "=a secret of hers", "enter")
        await steps("=siti", "enter", "=given to siti", "enter", *own)(pilot)
        assert "atlas" not in app.rooms()


@pytest.mark.parametrize("keys", [("f7",), SIMILAR, CONTRAST, (*SIMILAR, "enter")])
async def test_plain_is_words_alone(home: Path, keys: tuple[str, ...]) -> None:
    app = atlas_clinic(home, plain=True)
    async with app.run_test() as pilot:
        await steps(*keys)(pilot)
        assert not set(text_of(app)) & DRAWN


def test_the_screen_says_what_the_command_says() -> None:
    assert Words("en")("atlas.teaching") == TEACHING


async def test_the_demonstration_and_its_atlas(home: Path, chest_dicom: Path) -> None:
    config = Config(home, passages=0, atlas_cases=5)
    app = ClinicScreen(config, unforeseen)
    async with app.run_test(size=(120, 50)) as pilot:
        await steps(f"={chest_dicom}", "enter")(pilot)
        assert isinstance(app.screen, ConsultScreen) and app.screen.shown is not None
        answer = app.screen.shown.answer
        assert len(answer["atlas"]["cases"]) == 5
        await steps("l")(pilot)
        assert isinstance(app.screen, AtlasScreen)
        nearest = ranked(app)
        assert nearest == [case["case_id"] for case in answer["atlas"]["cases"]]
        assert "This atlas carries no pictures" in text_of(app) and "CC BY 4.0" in text_of(app)
        await steps("d")(pilot)
        described = ranked(app)
        await steps("slash", "=normal chest radiograph", "enter")(pilot)
        by_words = ranked(app)
        assert "normal chest" in text_of(app)
        await steps("c", "enter", "=normal", "enter", "=bacterial pneumonia", "enter")(pilot)
        both = ranked(app)
    with read_audit(config) as log:
        assert log.verify().fault is None
        done = {e.kind: e.body for e in log.entries() if e.kind.startswith("atlas.")}
        marks = {str(e.body["image"]) for e in log.entries() if "image" in e.body}
    assert done["atlas.similar.done"]["cases"] == nearest
    assert [*done["atlas.describe.done"]["cases"], *done["atlas.describe.done"]["second"]] == (
        described
    )
    assert done["atlas.find.done"]["cases"] == by_words
    contrasted = done["atlas.contrast.done"]
    pairs = zip(contrasted["cases"], contrasted["changed"], strict=True)
    assert [case_id for pair in pairs for case_id in pair] == both
    assert len(marks) == 1, "the consultation's picture is the one that was looked for"


async def test_who_may_read_no_case_is_offered_none_of_their_pictures(home: Path) -> None:
    users_home(home)
    app = atlas_clinic(home, access="users")
    async with app.run_test() as pilot:
        await steps("=ali", "enter", f"={SECRET}", "enter", *ASK, "f7", "o")(pilot)
        assert "eye left" in text_of(app)
        await steps("escape", "ctrl+l")(pilot)
        own = ("=a secret of hers", "enter", "=a secret of hers", "enter")
        await steps("=aisyah", "enter", "=the first secret", "enter", *own, "f7", "o")(pilot)
        assert list(app.rooms()) == ["guidelines", "status", "atlas"]
        assert "Choose a picture" in text_of(app) and "eye left" not in text_of(app)


@pytest.fixture
def drawn_atlas(tmp_path: Path) -> Path:
    """The demonstration's atlas, with a drawing for each of its chest radiographs."""
    files = read_atlas(BUILT_IN)
    folder = tmp_path / "drawn"
    shutil.copytree(BUILT_IN, folder)
    drawing = draw("chest", 0, 160)
    Image.frombytes("RGB", (160, 160), drawing.rgb).save(folder / PICTURES, "JPEG")
    size_bytes = (folder / PICTURES).stat().st_size
    cases = [
        replace(case, picture_bytes=size_bytes) if case.domain == "chest" else case
        for case in read_cases(files)
    ]
    lines = [json.dumps(asdict(case)) + "\n" for case in cases]
    (folder / CASES).write_text("".join(lines), encoding="utf-8")
    sources = {source.name: source for source in files.card.sources}
    kept = ("name", "cases_by_label", "least_cosine", "dimensions")
    said = {key: files.manifest[key] for key in kept}
    write_atlas_manifest(folder, files.tower, sources, said)
    return folder


async def test_an_atlas_that_was_added_shows_the_pictures_that_it_carries(
    home: Path, chest_dicom: Path, drawn_atlas: Path
) -> None:
    config = Config(home, passages=0)
    add_atlas(config, drawn_atlas)
    app = ClinicScreen(config, unforeseen)
    async with app.run_test() as pilot:
        await steps("f7", "o", f"={chest_dicom}", "enter")(pilot)
        pictures = [view.pixels for view in app.screen.query_one("#found").query(PictureView)]
        assert len(pictures) == 5 and all(each and each.size == 160 for each in pictures)
        await steps("enter")(pilot)
        assert isinstance(app.screen, AtlasCaseScreen)
        own, case = app.screen.query(PictureView)
        assert own.pixels is not None and case.pixels == pictures[0]


async def test_who_is_signed_in_is_told_where_the_rooms_leave_little_room(home: Path) -> None:
    users_home(home)
    app = atlas_clinic(home, access="users", language="ms")
    async with app.run_test() as pilot:
        await steps("=ali", "enter", f"={SECRET}", "enter")(pilot)
        assert text_of(app).splitlines()[0].rstrip().endswith(" ali")
