"""Identifiers planted in tags, file names, EXIF, notes and references stay in the case store."""

import io
import json
import sqlite3
from pathlib import Path

import pytest
from test_audit_privacy import CANARY, found_in, planted

from appliance.cli.faults import keep_fault
from appliance.cli.main import run
from appliance.edges.case_store import CASES_FILE


@pytest.mark.slow
def test_planted_identifiers_stay_in_the_case_store(
    chest_dicom: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert run(["guidelines", "add", "--sample"]) == 0
    pictures = planted(chest_dicom, tmp_path / f"patient {CANARY}")
    capsys.readouterr()
    assert run(["caption", "--json", "--no-lookup", *pictures]) == 1
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    answered = [answer["case"] for answer in answers if answer["caption"]]
    assert answered
    for case_id in answered:
        given = ["--reference", f"R-{CANARY}", "--note", f"of {CANARY}"]
        assert run(["cases", "note", case_id, *given]) == 0
        assert run(["cases", "judge", case_id, "accept"]) == 0
        assert run(["cases", "again", case_id]) == 0
    assert run(["cases", "list", "--text", CANARY]) == 0
    assert run(["cases", "note", f"case of {CANARY}", "--note", CANARY]) == 1
    assert run(["config", "set", "watch_folder", f"/patients/{CANARY}"]) == 0
    assert run(["config", "set", f"folder-of-{CANARY}", "x"]) == 2
    assert run(["cases", "corrections", str(out)]) == 0
    for form in ("jsonl", "csv", "fhir"):
        assert run(["audit", "export", "--format", form, str(out / form)]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("five plain words here\n"))
    assert run(["backup", str(out)]) == 0
    assert run(["doctor"]) == 0
    try:
        Path(f"/patients/{CANARY}.png").read_bytes()
    except OSError:
        keep_fault()

    places = (home / "log", home / "index", home / "kept", out)
    for folder in places:
        assert folder.is_dir() and found_in(folder) == [], folder
    for path in out.rglob("*"):
        assert CANARY not in path.name
    faults = (home / "faults.log").read_text()
    assert CANARY not in faults and "FileNotFoundError 2" in faults and "read_bytes" in faults
    assert found_in(home / "cases") == [CASES_FILE], "the search would have found it"

    assert run(["cases", "purge", "--before", "2999-01-01", "--yes"]) == 0
    assert found_in(home / "cases") == []
    database = sqlite3.connect(home / "cases" / CASES_FILE)
    assert database.execute("SELECT count(*) FROM picture").fetchone() == (0,)
    database.close()
