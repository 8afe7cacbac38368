"""Identifiers planted in pictures, paths and questions: none may be in the log or its exports."""

import io
import shutil
from pathlib import Path

import pydicom
import pytest
from PIL import Image

from appliance.cli.main import run
from appliance.edges import clock
from appliance.edges.audit_db import AuditDatabase

CANARY = "ZulkifliQ7719"
DATE_CANARY = "19470813"


def planted(chest_dicom: Path, folder: Path) -> list[str]:
    """A DICOM file, a photograph and a file that is neither, full of a patient."""
    folder.mkdir()
    dicom = pydicom.dcmread(chest_dicom)
    dicom.PatientName = f"{CANARY}^BIN^ALI"
    dicom.PatientID = dicom.AccessionNumber = CANARY
    dicom.PatientBirthDate = DATE_CANARY
    dicom.StudyDescription = dicom.InstitutionName = f"chest of {CANARY}"
    dicom.add_new(0x00091010, "LO", CANARY)
    dicom.save_as(folder / f"{CANARY}.dcm")
    photograph = Image.effect_noise((300, 300), 80).convert("RGB")
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = f"lesion of {CANARY}"
    photograph.save(folder / f"{CANARY}.jpg", exif=exif, comment=CANARY.encode())
    (folder / f"{CANARY}.png").write_text(f"not a picture of {CANARY}")
    return [str(path) for path in sorted(folder.iterdir())]


def found_in(folder: Path) -> list[str]:
    needles = [
        text.encode(code) for text in (CANARY, DATE_CANARY) for code in ("utf-8", "utf-16-le")
    ]
    needles += [CANARY.lower().encode(), CANARY.encode().hex().encode()]
    return [
        path.name
        for path in folder.rglob("*")
        if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    ]


def keep_on_acting(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else is recorded, with the patient wherever something can be typed."""
    (home / "settings.toml").write_text(f"watch_folder = '{folder}'\n", encoding="utf-8")
    assert run(["audit", "list", "--last", "1"]) == 0
    assert run(["audit", "verify", "--checkpoint", str(folder / CANARY)]) == 2
    assert run(["audit", "export", "--kind", CANARY, str(folder / "export")]) == 2
    assert run(["audit", "export", "--user", CANARY, str(folder / "export")]) == 0
    assert found_in(folder / "export") == []
    name, secret = CANARY.lower(), f"kerusi {CANARY}"
    for command, code in (
        (["users", "begin", "siti"], 0),
        (["users", "signin", name], 2),
        (["users", "signin", CANARY], 2),
        (["users", "recover", name, "--agreed", CANARY, name], 2),
        (["caption", f"{CANARY}.png"], 2),
        (["users", "signin", "siti"], 0),
        (["users", "disable", CANARY], 2),
        (["users", "reset", name], 2),
        (["caption", f"{CANARY}.png"], 2),
        (["cases", "purge", "--before", "2020-01-01", "--yes", "--second", CANARY], 2),
        (["users", "signout"], 0),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{secret}\n" * 3))
        assert run(command) == code, command
    (home / "settings.toml").unlink()


@pytest.mark.slow
def test_no_planted_identifier_is_in_the_log_or_its_exports(
    chest_dicom: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["guidelines", "add", "--sample"]) == 0
    pictures = planted(chest_dicom, tmp_path / f"patient {CANARY}")
    assert run(["caption", "--k", "2", *pictures]) == 1, "one of them is no picture"
    assert run(["lookup", f"melanoma {CANARY}"]) == 0
    assert run(["guidelines", "add", pictures[-1]]) == 1
    assert run(["guidelines", "remove", "--yes", f"document of {CANARY}"]) == 1
    keep_on_acting(tmp_path / f"patient {CANARY}", home, monkeypatch)
    for form in ("jsonl", "csv", "fhir"):
        assert run(["audit", "export", "--format", form, str(tmp_path / form)]) == 0
    for folder in (home / "log", tmp_path / "jsonl", tmp_path / "csv", tmp_path / "fhir"):
        assert folder.is_dir() and found_in(folder) == []

    with AuditDatabase(home / "log", clock.now) as log:
        log.append("act.done", {"leak": CANARY})
    assert run(["audit", "export", "--format", "csv", str(tmp_path / "leaking")]) == 0
    assert found_in(home / "log") == ["audit.db"], "the search would have found it"
    assert found_in(tmp_path / "leaking") == ["entries.csv"]
    shutil.rmtree(tmp_path / "leaking")
