"""The pictures of the walkthrough: the real screens, on pictures that the project draws itself.

    python -m tests.tui.walkthrough [FOLDER]

Reads with the demonstration release and the sample guideline, in a home of its own. The pictures
name no font file, so that looking at them asks nothing of any network.
"""

import asyncio
import os
import re
import sys
import tempfile
from pathlib import Path

from textual.pilot import Pilot

from appliance.config import Config
from appliance.errors import ApplianceError
from appliance.release.drawings import draw, png
from appliance.tui.app import ClinicScreen
from appliance.tui.screens.worklist import DRAW_S
from appliance.wiring import open_guidelines
from cpg_store.sample import sample_guideline

FOLDER = Path(__file__).parent / "pictures"
PICTURES = {
    "left eye.png": ("fundus", 2),
    "right eye.png": ("fundus", 0),
    "chest film.png": ("chest", 1),
    "mole.png": ("skin", 0),
}
FONTS = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for name, (domain, variant) in PICTURES.items():
            (place / name).write_bytes(png(draw(domain, variant, 256)))  # type: ignore[arg-type]
        config = Config(place / "home")
        with open_guidelines(config, create=True) as index:
            index.add(sample_guideline(), title=None, edition=None)
        os.chdir(place)
        asyncio.run(walk(ClinicScreen(config, unforeseen), folder))


async def walk(app: ClinicScreen, folder: Path) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        await press(pilot, *"left", "tab")
        keep(app, folder / "1-choose.svg")
        await press(pilot, "enter")
        keep(app, folder / "2-answer.svg")
        await press(pilot, "2")
        keep(app, folder / "3-passage.svg")
        await press(pilot, "escape", "k", *"next image in 2 years", "enter", "enter")
        keep(app, folder / "7-treatment.svg")
        await press(pilot, "escape", "a", "b", *"right", "tab", "enter")
        keep(app, folder / "4-beside.svg")
        await press(pilot, "escape")
        app.add_to_worklist(list(PICTURES))
        await settled(pilot)
        await press(pilot, "g")
        keep(app, folder / "5-worklist.svg")
        await press(pilot, "f4")
        keep(app, folder / "6-history.svg")
        await press(pilot, "f7", "slash", *"bacterial pneumonia, lower zones dense", "enter")
        keep(app, folder / "8-atlas.svg")


async def press(pilot: Pilot[None], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await settled(pilot)


async def settled(pilot: Pilot[None]) -> None:
    """When no worker is at work, and all is drawn."""
    await pilot.pause()
    while any(worker.is_running for worker in pilot.app.workers):
        await pilot.pause(0.02)
    await pilot.pause(2 * DRAW_S)


def keep(app: ClinicScreen, path: Path) -> None:
    path.write_text(FONTS.sub("", app.export_screenshot()), encoding="utf-8")


def unforeseen() -> ApplianceError:
    return ApplianceError("unforeseen", "see the trace", code="unforeseen")


if __name__ == "__main__":
    main()
