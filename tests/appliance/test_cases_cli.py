"""`appliance cases`, as a person runs it: real pictures, the real release, the real log."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stand_ins import CAPTION, CARD, OneReading, Shelf, ports

from appliance.cli.main import run
from appliance.core.cases import Wanted
from appliance.core.consult import Ports, consult
from appliance.core.decision import UNMEASURED
from appliance.core.ports import Passage
from appliance.core.query import GuidelineQuery
from appliance.edges.audit_reader import AuditReader
from appliance.edges.case_store import CASES_FILE, CaseStore
from appliance.errors import ApplianceError, CaseError, GuidelineError


class Failing(Shelf):
    """Guidelines that cannot be read."""

    def find(self, query: GuidelineQuery, k: int) -> list[Passage]:
        raise GuidelineError("the index is damaged", "rebuild it")


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def case_id(chest_dicom: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Of a radiograph that was captioned."""
    assert run(["caption", "--json", "--no-lookup", str(chest_dicom)]) == 0
    [answer] = printed(capsys)
    return str(answer["case"])


def kept(home: Path, consulting: Ports) -> str:
    """The case of a consultation on stand-ins."""
    with CaseStore(home / "cases") as store:
        result = consult("x.png", replace(consulting, cases=store), k=2)
    assert result.case_id is not None
    return result.case_id


def kinds(home: Path) -> list[str]:
    with AuditReader(home / "log") as log:
        return [entry.kind for entry in log.entries()]


def test_a_captioned_picture_is_listed_and_shown_with_its_picture(
    case_id: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cases", "list", "--json", "--domain", "chest", "--text", "RG1"]) == 0
    [listed] = printed(capsys)
    assert listed["case"] == case_id and listed["verdict"] is None
    assert run(["cases", "list", "--json", "--domain", "skin"]) == 0 and printed(capsys) == []
    assert run(["cases", "note", case_id, "--reference", "R-12", "--note", "ask again"]) == 0
    out = tmp_path / "out.png"
    assert run(["cases", "show", case_id, "--picture", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "R-12" in shown and "ask again" in shown and f"entry {listed['audit']['seq']}" in shown
    assert out.read_bytes().startswith(b"\x89PNG") and out.stat().st_mode & 0o077 == 0
    assert run(["cases", "show", case_id, "--picture", str(out)]) == 2, "it is there already"
    assert run(["cases", "show", "00" * 8]) == 1
    assert {"case.list.done", "case.annotate.done", "case.read.done", "case.read.failed"} <= set(
        kinds(home)
    )


def test_a_case_is_judged_and_read_again(case_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cases", "judge", case_id, "correct"]) == 2, "it says what is otherwise"
    assert run(["cases", "judge", case_id, "accept", "--label", "normal chest"]) == 2
    assert run(["cases", "judge", case_id, "correct", "--label", "a broken leg"]) == 2
    assert run(["cases", "judge", case_id, "correct", "--caption", "{"]) == 2
    corrected = '{"label": "normal chest", "key_findings": "clear lungs"}'
    assert run(["cases", "judge", case_id, "correct", "--caption", corrected]) == 0
    capsys.readouterr()
    assert run(["cases", "show", case_id, "--json"]) == 0
    [case] = printed(capsys)
    assert case["verdict"] == "corrected" and case["corrected"]["key_findings"] == "clear lungs"
    assert run(["cases", "again", case_id, "--json"]) == 0
    [again] = printed(capsys)
    assert again["same"] is True and again["largest_difference"] <= 1e-4


@pytest.mark.parametrize("ending", ["abstained", "failed"])
def test_a_caption_that_was_not_shown_is_neither_told_nor_judged(
    home: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    unsure = OneReading(scores=(-1.0, -1.0, -1.0, -1.0))
    consulting = ports(captioner=unsure) if ending == "abstained" else ports(guidelines=Failing())
    case_id = kept(home, consulting)
    assert run(["cases", "show", case_id]) == 0
    shown = capsys.readouterr().out
    assert "melanoma" not in shown and CAPTION.key_findings not in shown
    assert ("abstain" if ending == "abstained" else "failed: guideline") in shown
    assert run(["cases", "list"]) == 0 and "melanoma" not in capsys.readouterr().out
    assert run(["cases", "list", "--json"]) == 0 and printed(capsys)[0]["label"] is None
    for verdict in ("accept", "reject"):
        assert run(["cases", "judge", case_id, verdict]) == CaseError.exit_code
    assert "no caption to judge" in capsys.readouterr().err
    assert run(["cases", "list", "--decision", "label"]) == 0 and not capsys.readouterr().out


def test_the_words_of_an_unmeasured_release_are_told_as_such(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captioner = OneReading()
    captioner.release = replace(CARD, calibration=UNMEASURED)
    case_id = kept(home, ports(captioner=captioner))
    assert run(["cases", "show", case_id]) == 0
    shown = capsys.readouterr().out
    assert "NOT MEASURED HERE, for trial only" in shown and CAPTION.key_findings in shown
    assert run(["cases", "judge", case_id, "accept"]) == 0


def test_a_purge_forgets_the_case_and_leaves_the_record(case_id: str, home: Path) -> None:
    assert run(["cases", "purge", "--before", "2001-01-01", "--yes"]) == 0
    assert run(["cases", "show", case_id]) == 0
    assert run(["cases", "purge", "--before", "2999-01-01", "--yes"]) == 0
    assert run(["cases", "show", case_id]) == 1
    with AuditReader(home / "log") as log:
        purges = [entry.body for entry in log.entries() if entry.kind == "case.purge.done"]
        captions = [entry.body for entry in log.entries() if entry.kind == "caption.answered"]
        assert log.verify().fault is None
    assert [purge["count"] for purge in purges] == [0, 1]
    assert [caption["case"] for caption in captions] == [case_id]


def test_old_cases_are_purged_by_themselves_and_recorded(case_id: str, home: Path) -> None:
    database = sqlite3.connect(home / "cases" / CASES_FILE)
    with database:
        database.execute("UPDATE kept SET at = '2020-01-01T00:00:00.000+00:00'")
        database.execute("UPDATE retention SET day = date('now', '-1 day')")
    database.close()
    assert run(["cases", "list"]) == 0
    with CaseStore(home / "cases") as store:
        assert store.find(Wanted()) == [] and store.get(case_id) is None
    with AuditReader(home / "log") as log:
        [purge] = [entry.body for entry in log.entries() if entry.kind == "case.purge.done"]
    assert purge["count"] == 1
    assert run(["cases", "list"]) == 0
    assert kinds(home).count("case.purge.done") == 1


def test_with_no_days_nothing_is_kept_and_what_was_is_forgotten(
    case_id: str,
    home: Path,
    chest_dicom: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("APPLIANCE_KEEP_CASES_DAYS", "0")
    assert run(["caption", "--json", "--no-lookup", str(chest_dicom)]) == 0
    assert printed(capsys)[0]["case"] is None
    with CaseStore(home / "cases") as store:
        assert store.get(case_id) is None and store.count() == 0


def test_a_damaged_store_is_said_and_stops_no_caption(
    case_id: str, home: Path, chest_dicom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "cases" / "cases.db").write_bytes(b"damaged" * 4000)
    assert run(["cases", "list"]) == ApplianceError.exit_code
    assert "kept cases cannot be opened" in capsys.readouterr().err
    assert run(["caption", "--json", "--no-lookup", str(chest_dicom)]) == 0
    [answer] = printed(capsys)
    assert answer["case"] is None and "not kept as a case" in answer["limits"][-1]
    assert answer["audit"] is not None and case_id


def test_whole_cases_are_exported_to_a_new_folder(
    case_id: str, tmp_path: Path, chest_dicom: Path
) -> None:
    out = tmp_path / "out"
    assert run(["cases", "export", str(out), "--domain", "chest"]) == 0
    [line] = (out / "cases.jsonl").read_text().splitlines()
    assert json.loads(line)["answer"]["image"]["path"] == str(chest_dicom)
    assert (out / "images" / f"{case_id}.png").exists()
    assert all(path.stat().st_mode & 0o077 == 0 for path in (out, *out.rglob("*")))
    assert run(["cases", "export", str(out)]) == 2
