"""Is a key answered while the model reads? Each key's way from the driver to the drawn answer.

    python -m tests.benchmarks.screen_keys [--pictures 40]

A worklist of drawn pictures is read by the demonstration release, each anew, while a person moves
through the list and between screens; the same keys while nothing is read, beside it. Fails when
the 95th percentile is over 50 ms.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

from appliance.config import Config
from appliance.errors import ApplianceError
from appliance.tui.app import ClinicScreen
from tests.benchmarks.screen_memory import write_drawings

MOST_MS = 50
KEYS = ("down", "down", "up", "f2", "f3", "down", "f5", "f3", "u", "u")
BETWEEN_S = 0.15
"""A person's quick typing."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=40)
    pictures = parser.parse_args().pictures
    with tempfile.TemporaryDirectory() as folder:
        idle, busy = asyncio.run(measure(Path(folder), pictures))
    print(f"nothing is read: {told(idle)}")
    print(f"{pictures} pictures are read: {told(busy)}; {MOST_MS} ms at most")
    sys.exit(percentile(busy) > MOST_MS)


def told(times: list[float]) -> str:
    return (
        f"{len(times)} keys, median {statistics.median(times):.1f} ms, 95 in 100 within "
        f"{percentile(times):.1f} ms, longest {max(times):.1f} ms"
    )


def percentile(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.95)]


async def measure(folder: Path, pictures: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each key, while nothing is read and while the worklist is."""
    write_drawings(folder / "films", pictures)
    app = ClinicScreen(Config(folder / "home", passages=0), unforeseen)
    idle, busy = [], []
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.5)
        app.add_to_worklist([str(folder / "films")])
        while not app.worklist.left:
            await pilot.pause(0.1)
        await pilot.pause(3)  # the desks are open by then
        for key in KEYS:  # each screen is opened once
            await answered_ms(app, key)
        for key in KEYS * 8:
            idle.append(await answered_ms(app, key))
        app.run_worklist()
        while not app.worklist.done:
            await pilot.pause(0.05)
        for key in cycle(KEYS):
            if not app.worklist.is_running:
                break
            busy.append(await answered_ms(app, key))
    return idle, busy


async def answered_ms(app: ClinicScreen, key: str) -> float:
    """From the key to what it changes being drawn; then a while passes."""
    started = time.perf_counter()
    app.simulate_key(key)
    drawn = asyncio.Event()
    app.call_later(app.screen.call_after_refresh, drawn.set)
    await drawn.wait()
    spent_ms = (time.perf_counter() - started) * 1000
    await asyncio.sleep(BETWEEN_S)
    return spent_ms


def unforeseen() -> ApplianceError:
    return ApplianceError("unforeseen", "see the trace", code="unforeseen")


if __name__ == "__main__":
    main()
