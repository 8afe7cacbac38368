"""An atlas on this machine: verified, of this tower, indexed once, pictures where permitted."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from atlas_folders import (
    COLOURS,
    FINDINGS,
    JPEG,
    OPEN,
    TOWER,
    LetterTowers,
    plain_picture,
    write_small_atlas,
)

from appliance.core.atlas import TowerId, find, similar
from appliance.edges.atlas import AtlasFolder, add_atlas
from appliance.errors import AtlasError, AtlasMissingError
from appliance.release.atlas_files import (
    CASES,
    MANIFEST,
    PICTURES,
    VECTORS,
    find_atlas,
    read_atlas,
    verify_atlas,
)
from appliance.release.atlas_heads import HEADS, read_heads


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_atlas(tmp_path_factory.mktemp("atlases") / "small")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "small"))


def test_a_picture_finds_the_cases_of_its_look_with_where_they_are_from(
    folder: Path, tmp_path: Path
) -> None:
    with AtlasFolder(read_atlas(folder), LetterTowers(), tmp_path / "home") as atlas:
        found = similar(atlas, plain_picture(COLOURS["melanoma"]), 6)
    assert len(found) == 6
    assert [each.cosine for each in found] == sorted((n.cosine for n in found), reverse=True)
    by_id = {each.case.case_id: each.case for each in found}
    assert by_id["0000000000000001"].source == OPEN
    assert by_id["0000000000000001"].findings == FINDINGS["melanoma"][1]


def test_pictures_come_only_where_the_licence_lets_them(folder: Path, tmp_path: Path) -> None:
    with AtlasFolder(read_atlas(folder), LetterTowers(), tmp_path / "home") as atlas:
        for neighbour in find(atlas, "melanoma", 6):
            expected = JPEG if neighbour.case.source == OPEN else None
            assert neighbour.case.picture == expected


def test_the_cosines_are_those_of_the_vectors_in_the_file(folder: Path, tmp_path: Path) -> None:
    with AtlasFolder(read_atlas(folder), LetterTowers(), tmp_path / "home") as atlas:
        asked = np.array(atlas.of_text("round"))
        found = find(atlas, "round", 6)
    rows = np.load(folder / VECTORS)
    assert np.linalg.norm(asked) == pytest.approx(1, abs=1e-6)
    for neighbour in found:
        place = int(neighbour.case.case_id, 16)
        assert neighbour.cosine == pytest.approx(float(rows[place] @ asked), abs=1e-5)


def test_the_index_is_made_once(folder: Path, tmp_path: Path) -> None:
    files = read_atlas(folder)
    AtlasFolder(files, LetterTowers(), tmp_path / "home").close()
    (folder / VECTORS).unlink()  # no longer needed
    with AtlasFolder(files, LetterTowers(), tmp_path / "home") as atlas:
        assert len(find(atlas, "round", 3)) == 3
    (place,) = (tmp_path / "home").iterdir()
    assert place.name == files.card.sha256[:16]


@pytest.mark.parametrize("name", [CASES, VECTORS, HEADS, PICTURES])
def test_a_file_that_is_not_the_declared_one_is_refused(
    folder: Path, tmp_path: Path, name: str
) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(AtlasError, match=name):
        verify_atlas(read_atlas(folder))
    with pytest.raises(AtlasError):
        add_atlas(folder, TOWER, tmp_path / "home")
    assert not list((tmp_path / "home").glob("*"))


def test_heads_that_were_changed_later_are_refused(folder: Path, tmp_path: Path) -> None:
    files = read_atlas(folder)
    AtlasFolder(files, LetterTowers(), tmp_path / "home").close()
    with (folder / HEADS).open("ab") as file:
        file.write(b" ")
    with pytest.raises(AtlasError, match="not those that its manifest declares"):
        AtlasFolder(files, LetterTowers(), tmp_path / "home")


@pytest.mark.parametrize(
    "tower",
    [
        replace(TOWER, sha256="cc" * 32),
        replace(TOWER, kind="folder"),
        replace(TOWER, text_sha256="cc" * 32),
    ],
)
def test_an_atlas_of_another_tower_is_refused(folder: Path, tmp_path: Path, tower: TowerId) -> None:
    towers = LetterTowers()
    towers.identity = tower
    with pytest.raises(AtlasError, match=r"belongs to|another text encoder"):
        AtlasFolder(read_atlas(folder), towers, tmp_path / "home")
    with pytest.raises(AtlasError):
        add_atlas(folder, tower, tmp_path / "home")


def test_an_added_atlas_takes_the_place_of_the_one_before(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = add_atlas(folder, TOWER, home)
    AtlasFolder(first, LetterTowers(), home).close()  # which makes its index
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "name": "later"}))
    second = add_atlas(folder, TOWER, home)
    assert (first.card.name, second.card.name) == ("small", "later")
    assert find_atlas(home, TOWER).card.name == "later"
    assert len(list(home.iterdir())) == 1


def test_where_there_is_none_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AtlasMissingError) as caught:
        find_atlas(tmp_path, TOWER)
    assert caught.value.exit_code == 3
    assert "appliance atlas add" in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"files": {"../out": {"sha256": "", "size_bytes": 0}}},
        {"files": {}},
        {"cases_by_label": None},
        {"tower": {"kind": "release"}},
        {"least_cosine": "near"},
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(folder: Path, change: dict[str, object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, **change}))
    with pytest.raises(AtlasError, match="manifest cannot be read"):
        read_atlas(folder)


def test_cases_that_the_manifest_does_not_count_are_refused(folder: Path, tmp_path: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "cases_by_label": {"melanoma": 3}}))
    with pytest.raises(AtlasError, match="not those it counts"):
        AtlasFolder(read_atlas(folder), LetterTowers(), tmp_path / "home")
    assert not list((tmp_path / "home").glob("*"))


def test_heads_that_hold_code_or_no_numbers_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "heads.npz"
    np.savez(file, image_mean=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        read_heads(file.read_bytes())
    with pytest.raises(ValueError, match="no pair of heads"):
        read_heads(b"PK\x03\x04 cut")
