"""`appliance atlas` on the built-in release and atlas, as its user has it."""

import json
from pathlib import Path
from typing import Any

import pytest
from atlas_folders import write_small_atlas

from appliance.cli.main import run
from appliance.release.atlas_files import BUILT_IN, read_atlas, read_cases, verify_atlas
from appliance.release.drawings import draw, png

TYPED = "a melanoma of Mr Somebody"


def entries(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run(["audit", "list", "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_built_in_atlas_is_whole_small_and_without_pictures() -> None:
    files = read_atlas(BUILT_IN)
    verify_atlas(files)
    assert sum(size_bytes for _, size_bytes in files.files.values()) < 3_000_000
    cases = list(read_cases(files))
    assert len(cases) == files.card.cases
    assert not any(case.picture_bytes for case in cases)
    assert {case.source for case in cases} == {"ham10000", "kermany_cxr"}  # openly licensed


def test_a_picture_finds_cases_marked_as_teaching_material(
    chest_dicom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["atlas", "similar", str(chest_dicom), "--k", "3", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["teaching"].startswith("TEACHING MATERIAL")
    assert len(said["cases"]) == 3
    assert {case["domain"] for case in said["cases"]} == {"chest"}
    assert all(case["source"]["licence"] == "CC BY 4.0" for case in said["cases"])
    done = [entry for entry in entries(capsys) if entry["kind"] == "atlas.similar.done"]
    assert done[0]["body"]["cases"] == [case["case_id"] for case in said["cases"]]
    assert done[0]["body"]["image"]


def test_a_kind_of_picture_that_the_atlas_has_no_case_of_finds_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "eye.png"
    path.write_bytes(png(draw("fundus", 0, 256)))
    assert run(["atlas", "similar", str(path)]) == 0
    assert "no case of this atlas is like it" in capsys.readouterr().out


def test_words_and_contrasts_find_cases_and_are_not_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["atlas", "find", TYPED, "--k", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [case["label"] for case in found["cases"]] == ["melanoma", "melanoma"]
    change = ["--plus", "normal chest radiograph", "--minus", TYPED]
    assert run(["atlas", "contrast", TYPED, *change, "--json"]) == 0
    both = json.loads(capsys.readouterr().out)
    assert both["cases"][0]["label"] == "melanoma"
    assert both["changed"][0]["label"] == "normal chest"
    kept = entries(capsys)
    assert "Somebody" not in json.dumps(kept)
    assert {"atlas.find.done", "atlas.contrast.done"} <= {entry["kind"] for entry in kept}


def test_a_query_of_which_nothing_is_left_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["atlas", "contrast", "melanoma", "--minus", "melanoma"]) == 1
    assert "nothing is left of the query" in capsys.readouterr().err


def test_a_contrast_stands_in_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["atlas", "contrast", "melanoma", "--minus", "dark", "--k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(line for line in lines if "[1]" in line)
    assert first.count("[1]") == 2
    assert max(map(len, lines)) <= 80


def test_a_description_names_the_cases_that_say_so(
    chest_dicom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["atlas", "describe", str(chest_dicom), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    ids = {case["case_id"] for case in said["cases"]}
    for statement in said["statements"]:
        assert len(statement["case_ids"]) >= 2
        assert set(statement["case_ids"]) <= ids
    assert len(said["second"]) == 5


def test_a_picture_that_shows_nothing_is_refused_and_that_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    path = tmp_path / "blank.png"
    Image.new("RGB", (64, 64), (90, 90, 90)).save(path)
    assert run(["atlas", "similar", str(path)]) == 1
    assert "it shows nothing" in capsys.readouterr().err
    failed = [entry for entry in entries(capsys) if entry["kind"] == "atlas.similar.failed"]
    assert failed[0]["body"] == {"error": "image-blank"}


def test_an_atlas_of_another_release_is_not_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_small_atlas(tmp_path / "small")
    assert run(["atlas", "add", str(folder)]) == 1
    assert "belongs to the release letters" in capsys.readouterr().err


def test_the_built_in_atlas_may_be_added_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["atlas", "add", str(BUILT_IN)]) == 0
    assert run(["atlas", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["cases"] == 992
    assert "atlas.add.done" in {entry["kind"] for entry in entries(capsys)}


def test_cases_stand_beside_a_consultation_where_that_is_set(
    chest_dicom: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["caption", str(chest_dicom), "--no-lookup", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["atlas"] is None
    monkeypatch.setenv("APPLIANCE_ATLAS_CASES", "5")
    assert run(["caption", str(chest_dicom), "--no-lookup", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    beside = answer["atlas"]
    assert len(beside["cases"]) == 5 and beside["teaching"].startswith("TEACHING")
    agreeing = [c for c in beside["cases"] if c["label"] == answer["caption"]["label"]]
    assert (beside["warning"] is None) == (len(agreeing) >= 3)
    assert (beside["warning"] in answer["limits"]) == (beside["warning"] is not None)
    recorded = [entry for entry in entries(capsys) if entry["kind"] == "caption.answered"]
    assert recorded[0]["body"]["atlas"] is None
    assert recorded[1]["body"]["atlas"] == {
        "cases": [case["case_id"] for case in beside["cases"]],
        "inconsistent": beside["warning"] is not None,
    }
    assert run(["caption", str(chest_dicom), "--no-lookup"]) == 0
    assert "TEACHING MATERIAL" in capsys.readouterr().out
