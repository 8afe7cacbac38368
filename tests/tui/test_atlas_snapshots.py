"""One picture of each state of the atlas, and of what a consultation shows of it.

Look at a picture before it is accepted: `pytest tests/tui/test_atlas_snapshots.py
--snapshot-update`.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from textual.pilot import Pilot

from appliance.core.atlas import Vector
from appliance.core.gate import BLANK
from appliance.core.ports import Picture
from tests.tui.atlas_cases import BETWEEN, ELSEWHERE, DrawnAtlas
from tests.tui.clinic import PICTURE, answering, clinic, steps, until

Compare = Callable[..., bool]
SMALL, WIDE = (80, 24), (120, 36)
BOTH = pytest.mark.parametrize("size", [SMALL, WIDE], ids=["small", "wide"])
OTHER = (0.0, 1.0, 0.0)
"""Where the cases are of another label than the caption."""
ROOM = "f7"
SIMILAR = (ROOM, "o", f"={PICTURE}", "enter")
CONTRAST = (ROOM, "c", "=melanoma", "enter", "=dark centre", "enter", "=melanocytic nevus", "enter")
STATES = {
    "empty": (ROOM,),
    "similar": SIMILAR,
    "words": (ROOM, "slash", "=melanoma with a blue veil", "enter"),
    "contrast": CONTRAST,
    "described": (*SIMILAR, "d"),
    "one": (*SIMILAR, "enter"),
    "one-without": (*SIMILAR, "down", "enter"),
}


@pytest.fixture(autouse=True)
def nobody_typed_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The path that a screen proposes or shows is the same on every machine."""
    monkeypatch.chdir(tmp_path)


@BOTH
@pytest.mark.parametrize("keys", STATES.values(), ids=STATES.keys())
def test_atlas(
    snap_compare: Compare, home: Path, size: tuple[int, int], keys: tuple[str, ...]
) -> None:
    app = clinic(home, replace(answering(), atlas=DrawnAtlas()))
    assert snap_compare(app, terminal_size=size, run_before=steps(*keys))


@pytest.mark.parametrize("name", ["empty", "similar", "contrast", "one-without"])
def test_malay(snap_compare: Compare, home: Path, name: str) -> None:
    app = clinic(home, replace(answering(), atlas=DrawnAtlas()), language="ms")
    assert snap_compare(app, run_before=steps(*STATES[name]))


@pytest.mark.parametrize("name", ["empty", "similar", "one"])
def test_plain(snap_compare: Compare, home: Path, name: str) -> None:
    app = clinic(home, replace(answering(), atlas=DrawnAtlas()), plain=True)
    assert snap_compare(app, run_before=steps(*STATES[name]))


@pytest.mark.parametrize(
    ("atlas", "keys"),
    [
        (None, (ROOM,)),
        (DrawnAtlas(refused=BLANK), SIMILAR),
        (DrawnAtlas(ELSEWHERE), SIMILAR),
        (DrawnAtlas(has_pictures=False), SIMILAR),
        (DrawnAtlas(is_damaged=True), SIMILAR),
        (DrawnAtlas(), (ROOM, "c")),
        (DrawnAtlas(), (ROOM, "o")),
    ],
    ids=["none", "refused", "none-like", "no-pictures", "damaged", "ask-contrast", "ask-picture"],
)
def test_elsewhere(
    snap_compare: Compare, home: Path, atlas: DrawnAtlas | None, keys: tuple[str, ...]
) -> None:
    app = clinic(home, replace(answering(), atlas=atlas))
    assert snap_compare(app, run_before=steps(*keys))


@BOTH
def test_busy(snap_compare: Compare, home: Path, size: tuple[int, int]) -> None:
    atlas = Waiting()

    async def ask(pilot: Pilot[None]) -> None:
        await steps(*SIMILAR[:-1])(pilot)
        await pilot.press("enter")
        await until(pilot, atlas.is_reading.is_set)
        await pilot.pause()

    app = clinic(home, replace(answering(), atlas=atlas, cancel=atlas.goes_on.set))
    assert snap_compare(app, terminal_size=size, run_before=ask)


@BOTH
@pytest.mark.parametrize(
    ("place", "keys"),
    [(BETWEEN, ()), (OTHER, ()), (OTHER, ("tab",) * 4)],
    ids=["consistent", "alarm", "cases"],
)
def test_beside_a_consultation(
    snap_compare: Compare,
    home: Path,
    size: tuple[int, int],
    place: tuple[float, ...],
    keys: tuple[str, ...],
) -> None:
    app = clinic(home, replace(answering(), atlas=DrawnAtlas(place)), atlas_cases=3)
    asked = (f"={PICTURE}", "enter", *keys)
    assert snap_compare(app, terminal_size=size, run_before=steps(*asked))


class Waiting(DrawnAtlas):
    """An atlas whose model reads until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.is_reading, self.goes_on = Event(), Event()

    def features(self, picture: Picture) -> Vector:
        self.is_reading.set()
        assert self.goes_on.wait(60)
        return super().features(picture)
