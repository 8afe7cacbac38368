"""One picture of each state of a treatment's check, at 80 x 24 and wide.

Look at a picture before it is accepted: `pytest tests/tui/test_check_snapshots.py
--snapshot-update`.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.tui.clinic import (
    LONG,
    PICTURE,
    TWO,
    Crashing,
    First,
    Shelf,
    Waiting,
    answering,
    clinic,
    steps,
    until,
    with_captioner,
    with_rules,
)

Compare = Callable[..., bool]
both_sizes = pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=["small", "wide"])
FORM = (f"={PICTURE}", "enter", "k")
FREEZE = (*FORM, "=Cryotherapy today, review in 6 weeks", "enter", "=it itches", "enter")
EXCISE = (*FORM, "=excision with a margin of 2 mm", "enter", "enter")
LEAVE = (*FORM, "=reassure", "enter", "enter")
PRAY = (*FORM, "=wait and pray", "enter", "enter")
LONG_TEXT = (
    "Excise it whole with a margin of 2 mm of normal skin.\n\nClose the wound along the lines of "
    "the skin, send the whole piece for histology with a thread at its upper pole, and write down "
    "where it was. "
) * 3


@pytest.fixture(autouse=True)
def rules(home: Path) -> None:
    with_rules(home)


@both_sizes
@pytest.mark.parametrize("keys", [FORM, FREEZE, EXCISE], ids=["empty", "error", "correct"])
def test_check(
    snap_compare: Compare, home: Path, size: tuple[int, int], keys: tuple[str, ...]
) -> None:
    assert snap_compare(clinic(home), terminal_size=size, run_before=steps(*keys))


@both_sizes
def test_not_settled(snap_compare: Compare, home: Path, size: tuple[int, int]) -> None:
    app = clinic(home, answering(TWO))
    assert snap_compare(app, terminal_size=size, run_before=steps(*LEAVE))


@both_sizes
def test_busy(snap_compare: Compare, home: Path, size: tuple[int, int]) -> None:
    waiting = Waiting()

    async def ask(pilot: Pilot[None]) -> None:
        await steps(*FREEZE[:-1])(pilot)
        await pilot.press("enter")
        await until(pilot, waiting.is_reading.is_set)
        await pilot.pause()

    app = clinic(home, replace(with_captioner(waiting), captioner=First(waiting)))
    assert snap_compare(app, terminal_size=size, run_before=ask)


@both_sizes
def test_crash_of_the_model(snap_compare: Compare, home: Path, size: tuple[int, int]) -> None:
    app = clinic(home, with_captioner(First(Crashing())))
    assert snap_compare(app, terminal_size=size, run_before=steps(*FREEZE))


@both_sizes
@pytest.mark.parametrize("settings", [{"language": "ms"}, {"plain": True}], ids=["malay", "plain"])
def test_otherwise(
    snap_compare: Compare, home: Path, size: tuple[int, int], settings: dict[str, Any]
) -> None:
    app = clinic(home, **settings)
    assert snap_compare(app, terminal_size=size, run_before=steps(*FREEZE))


@pytest.mark.parametrize(
    ("keys", "settings"),
    [
        ((*FORM, "enter", "enter"), {}),
        (PRAY, {}),
        ((*FORM, "=excision, then oral amoxicillin", "ctrl+s"), {}),
        (FORM, {"language": "ms"}),
        ((*FORM[:-1], "ctrl+p", *"check"), {}),
    ],
    ids=["nothing-typed", "unsure", "unchecked", "malay", "palette"],
)
def test_small(
    snap_compare: Compare, home: Path, keys: tuple[str, ...], settings: dict[str, Any]
) -> None:
    assert snap_compare(clinic(home, **settings), run_before=steps(*keys))


def test_long_texts(snap_compare: Compare, home: Path) -> None:
    class LongShelf(Shelf):
        def __init__(self) -> None:
            super().__init__()
            self.shelf = [replace(one, text=LONG_TEXT) for one in self.shelf]

    app = clinic(home, replace(answering(findings=LONG), guidelines=LongShelf()))
    assert snap_compare(app, run_before=steps(*EXCISE))


def test_rules_that_cannot_be_read(
    snap_compare: Compare, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "rules" / "clinic.toml").write_text("[[rules]\n", encoding="utf-8")
    monkeypatch.chdir(home.parent)
    assert snap_compare(clinic(Path("home")), run_before=steps(*FREEZE))
