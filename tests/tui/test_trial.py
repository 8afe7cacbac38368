"""What a kit's trial sees of the screen."""

from pathlib import Path

import pytest

from appliance.cli.tui import try_screen
from appliance.config import Config
from appliance.errors import KitError
from appliance.tui.app import ClinicScreen


def test_the_screen_opens_without_a_terminal(home: Path) -> None:
    try_screen(Config(home))


def test_a_screen_without_its_style_does_not_pass(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClinicScreen, "CSS_PATH", "gone.tcss")
    with pytest.raises(KitError, match="does not open"):
        try_screen(Config(home))
