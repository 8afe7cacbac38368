"""The worklist: what is left by the log, in which order, and the file that keeps it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from stand_ins import MemoryLog

from appliance.core.worklist import Item, NamedLog, Worklist, outcomes, usual_s
from appliance.edges.worklist_file import NAME, WorklistFile, new_items, settled
from appliance.errors import ConfigError
from appliance.wiring import settled_items, worklist_items

DECISION = {"kind": "set", "labels": ["a", "b"], "reason": "", "risk": 0.1}


def listed(*paths: str) -> Worklist:
    return Worklist().with_pictures(new_items(paths))


def answered(log: MemoryLog, item_id: str, error: str | None = None) -> None:
    body = {"error": error, "decision": None if error else DECISION, "case": "c" * 16}
    NamedLog(log, item_id).append("caption.asked", {})
    NamedLog(log, item_id).append("caption.answered", body)


def test_what_the_log_has_an_answer_to_is_done() -> None:
    log, worklist = MemoryLog(), listed("/1", "/2", "/3", "/4")
    first, second, third, fourth = (item.item_id for item in worklist.items)
    answered(log, first)
    answered(log, second, error="image-blank")
    answered(log, third, error="model-cancelled")
    NamedLog(log, fourth).append("caption.asked", {})
    done = outcomes(log.entries, worklist)
    assert set(done) == {first, second}
    assert (done[first].decision, done[first].labels, done[first].seq) == ("set", ("a", "b"), 2)
    assert (done[second].decision, done[second].error) == ("refused", "image-blank")
    assert [item.path for item in worklist.left(done)] == ["/3", "/4"], "stopped and killed"


def test_an_entry_names_an_item_at_random_and_no_path() -> None:
    log, worklist = MemoryLog(), listed("/patients/Siti/eye.png")
    answered(log, worklist.items[0].item_id)
    assert "Siti" not in repr(log.entries) and "eye" not in repr(log.entries)


def test_a_home_of_nobody_is_a_path_like_another() -> None:
    """What is not there is told where it is opened."""
    assert [item.path for item in worklist_items(["~nosuchuser/x"])] == [
        str(Path("~nosuchuser/x").absolute())
    ]
    assert settled_items("~nosuchuser/x", 0.0) == []


def test_the_urgent_come_first_and_the_skipped_not_at_all() -> None:
    worklist = listed("/1", "/2", "/3")
    worklist = worklist.changed(worklist.items[2].item_id, is_urgent=True)
    worklist = worklist.changed(worklist.items[0].item_id, is_skipped=True)
    assert [item.path for item in worklist.left({})] == ["/3", "/2"]


def test_a_picture_is_listed_once() -> None:
    worklist = listed("/1").with_pictures(new_items(["/1", "/2"]))
    assert [item.path for item in worklist.items] == ["/1", "/2"]


def test_the_time_left_is_told_from_the_last_ones() -> None:
    assert usual_s([]) is None
    assert usual_s([100.0, *([2.0] * 9)]) == 2.0


def test_a_list_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    worklist = listed("/1", "/2")
    with WorklistFile(tmp_path / "w") as file:
        assert file.load() == Worklist()
        file.save(worklist)
    with WorklistFile(tmp_path / "w") as file:
        assert file.load() == worklist
    kept = tmp_path / "w" / NAME
    assert kept.stat().st_mode & 0o777 == 0o600 and kept.parent.stat().st_mode & 0o777 == 0o700


def test_two_programs_do_not_work_on_one_list(tmp_path: Path) -> None:
    with WorklistFile(tmp_path), pytest.raises(ConfigError, match="another program"):
        WorklistFile(tmp_path)


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"items": [{"path": "/1"}]}', '{"items": 3}'])
def test_a_damaged_list_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text, encoding="utf-8")
    with WorklistFile(tmp_path) as file, pytest.raises(ConfigError, match="cannot be read") as told:
        file.load()
    assert str(tmp_path / NAME) in told.value.message and "remove the file" in told.value.hint


def test_a_file_that_is_still_being_written_is_not_settled(tmp_path: Path) -> None:
    picture = tmp_path / "1.png"
    picture.touch()
    assert settled([str(picture)], 60) == []
    assert settled([str(picture), str(tmp_path / "gone")], 0) == [
        str(picture),
        str(tmp_path / "gone"),
    ]


def test_a_file_that_was_written_anew_is_another_picture(tmp_path: Path) -> None:
    picture = tmp_path / "photo.png"
    picture.write_bytes(b"one")
    worklist = listed(str(picture))
    [first] = worklist.items
    assert worklist.with_pictures(new_items([str(picture)])) == worklist
    picture.write_bytes(b"another")
    anew = new_items([str(picture)])
    [unread] = worklist.with_pictures(anew).items
    assert unread == replace(first, mark=anew[0].mark), "nobody read the one before"
    assert worklist.with_pictures(anew, {first.item_id}).items == (first, *anew)
    skipped = worklist.changed(first.item_id, is_skipped=True)
    assert skipped.with_pictures(anew).left({}) == tuple(anew), "that was another's"


def test_what_is_cleared_is_remembered_without_its_name(tmp_path: Path) -> None:
    picture = tmp_path / "Siti.png"
    picture.touch()
    worklist = listed(str(picture), "/2")
    left = worklist.without({worklist.items[0].item_id})
    assert [item.path for item in left.items] == ["/2"]
    assert left.cleared == (worklist.items[0].mark,) and "Siti" not in repr(left)
    with WorklistFile(tmp_path / "w") as file:
        file.save(left)
        assert file.load() == left


def test_a_list_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    old = {"item_id": "0" * 16, "path": "/1", "is_urgent": True, "is_skipped": False}
    text = json.dumps({"items": [old], "since": 3, "is_paused": False})
    (tmp_path / NAME).write_text(text, encoding="utf-8")
    with WorklistFile(tmp_path) as file:
        [item] = file.load().items
    assert item == Item("0" * 16, "/1", "", is_urgent=True)
