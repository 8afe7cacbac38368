"""The worklist at work: names that are used again, what was cleared, what nobody foresaw."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from stand_ins import OneImage

from appliance.config import Config
from appliance.core.ports import Picture
from appliance.edges.worklist_file import WorklistFile
from tests.tui.clinic import Log, answering, clinic, coarse, settled, steps
from tests.tui.test_screen import kinds, text_of
from tests.tui.test_snapshots import BLANK

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path, drawings: Path) -> Path:
    """A device's own, with one picture in it."""
    folder = tmp_path / "camera"
    folder.mkdir()
    put(folder / "photo.png", drawings / "chest-0.png", 1000)
    return folder


def put(path: Path, picture: Path, written_s: int) -> None:
    path.write_bytes(picture.read_bytes())
    os.utime(path, (written_s, written_s))


async def test_a_name_that_is_used_again_is_another_picture(
    home: Path, folder: Path, drawings: Path
) -> None:
    log = Log()
    app = clinic(home, log=log, watch_folder=str(folder))
    async with app.run_test() as pilot:
        await steps("f3", "g")(pilot)
        assert not app.worklist.left
        await app.worklist.look_again()
        assert not app.worklist.left, "the same file is the same picture"
        put(folder / "photo.png", drawings / "chest-1.png", 2000)
        await app.worklist.look_again()
        await settled(pilot)
        assert len(app.worklist.left) == 1 and "1 of 2" in text_of(app)
        put(folder / "photo.png", drawings / "chest-2.png", 3000)
        await app.worklist.look_again()
        assert len(app.worklist.worklist.items) == 2, "one that nobody read is gone"
        await steps("g")(pilot)
        await app.worklist.look_again()
        assert not app.worklist.left
    assert kinds(log).count("caption.answered") == 2


async def test_what_was_cleared_does_not_come_back_from_the_watched_folder(
    home: Path, folder: Path, drawings: Path
) -> None:
    for _ in range(2):  # the program is started anew
        app = clinic(home, log=(log := Log()), watch_folder=str(folder))
        async with app.run_test() as pilot:
            await steps("f3", "g", "c")(pilot)
            await app.worklist.look_again()
            assert not app.worklist.worklist.items
    assert "caption.answered" not in kinds(log), "it was read once"
    with WorklistFile(Config(home).worklist_folder) as file:
        assert "photo" not in repr(file.load())
    app = clinic(home, watch_folder=str(folder))
    async with app.run_test() as pilot:
        await steps("f3")(pilot)
        put(folder / "photo.png", drawings / "chest-1.png", 2000)
        await app.worklist.look_again()
        assert len(app.worklist.left) == 1, "another picture"


async def test_what_was_cleared_is_read_again_when_a_person_adds_it(
    home: Path, folder: Path
) -> None:
    app = clinic(home)
    async with app.run_test() as pilot:
        await settled(pilot)
        for _ in range(2):
            app.add_to_worklist([str(folder)])
            await settled(pilot)
            assert len(app.worklist.left) == 1
            await steps("g", "c")(pilot)


async def test_a_list_kept_by_an_earlier_version_reads_nothing_twice(
    home: Path, folder: Path
) -> None:
    log = Log()
    app = clinic(home, log=log, watch_folder=str(folder))
    async with app.run_test() as pilot:
        await steps("f3", "g")(pilot)
    with WorklistFile(Config(home).worklist_folder) as file:
        worklist = file.load()
        items = tuple(replace(item, mark="") for item in worklist.items)
        file.save(replace(worklist, items=items))
    again = clinic(home, log=log, watch_folder=str(folder))
    async with again.run_test() as pilot:
        await steps("f3")(pilot)
        assert not again.worklist.left
        await steps("c")(pilot)
        await again.worklist.look_again()
        assert not again.worklist.worklist.items


class Refused(OneImage):
    """Fails as nobody foresaw with pictures of one name."""

    def open(self, path: str, size: int) -> Picture:
        if Path(path).name == "chest-0.png":
            raise ZeroDivisionError
        return super().open(path, size)


async def test_what_nobody_foresaw_of_one_picture_does_not_hold_up_the_rest(
    home: Path, drawings: Path
) -> None:
    log = Log()
    app = clinic(home, replace(answering(), images=Refused(coarse("skin"))), log)
    async with app.run_test() as pilot:
        await settled(pilot)
        app.add_to_worklist([str(drawings / f"chest-{n}.png") for n in range(3)])
        await steps("g")(pilot)
        assert not app.worklist.left and "something unforeseen" in text_of(app)
        [failed] = [each for each in app.worklist.done.values() if each.error]
        assert failed.error == "unforeseen" and failed.seq
    assert kinds(log).count("caption.answered") == 3


async def test_one_that_became_a_folder_is_asked_again_as_itself(
    home: Path, tmp_path: Path, drawings: Path
) -> None:
    blank = tmp_path / "blank.png"
    blank.touch()
    refused = replace(answering(), images=OneImage(error=BLANK))
    app = clinic(home, refused)
    async with app.run_test() as pilot:
        await settled(pilot)
        app.add_to_worklist([str(blank)])
        await steps("g")(pilot)
        blank.unlink()
        blank.mkdir()
        for name in ("chest-0.png", "chest-1.png"):
            put(blank / name, drawings / name, 1000)
        await steps("r")(pilot)
        assert [item.path for item in app.worklist.left] == [str(blank)]
