"""A worklist of 200, the screen killed 50 times at any moment: is each read, and none twice?

    python -m tests.benchmarks.screen_kill [--pictures 200] [--kills 50]

The record decides: of each item exactly one answer, and the log whole.
"""

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from appliance.config import Config
from appliance.core.worklist import ANSWERED, ITEM
from appliance.errors import ApplianceError
from appliance.tui.app import ClinicScreen
from appliance.wiring import read_audit
from tests.benchmarks.screen_memory import write_drawings

LONGEST_S = 1.2
"""After a reading has begun, the latest moment of a kill."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        asyncio.run(work(given.work))
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_drawings(place / "films", given.pictures)
        kills = kill_often(place, given.kills)
        subprocess.run(command(place), stdout=subprocess.DEVNULL, check=True)
        answers, fault = answered(place)
    twice = sum(count > 1 for count in answers.values())
    print(
        f"{kills} kills; {len(answers)} of {given.pictures} pictures read, {twice} twice, "
        f"fault {fault}"
    )
    sys.exit(len(answers) != given.pictures or bool(twice) or fault is not None)


def kill_often(place: Path, kills: int) -> int:
    """How many there were before all was read."""
    chance = random.Random(8)
    for done in range(kills):
        child = subprocess.Popen(command(place), stdout=subprocess.PIPE, start_new_session=True)
        assert child.stdout is not None
        child.stdout.readline()  # it has begun to read
        time.sleep(chance.uniform(0, LONGEST_S))
        is_over = child.poll() is not None
        if not is_over:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        if is_over:
            return done
    return kills


def command(place: Path) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.screen_kill", "--work", str(place)]


async def work(place: Path) -> None:
    """The screen, going on with the worklist until nothing is left."""
    app = ClinicScreen(Config(place / "home", passages=0), unforeseen)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        app.add_to_worklist([str(place / "films")])
        while not app.worklist.worklist.items:
            await pilot.pause(0.05)
        app.run_worklist()
        await pilot.pause()
        print("reading", flush=True)
        while app.worklist.left:
            await pilot.pause(0.05)


def answered(place: Path) -> tuple[Counter[str], str | None]:
    """How often each item was answered, by the log; and what is wrong with the log."""
    with read_audit(Config(place / "home")) as log:
        entries = [entry for entry in log.entries() if entry.kind == ANSWERED]
        fault = log.verify().fault
    return Counter(entry.body[ITEM] for entry in entries), str(fault) if fault else None


def unforeseen() -> ApplianceError:
    return ApplianceError("unforeseen", "see the trace", code="unforeseen")


if __name__ == "__main__":
    main()
