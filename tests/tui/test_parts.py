"""The screen's parts that need no screen: folders, keys, pages, bars, pictures."""

import asyncio
from pathlib import Path

import pytest

from appliance.config import Config
from appliance.core.text import percent
from appliance.errors import ConfigError
from appliance.tui import keys
from appliance.tui.bindings import all_bindings
from appliance.tui.consulting import UnderWay
from appliance.tui.desk import Desk, Opened
from appliance.tui.folders import common_beginning, completions, pasted_paths
from appliance.tui.keys import KEYS_FILE, read_keys
from appliance.tui.page import page_html, page_text, write_page
from appliance.tui.screens.picture import cut
from appliance.tui.shown import Pixels, Shown
from appliance.tui.widgets.picture import fitted, half_cells
from appliance.tui.widgets.probabilities import bar_of
from appliance.tui.words import Words
from tests.tui.clinic import unforeseen

PATIENT = "Siti binti Ahmad"
ANSWER = {
    "image": {
        "path": f"/pictures/{PATIENT}.png",
        "kind": "PNG",
        "width": 4,
        "height": 3,
        "note": None,
    },
    "caption": {
        "label": "melanoma",
        "image_type": "dermoscopy",
        "anatomical_region": "skin",
        "key_findings": "an <irregular> border & more",
        "clinical_significance": "refer",
    },
    "label_probabilities": {"melanoma": 0.9, "nevus": 0.1},
    "decision": {"kind": "label", "labels": ["melanoma"], "reason": "r", "risk": 0.1},
    "limits": [],
    "passages": [
        {
            "document": "Guide",
            "edition": "2024",
            "page": 3,
            "last_page": 4,
            "page_label": "iii",
            "section": "2 > 2.1",
            "grade": "A",
            "evidence": "I",
            "grading": "malaysian",
            "caution": None,
        }
    ],
    "release": {"name": "demonstration", "sha256": "ab" * 32, "demonstration": True},
    "audit": {"seq": 12, "hash": "cd" * 32},
    "error": None,
}
SHOWN = Shown(ANSWER, None, "0" * 16, "2026-01-02T03:04:05", reference=PATIENT, note=PATIENT)


def test_a_typed_path_is_completed_from_its_folder(tmp_path: Path) -> None:
    for name in ("eye-left.png", "eye-right.png", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "eyes").mkdir()
    found = completions(f"{tmp_path}/ey")
    assert [place.name for place in found] == ["eyes/", "eye-left.png", "eye-right.png"]
    assert common_beginning(found) == f"{tmp_path}/eye"
    assert completions(f"{tmp_path}/missing/ey") == []


@pytest.mark.parametrize("form", ["{}", "'{}'", '"{}"', "file://{}", "{}\n"])
def test_dropped_files_are_known_however_a_terminal_writes_them(tmp_path: Path, form: str) -> None:
    picture = tmp_path / "left eye.png"
    picture.touch()
    path = str(picture).replace(" ", "%20") if form.startswith("file") else str(picture)
    assert pasted_paths(form.format(path)) == [str(picture)]


def test_several_dropped_files_are_several(tmp_path: Path) -> None:
    one, two = tmp_path / "a b.png", tmp_path / "c.png"
    one.touch()
    two.touch()
    assert pasted_paths(f"'{one}' {two} ") == [str(one), str(two)]
    assert pasted_paths(f"{str(one).replace(' ', chr(92) + ' ')} {two}") == [str(one), str(two)]
    assert pasted_paths("no 'such path") == ["no 'such path"]


def test_a_sites_own_keys_are_read_and_a_wrong_one_is_named(home: Path) -> None:
    home.mkdir()
    assert read_keys(home, lambda: ["answer.accept"]) == {}
    (home / KEYS_FILE).write_text('"answer.accept" = "ctrl+a"\n', encoding="utf-8")
    assert read_keys(home, lambda: ["answer.accept"]) == {"answer.accept": "ctrl+a"}
    (home / KEYS_FILE).write_text('"answer.acept" = "ctrl+a"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"did you mean `answer.accept`"):
        read_keys(home, lambda: ["answer.accept"])
    (home / KEYS_FILE).write_text('"answer.accept" = 3\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="is 3"):
        read_keys(home, lambda: ["answer.accept"])


def test_the_example_of_a_sites_own_keys_can_be_copied(home: Path) -> None:
    home.mkdir()
    example = str(keys.__doc__).partition("\n\n")[2]
    (home / KEYS_FILE).write_text(example, encoding="utf-8")
    ids = {str(binding.id) for binding in all_bindings()}
    assert len(read_keys(home, lambda: ids)) == 2


@pytest.mark.parametrize("page", [page_text, page_html])
@pytest.mark.parametrize("language", ["en", "ms"])
def test_a_page_cites_and_names_no_patient(page: object, language: str) -> None:
    assert callable(page)
    text = page(SHOWN, Words(language))
    assert PATIENT not in text and "Siti" not in text
    for part in ("melanoma", "Guide", "2.1", "12", "cdcdcdcdcdcd", "iii", "90 %"):
        assert part in text
    assert "DEMONSTRA" in text


def test_what_a_model_says_cannot_be_markup_on_a_page() -> None:
    text = page_html(SHOWN, Words("en"))
    assert "<irregular>" not in text and "&lt;irregular&gt;" in text


def test_a_page_is_private_and_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "page.txt"
    write_page(str(path), "one")
    assert path.read_text(encoding="utf-8") == "one" and path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="is there already"):
        write_page(str(path), "two")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_page(str(tmp_path / "none" / "page.txt"), "two")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_page("~nosuchuser/page.txt", "two")


@pytest.mark.parametrize(
    ("share", "told"), [(0, "0 %"), (0.004, "<1 %"), (0.5, "50 %"), (1, "100 %")]
)
def test_a_share_is_neither_none_nor_all_where_it_is_only_nearly_so(
    share: float, told: str
) -> None:
    assert percent(share) == told
    assert percent(0.997) == ">99 %"


def test_a_bar_is_as_long_as_its_share() -> None:
    assert bar_of(0.5, 10) == "█████     " and bar_of(0, 4) == "    " and bar_of(1, 3) == "███"
    assert bar_of(1 / 16, 2) == "▏ "


def test_a_picture_keeps_its_shape_and_its_colours() -> None:
    red_over_blue = bytes((255, 0, 0)) * 2 + bytes((0, 0, 255)) * 2
    [row] = half_cells(Pixels(red_over_blue, 2, 40, 40), 2, 1)
    [cell] = list(row)
    assert cell.text == "▀▀" and cell.style is not None
    assert str(cell.style.color and cell.style.color.name) == "#ff0000"
    assert str(cell.style.bgcolor and cell.style.bgcolor.name) == "#0000ff"
    assert fitted(200, 100, 40, 40) == (40, 20) and fitted(1, 5000, 40, 40) == (1, 40)


def test_a_magnified_picture_stays_within_itself() -> None:
    pixels = Pixels(bytes(range(48)), 4, 400, 200)
    part, centre = cut(pixels, 2, (5.0, -5.0))
    assert centre == (0.75, 0.25) and part.size == 2 and (part.width, part.height) == (200, 100)
    assert part.rgb == bytes([*range(6, 12), *range(18, 24)])
    assert cut(pixels, 1, (0.9, 0.9))[0].rgb == pixels.rgb


class Counting(Opened):
    """Counts how often the reading in progress was to end."""

    cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


class Read(UnderWay[str]):
    """A reading that is over at once."""

    def work(self, opened: Opened) -> str:
        self.step("reading")
        return "read"


@pytest.mark.anyio
async def test_a_reading_that_is_over_at_the_desk_is_cancelled_no_more(home: Path) -> None:
    """Its screen may still be drawing it, while the desk reads the next picture."""
    opened = Counting(Config(home))
    desk, read = Desk("test", opened, unforeseen), Read(lambda stage: None)
    assert await desk.ask(read) == "read"
    looks = iter((False, False, True))
    await asyncio.wait_for(read.stop(desk, lambda: next(looks)), 10)
    assert opened.cancelled == 0
    desk.close()
