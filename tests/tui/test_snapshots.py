"""One picture of each state that a person can be in, at 80 x 24, the principal ones wide as well.

Look at a picture before it is accepted: `pytest tests/tui/test_snapshots.py --snapshot-update`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from appliance.errors import ImageError
from appliance.tui.screens import history
from tests.tui.clinic import (
    LONG,
    PICTURE,
    TWO,
    UNSURE,
    Crashing,
    Log,
    Waiting,
    answering,
    clinic,
    steps,
    until,
    users_home,
    with_captioner,
)

Compare = Callable[..., bool]
SMALL, WIDE = (80, 24), (120, 36)
ASK = (f"={PICTURE}", "enter")
OTHER = "/clinic/pictures/eye right.png"
BLANK = ImageError(
    f"cannot read this image, it shows nothing (almost one colour): {PICTURE}",
    "take the picture again, in focus and in good light",
    code="image-blank",
)


@pytest.fixture(autouse=True)
def nobody_typed_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The path that a screen proposes or shows is the same on every machine."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("size", [SMALL, WIDE], ids=["small", "wide"])
@pytest.mark.parametrize(
    ("scores", "findings"),
    [((-0.1, -3.0, -9.0, -9.0), "irregular border"), (TWO, LONG), (UNSURE, "irregular border")],
    ids=["label", "set-long-text", "abstain"],
)
def test_answer(
    snap_compare: Compare,
    home: Path,
    size: tuple[int, int],
    scores: tuple[float, ...],
    findings: str,
) -> None:
    app = clinic(home, answering(scores, findings=findings))
    assert snap_compare(app, terminal_size=size, run_before=steps(*ASK))


@pytest.mark.parametrize("size", [SMALL, WIDE], ids=["small", "wide"])
def test_empty(snap_compare: Compare, home: Path, size: tuple[int, int]) -> None:
    assert snap_compare(clinic(home), terminal_size=size, run_before=steps())


@pytest.mark.parametrize("size", [SMALL, WIDE], ids=["small", "wide"])
def test_busy(snap_compare: Compare, home: Path, size: tuple[int, int]) -> None:
    captioner = Waiting()

    async def ask(pilot: Pilot[None]) -> None:
        await steps(f"={PICTURE}")(pilot)
        await pilot.press("enter")
        await until(pilot, captioner.is_reading.is_set)
        await pilot.pause()

    app = clinic(home, with_captioner(captioner))
    assert snap_compare(app, terminal_size=size, run_before=ask)


@pytest.mark.parametrize("size", [SMALL, WIDE], ids=["small", "wide"])
def test_refused_picture(snap_compare: Compare, home: Path, size: tuple[int, int]) -> None:
    app = clinic(home, answering(error=BLANK))
    assert snap_compare(app, terminal_size=size, run_before=steps(*ASK))


@pytest.mark.parametrize("language", ["en", "ms"])
def test_crash_of_the_model(snap_compare: Compare, home: Path, language: str) -> None:
    app = clinic(home, with_captioner(Crashing()), language=language)
    assert snap_compare(app, run_before=steps(*ASK))


def test_log_that_cannot_be_written(snap_compare: Compare, home: Path) -> None:
    assert snap_compare(clinic(home, log=Log(full_at=2)), run_before=steps(*ASK))


@pytest.mark.parametrize("theme", ["light", "contrast"])
def test_theme(snap_compare: Compare, home: Path, theme: str) -> None:
    app = clinic(home, answering(TWO), theme=theme)
    assert snap_compare(app, run_before=steps(*ASK))


@pytest.mark.parametrize(
    "keys",
    [(), ASK, ("f3",), ("f5",), (*ASK, "1")],
    ids=["empty", "answer", "list", "index", "one"],
)
def test_malay(snap_compare: Compare, home: Path, keys: tuple[str, ...]) -> None:
    app = clinic(home, answering(TWO), language="ms")
    assert snap_compare(app, run_before=steps(*keys))


@pytest.mark.parametrize(
    "keys",
    [(), ASK, (*ASK, "f4"), ("f3",), ("f1",)],
    ids=["empty", "answer", "past", "list", "help"],
)
def test_plain(snap_compare: Compare, home: Path, keys: tuple[str, ...]) -> None:
    app = clinic(home, answering(TWO), plain=True)
    assert snap_compare(app, run_before=steps(*keys))


@pytest.mark.parametrize("size", [SMALL, WIDE], ids=["small", "wide"])
@pytest.mark.parametrize(
    "keys",
    [
        (*ASK, "1"),
        (*ASK, "a", "n", "=K-117", "enter", "=seen again in May", "enter"),
        (*ASK, "b", f"={OTHER}", "enter"),
        (*ASK, "a", "f4"),
    ],
    ids=["passage", "judged-and-noted", "beside", "history"],
)
def test_with_an_answer(
    snap_compare: Compare, home: Path, size: tuple[int, int], keys: tuple[str, ...]
) -> None:
    app = clinic(home, answering(TWO))
    assert snap_compare(app, terminal_size=size, run_before=steps(*keys))


@pytest.mark.parametrize(
    "keys",
    [
        (*ASK, "1", "g"),
        (*ASK, "n"),
        (*ASK, "e"),
        (*ASK, "e", "end", "ctrl+u", "=a broken leg", "ctrl+s"),
        (*ASK, "e", "end", "ctrl+u", "=melanocytic nevus", "ctrl+s", "a"),
        (*ASK, "s"),
        (*ASK, "f4", "enter", "r"),
        (*ASK, "f1"),
        ("f5",),
        ("f5", "slash", "=referral", "enter"),
        ("f3",),
        ("f3", "o"),
        ("ctrl+l",),
        ("ctrl+p",),
    ],
    ids=[
        *("page", "note", "correct", "correct-none", "correction-dropped", "save"),
        *("read-again", "help", "index", "search", "worklist-empty", "worklist-add"),
        *("locked", "palette"),
    ],
)
def test_elsewhere(snap_compare: Compare, home: Path, keys: tuple[str, ...]) -> None:
    assert snap_compare(clinic(home, answering(TWO)), run_before=steps(*keys))


def test_history_that_is_not_whole(
    snap_compare: Compare, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "AT_ONCE", 1)
    app = clinic(home, answering(TWO))
    assert snap_compare(app, run_before=steps(*ASK, "o", *ASK, "f4"))


def test_second_reader(snap_compare: Compare, home: Path) -> None:
    app = clinic(home, second_reader=True)
    assert snap_compare(app, run_before=steps(*ASK))


@pytest.mark.parametrize("size", [SMALL, WIDE], ids=["small", "wide"])
def test_worklist(snap_compare: Compare, home: Path, drawings: Path, size: tuple[int, int]) -> None:
    app = clinic(home, answering(TWO))

    async def fill(pilot: Pilot[None]) -> None:
        await pilot.pause()
        app.add_to_worklist([str(drawings)])
        await steps("down", "k", "down", "u")(pilot)

    assert snap_compare(app, terminal_size=size, run_before=fill)


def test_worklist_done(snap_compare: Compare, home: Path, drawings: Path) -> None:
    app = clinic(home, answering(TWO))

    async def fill(pilot: Pilot[None]) -> None:
        await pilot.pause()
        app.add_to_worklist([str(drawings)])
        await steps("k", "g")(pilot)

    assert snap_compare(app, run_before=fill)


@pytest.mark.parametrize("language", ["en", "ms"])
def test_status(snap_compare: Compare, home: Path, language: str) -> None:
    assert snap_compare(clinic(home, language=language), run_before=steps("f6"))


@pytest.mark.parametrize("keys", [(), ("=ali", "enter", "=wrong", "enter")], ids=["asked", "wrong"])
def test_sign_in(snap_compare: Compare, home: Path, keys: tuple[str, ...]) -> None:
    users_home(home)
    assert snap_compare(clinic(home, access="users"), run_before=steps(*keys))
