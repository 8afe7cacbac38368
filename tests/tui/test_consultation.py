"""Whole consultations on the demonstration release and the sample guideline; what they leave."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.config import Config
from appliance.core.cases import Wanted
from appliance.errors import AuditMissingError
from appliance.tui.app import ClinicScreen
from appliance.tui.screens.consult import ConsultScreen
from appliance.tui.screens.history import HistoryScreen
from appliance.tui.screens.passage import PassageScreen
from appliance.tui.screens.picture import PictureScreen
from appliance.wiring import open_cases, read_audit
from tests.tui.clinic import settled, steps, unforeseen

pytestmark = pytest.mark.anyio
WAIT_S = 90


def kinds(home: Path) -> list[str]:
    with read_audit(Config(home)) as log:
        assert log.verify().fault is None
        return [entry.kind for entry in log.entries()]


async def test_a_consultation_from_the_path_to_the_page(
    clinic_home: Path, drawings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(clinic_home)
    app = ClinicScreen(config, unforeseen)
    async with app.run_test() as pilot:
        await steps(f"={drawings / 'fundus-2.png'}", "enter")(pilot)
        assert isinstance(app.screen, ConsultScreen)
        shown = app.screen.shown
        assert shown is not None and shown.kind in ("label", "set") and shown.passages
        await steps("1")(pilot)
        assert isinstance(app.screen, PassageScreen)
        assert app.screen.query_one("#below").display or app.screen.query_one("#above").display
        await steps("g")(pilot)
        assert isinstance(app.screen, PictureScreen) and app.screen.view.pixels is not None
        await steps("escape", "escape", "x", "f4", "enter", "r")(pilot)
        assert isinstance(app.screen, HistoryScreen)
        assert "The same: same text" in str(app.screen.notice.render())
    assert shown.record is not None
    with read_audit(config) as log:
        assert log.verify().fault is None
        entry = log.get(shown.record[0])
        told = json.dumps([each.body for each in log.entries()])
    assert entry is not None and entry.hash.startswith(shown.record[1])
    assert entry.body["caption"] == shown.answer["caption"]
    assert "fundus-2" not in told and str(drawings) not in told
    with open_cases(config) as cases:
        [case] = cases.find(Wanted())
    assert case.verdict == "rejected" and case.answer["audit"]["seq"] == entry.seq


async def test_a_refused_and_an_abstained_picture_are_told_and_recorded(
    clinic_home: Path, drawings: Path
) -> None:
    app = ClinicScreen(Config(clinic_home), unforeseen)
    async with app.run_test() as pilot:
        for name, kind in (("skin-0.png", "refused"), ("fundus-0.png", "abstain")):
            await steps("o", f"={drawings / name}", "enter")(pilot)
            assert isinstance(app.screen, ConsultScreen) and app.screen.shown is not None
            assert app.screen.shown.kind == kind
    assert kinds(clinic_home).count("caption.answered") == 2


async def test_a_worklist_of_real_readings(clinic_home: Path, drawings: Path) -> None:
    app = ClinicScreen(Config(clinic_home), unforeseen)
    async with app.run_test() as pilot:
        await settled(pilot)
        app.add_to_worklist([str(drawings / f"chest-{n}.png") for n in range(3)])
        await steps("g")(pilot)
        assert not app.worklist.left and len(app.worklist.done) == 3
        assert app.worklist.left_s == 0
        await steps("enter")(pilot)
        assert app.current_mode == "history"
    assert kinds(clinic_home).count("caption.answered") == 3


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[list[str]]:
    """The beginning of a tmux command, for a server of this test alone."""
    tmux = shutil.which("tmux")
    if tmux is None:
        pytest.skip("tmux is not installed")
    command = [tmux, "-S", str(tmp_path / "tmux"), "-f", "/dev/null"]
    yield command
    subprocess.run([*command, "kill-server"], check=False, capture_output=True)


def until(command: list[str], text: str) -> str:
    """What is on the screen as soon as the text is."""
    deadline_s = time.monotonic() + WAIT_S
    seen = ""
    while text not in seen:
        assert time.monotonic() < deadline_s, f"{text!r} did not come:\n{seen}"
        time.sleep(0.1)
        shot = [*command, "capture-pane", "-p", "-t", "clinic"]
        seen = subprocess.run(shot, check=True, capture_output=True, text=True).stdout
    return seen


def test_from_start_to_record_in_a_real_terminal(
    clinic_home: Path, drawings: Path, terminal: list[str]
) -> None:
    def press(*keys: str) -> None:
        subprocess.run([*terminal, "send-keys", "-t", "clinic", *keys], check=True)

    start = [*terminal, "new-session", "-d", "-s", "clinic", "-x", "80", "-y", "24"]
    subprocess.run([*start, f"{sys.executable} -m appliance; echo left with $?; read"], check=True)
    until(terminal, "Choose a picture")
    press("-l", str(drawings / "chest-0.png"))
    until(terminal, "chest-0.png")
    press("Enter")
    shown = until(terminal, "Decision")
    assert "not for clinical use" in shown and "Record" in shown
    press("a")
    until(terminal, "Caption accepted")
    press("1")
    until(terminal, "Sample Guideline")
    press("Escape")
    press("F4")
    assert "accepted" in until(terminal, "chest-0.png")
    press("C-q")
    until(terminal, "left with 0")
    assert kinds(clinic_home).count("caption.answered") == 1


def test_a_terminal_that_is_taken_away_leaves_the_record_whole(
    clinic_home: Path, drawings: Path, terminal: list[str]
) -> None:
    start = [*terminal, "new-session", "-d", "-s", "clinic", "-x", "80", "-y", "24"]
    subprocess.run([*start, f"exec {sys.executable} -m appliance"], check=True)
    until(terminal, "Choose a picture")
    pid = [*terminal, "display-message", "-p", "-t", "clinic", "#{pane_pid}"]
    process = int(subprocess.run(pid, check=True, capture_output=True, text=True).stdout)
    send = [*terminal, "send-keys", "-t", "clinic"]
    subprocess.run([*send, "-l", str(drawings / "chest-1.png")], check=True)
    until(terminal, "chest-1.png")
    subprocess.run([*send, "Enter"], check=True)
    while not has_begun(clinic_home):
        time.sleep(0.02)
    os.kill(process, signal.SIGKILL)
    found = kinds(clinic_home)
    assert found.count("caption.answered") <= found.count("caption.asked") == 1


def has_begun(home: Path) -> bool:
    try:
        return "caption.asked" in kinds(home)
    except AuditMissingError:
        return False
