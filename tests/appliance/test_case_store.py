"""The case store: what is kept of a consultation, and that what is forgotten is gone."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from stand_ins import CAPTION, LABELS, SPECKLED, MemoryLog, OneImage, ports

from appliance.core.caption import caption_json
from appliance.core.cases import Case, Wanted
from appliance.core.casework import (
    annotate_case,
    impress_case,
    judge_case,
    open_case,
    read_again,
)
from appliance.core.consult import Consultation, consult
from appliance.core.entry import Moment, entry_text, read_entry
from appliance.core.ports import Reading
from appliance.edges.case_store import CASES_FILE, CaseStore, UnopenedCases
from appliance.errors import AuditError, CaseError, ConfigError, ImageError

PATH = "/patients/Aminah binti Yusof/left arm.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cases"


def consulted(
    store: Any, path: str = PATH, audit: MemoryLog | None = None, images: OneImage | None = None
) -> Consultation:
    return consult(path, replace(ports(audit=audit, images=images), cases=store), k=0)


def test_a_consultation_is_kept_whole_and_named_in_its_entry(folder: Path) -> None:
    audit = MemoryLog()
    with CaseStore(folder) as store:
        result = consulted(store, audit=audit)
    assert result.entry is not None and result.case_id is not None
    assert result.entry.body["case"] == result.case_id
    with CaseStore(folder) as store:
        [case] = store.find(Wanted())
        assert store.pixels(case.case_id) == SPECKLED
    assert case.case_id == result.case_id and case.size == 4
    assert case.at == audit.entries[0].at, "when it was asked"
    assert case.answer["image"]["path"] == PATH
    assert case.answer["caption"]["label"] == "melanoma"
    assert case.answer["audit"] == {"seq": result.entry.seq, "hash": result.entry.hash}
    assert PATH not in repr(audit.entries)


def test_a_file_whose_name_is_no_text_is_kept_and_found(folder: Path) -> None:
    name = os.fsdecode(b"/eyes/left \xff.png")
    with CaseStore(folder) as store:
        assert consulted(store, name).case_id
        [case] = store.find(Wanted(text="LEFT"))
    assert case.answer["image"]["path"] == name


def test_only_the_owner_may_read_it(folder: Path) -> None:
    with CaseStore(folder) as store:
        consulted(store)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_refused_picture_is_a_case_without_pixels(folder: Path) -> None:
    images = OneImage(error=ImageError("no such image", "check", code="image-missing"))
    with CaseStore(folder) as store:
        result = consulted(store, images=images)
        [case] = store.find(Wanted(decision="refused"))
        assert result.case_id == case.case_id
        assert (case.size, store.pixels(case.case_id)) == (0, None)
        with pytest.raises(CaseError, match="has no caption"):
            judge_case(store, MemoryLog(), LABELS, case.case_id, "accepted")


def test_nobody_is_shown_a_case_without_its_entry(folder: Path) -> None:
    with CaseStore(folder) as store:
        with pytest.raises(AuditError):
            consulted(store, audit=FullAtTheEnd())
        assert store.find(Wanted()) == []
        database = sqlite3.connect(folder / CASES_FILE)
        [(case_id,)] = database.execute("SELECT case_id FROM kept")
        assert store.get(case_id) is None and store.png(case_id) is None
    with CaseStore(folder):
        pass
    for table in ("kept", "picture"):
        assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    database.close()


def test_a_case_in_the_making_is_left_to_the_process_that_makes_it(folder: Path) -> None:
    making = (
        "import sys, time\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from stand_ins import MemoryLog, ports\n"
        "from appliance.core.answer import answer_json\n"
        "from appliance.core.consult import consult\n"
        "from appliance.edges.case_store import CaseStore\n"
        "store = CaseStore(Path(sys.argv[1]))\n"
        "answer = answer_json(consult('x.png', ports(), 0))\n"
        "case = store.keep(MemoryLog().append('caption.asked', {}), answer, None)\n"
        "print(case.case_id, flush=True)\n"
        "time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", making, folder, Path(__file__).parent],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert child.stdout is not None
    case_id = child.stdout.readline().strip()
    with CaseStore(folder) as store:
        store.prove(case_id, 7, "ab" * 32)  # it was not removed
        assert store.get(case_id) is not None
    child.send_signal(signal.SIGKILL)
    child.communicate()


def test_a_store_that_fails_stops_no_consultation(folder: Path) -> None:
    folder.mkdir()
    (folder / CASES_FILE).write_bytes(b"no database at all" * 300)
    with pytest.raises(CaseError) as caught:
        CaseStore(folder)
    audit = MemoryLog()
    result = consulted(UnopenedCases(caught.value), audit=audit)
    assert result.caption == CAPTION and result.case_id is None
    assert "not kept as a case" in result.limits[-1]
    assert audit.entries[-1].body["case"] is None


def test_cases_are_found_by_what_is_known_of_them(folder: Path) -> None:
    with CaseStore(folder) as store:
        for day, user, path in (
            (1, "amin", "/a/Ward 3/one.png"),
            (2, "amin", "/a/two.png"),
            (3, "lim", "/b/three_3.png"),
        ):
            log = DatedLog(f"2026-01-0{day}T08:00:00.000+00:00", user)
            consulted(store, path, audit=log)
        newest, middle, oldest = store.find(Wanted())
        assert newest.at > middle.at > oldest.at and newest.user == "lim"
        store.annotate(middle.case_id, reference="R-77", note="50% better_now")
        store.judge(newest.case_id, "accepted")

        def found(**wanted: Any) -> list[str]:
            return [case.case_id for case in store.find(Wanted(**wanted))]

        assert found(user="amin") == [middle.case_id, oldest.case_id]
        assert found(since=middle.at) == [newest.case_id, middle.case_id]
        assert found(until=middle.at) == [oldest.case_id]
        assert found(text="ward 3") == [oldest.case_id]
        assert found(text="r-77") == found(text="50% better_now") == [middle.case_id]
        assert found(text="50%b") == found(text="three%3") == []
        assert len(found(text="MELANOMA")) == len(found(domain="skin", decision="label")) == 3
        assert found(domain="chest") == found(decision="set") == []
        assert len(store.find(Wanted(), limit=2)) == 2


class FullAtTheEnd(MemoryLog):
    """A log in memory that takes everything but the answer."""

    def append(self, kind: str, body: Any) -> Any:
        if kind == "caption.answered":
            raise AuditError("the audit log cannot be written", "free disk space")
        return super().append(kind, body)


class DatedLog(MemoryLog):
    """A log in memory whose entries are of one time and user."""

    def __init__(self, at: str, user: str) -> None:
        super().__init__()
        self.at, self.user = at, user

    def append(self, kind: str, body: Any) -> Any:
        text = entry_text(len(self.entries) + 1, Moment(self.at, "", 0), "", self.user, kind, body)
        self.entries.append(read_entry(text))
        return self.entries[-1]


def test_purged_bytes_are_not_in_the_file(folder: Path) -> None:
    marked = bytes(range(48))
    with CaseStore(folder) as store:
        for day, path, note in (
            (1, "/x/Zulkifli.png", "NoteOfZulkifli"),
            (2, "/x/Fatimah.png", "kept"),
        ):
            log = DatedLog(f"2026-01-0{day}T00:00:00.000+00:00", "")
            result = consulted(store, path, log, OneImage(marked if day == 1 else SPECKLED))
            assert result.case_id is not None
            store.annotate(result.case_id, reference="", note=note)
        content = (folder / CASES_FILE).read_bytes()
        png = store.png(store.find(Wanted())[1].case_id)
        assert png is not None and png[-60:-12] in content and b"Zulkifli" in content
        size = len(content)
        assert store.purge("2026-01-02T00:00:00.000+00:00") == 1
        assert [case.note for case in store.find(Wanted())] == ["kept"]
    content = (folder / CASES_FILE).read_bytes()
    assert b"Zulkifli" not in content and png[-60:-12] not in content
    assert b"Fatimah" in content and len(content) <= size


def test_a_purge_is_due_once_a_day_and_by_the_age(folder: Path) -> None:
    today = datetime(2026, 6, 1, 12, tzinfo=UTC)
    with CaseStore(folder) as store:
        assert store.due(today, 365) is None, "there is nothing"
        consulted(store, audit=DatedLog("2026-01-01T00:00:00.000+00:00", ""))
        assert store.due(today, 365) is None, "it was looked at today"
        tomorrow = today.replace(day=2)
        assert store.due(tomorrow, 365) is None, "it is not so old"
        assert store.due(today.replace(day=3), 30) == "2026-05-04T12:00:00.000+00:00"
        store.looked(today.replace(day=3))
        assert store.due(today.replace(day=3), 30) is None
        assert store.due(today.replace(day=3), 0) is not None, "none is to be kept"


def test_a_clock_that_jumped_ahead_forgets_nothing_on_its_first_day(folder: Path) -> None:
    today = datetime(2026, 6, 1, 12, tzinfo=UTC)
    with CaseStore(folder) as store:
        store.looked(today)
        consulted(store, audit=DatedLog("2026-06-01T00:00:00.000+00:00", ""))
        wrong = today.replace(year=2036)
        assert store.due(wrong, 365) is None
        assert store.due(today, 365) is None, "it was set right"
        assert store.due(wrong, 365) is None and store.due(wrong.replace(day=2), 365) is not None


def judged(folder: Path, *given: Any) -> tuple[MemoryLog, Case]:
    audit = MemoryLog()
    with CaseStore(folder) as store:
        case_id = consulted(store).case_id
        assert case_id is not None
        judge_case(store, audit, LABELS, case_id, *given)
        return audit, open_case(store, audit, case_id)


def test_a_correction_is_kept_whole_and_recorded_by_its_label(folder: Path) -> None:
    audit, case = judged(folder, "corrected", {"label": "melanocytic nevus"})
    assert case.verdict == "corrected" and case.corrected is not None
    assert case.corrected == {**case.answer["caption"], "label": "melanocytic nevus"}
    body = {"case": case.case_id, "verdict": "corrected", "label": "melanocytic nevus"}
    assert audit.entries[1].kind == "case.judge.done" and audit.entries[1].body == body
    assert [entry.kind for entry in audit.entries[2:]] == ["case.read.asked", "case.read.done"]


@pytest.mark.parametrize(
    "corrected",
    [
        {"label": "a rash"},
        {"key_findings": " "},
        {"key_findings": "x" * 400},
        {"finding": "x"},
        {},
        {"label": "melanoma"},
    ],
)
def test_what_is_no_caption_is_no_correction(folder: Path, corrected: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        judged(folder, "corrected", corrected)


def test_notes_and_references_are_never_recorded(folder: Path) -> None:
    audit = MemoryLog()
    with CaseStore(folder) as store:
        case_id = consulted(store).case_id
        assert case_id is not None
        annotate_case(store, audit, case_id, reference="R-77", note="of Aminah")
        annotate_case(store, audit, case_id, note="of Aminah, again")
        impress_case(store, audit, case_id, "melanoma")
        case = open_case(store, audit, case_id)
    assert (case.reference, case.note) == ("R-77", "of Aminah, again")
    assert case.impression == "melanoma"
    written = repr(audit.entries)
    assert "Aminah" not in written and "R-77" not in written and case_id in written
    with CaseStore(folder) as store, pytest.raises(CaseError, match="no case"):
        annotate_case(store, audit, "00" * 8, note="x")


def test_the_same_release_says_the_same_of_the_kept_pixels(folder: Path) -> None:
    audit, captioner = MemoryLog(), ports().captioner
    with CaseStore(folder) as store:
        case_id = consulted(store).case_id
        assert case_id is not None
        assert read_again(store, audit, captioner, case_id).is_same
        captioner.reading = Reading(caption_json(CAPTION), (-0.1, -2.9, -9.0, -9.0))  # type: ignore[attr-defined]
        again = read_again(store, audit, captioner, case_id)
        assert again.is_same_text and not again.is_same
        other = replace(CAPTION, label="melanocytic nevus")
        captioner.reading = Reading(caption_json(other), (-0.1, -3.0, -9.0, -9.0))  # type: ignore[attr-defined]
        assert not read_again(store, audit, captioner, case_id).is_same_text
        captioner.release = replace(captioner.release, sha256="00" * 32)  # type: ignore[misc]
        with pytest.raises(CaseError, match="another release"):
            read_again(store, audit, captioner, case_id)
    done = [entry.body["same"] for entry in audit.entries if entry.kind == "case.again.done"]
    assert done == [True, False, False]


def test_a_damaged_picture_is_said(folder: Path) -> None:
    with CaseStore(folder) as store:
        case_id = consulted(store).case_id
        assert case_id is not None
        database = sqlite3.connect(folder / CASES_FILE)
        with database:
            database.execute("UPDATE picture SET png = x'89504e470d0a1a0a00'")
        database.close()
        with pytest.raises(CaseError, match="damaged"):
            store.pixels(case_id)
        assert json.dumps(store.find(Wanted())[0].answer)
