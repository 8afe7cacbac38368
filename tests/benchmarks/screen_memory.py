"""Does the screen grow? Many consultations in one screen, each drawn and left again.

    python -m tests.benchmarks.screen_memory [--consultations 500]

Prints the resident memory of the screen's process after a fifth and after all; fails when it grew
by 5 % or more. The first fifth fills the caches of the libraries that draw.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import numpy as np

from appliance.config import Config
from appliance.core.labels import DOMAINS
from appliance.core.ports import Picture
from appliance.errors import ApplianceError
from appliance.release.drawings import draw, png
from appliance.tui.app import ClinicScreen
from appliance.tui.screens.consult import ConsultScreen

MOST_GROWTH = 0.05
SIDE = 128


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--consultations", type=int, default=500)
    count = parser.parse_args().consultations
    with tempfile.TemporaryDirectory() as folder:
        early, late = asyncio.run(measure(Path(folder), count))
    growth = late / early - 1
    print(
        f"{early / 1e6:.1f} MB after {count // 5} consultations, {late / 1e6:.1f} MB after "
        f"{count}: {growth:+.2%}"
    )
    sys.exit(f"grew by {growth:.1%}" if growth >= MOST_GROWTH else 0)


async def measure(folder: Path, count: int) -> tuple[int, int]:
    paths = write_drawings(folder / "films", count)
    config = Config(folder / "home", passages=0, idle_lock_s=3600)
    app = ClinicScreen(config, unforeseen)
    early = 0
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.5)
        for number, path in enumerate(paths, 1):
            screen = app.screen
            assert isinstance(screen, ConsultScreen)
            await screen.consult(str(path)).wait()
            assert screen.shown is not None
            await pilot.pause()
            if number == count // 5:
                early = resident()
    return early, resident()


def write_drawings(folder: Path, count: int) -> list[Path]:
    """Pictures drawn here, no two alike, in one folder."""
    folder.mkdir()
    rng = np.random.default_rng(8)
    base = {domain: draw(domain, 2, SIDE).rgb for domain in DOMAINS}
    paths = []
    for number in range(count):
        pixels = np.frombuffer(base[DOMAINS[number % len(DOMAINS)]], np.uint8).astype(np.int16)
        noisy = (pixels + rng.integers(-3, 4, pixels.size)).clip(0, 255).astype(np.uint8)
        path = folder / f"{number:05}.png"
        path.write_bytes(png(Picture(noisy.tobytes(), SIDE, "", "drawing", SIDE, SIDE, None)))
        paths.append(path)
    return paths


def resident() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def unforeseen() -> ApplianceError:
    return ApplianceError("unforeseen", "see the trace", code="unforeseen")


if __name__ == "__main__":
    main()
