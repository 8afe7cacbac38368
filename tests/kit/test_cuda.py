"""Wheels for a graphics card are taken where its driver is, unless they fail their trial.

Stand-ins for both: a module of one line, and some library under the driver's name. What was never
tried here is the real thing.
"""

import _ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.errors import ConfigError
from appliance.kit.build import Wanted, build_kit
from appliance.kit.install import CUDA_DRIVER
from tests.benchmarks.kit_kill import INSTALL
from tests.kit.stub_kits import MADE, Bench


def kernels(bench: Bench, kit: Path, *, has_driver: bool) -> str:
    """What an install in a process of its own, as the driver's library needs, takes."""
    libraries = bench.folder / "libraries"
    libraries.mkdir()
    if has_driver:
        shutil.copy(_ctypes.__file__, libraries / CUDA_DRIVER)
    place = bench.place
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
    folders = [str(folder) for folder in (kit, place.prefix, place.home)]
    command = [sys.executable, "-c", INSTALL, *folders, bench.code]
    subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], check=True)
    done = subprocess.run(
        [place.launcher, "kernels"],
        env={**os.environ, "APPLIANCE_HOME": str(place.home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("has_driver", "card_fails", "taken"),
    [(False, False, "processor"), (True, False, "card"), (True, True, "processor")],
)
def test_the_card_is_used_where_it_can_be(
    bench: Bench, has_driver: bool, card_fails: bool, taken: str
) -> None:
    kit = bench.kit(1, real_pip=True, card_fails=card_fails)
    assert kernels(bench, kit, has_driver=has_driver) == taken


def test_both_kinds_are_in_the_bill_and_none_is_installed_twice(bench: Bench) -> None:
    kit = bench.kit(1, real_pip=True, card_fails=False)
    bill = json.loads((kit / "sbom.json").read_bytes())
    named = {(one["name"], one["version"]) for one in bill["components"]}
    assert {("kernels", "1"), ("kernels", "1+cuda")} <= named
    lines = (kit / "cuda" / "requirements.txt").read_text().splitlines()
    assert [line.split(" ")[0] for line in lines] == ["clinic-appliance==1", "kernels==1+cuda"]


def test_wheels_that_replace_none_are_no_cards(bench: Bench) -> None:
    bench.build(7, bench.folder / "kit", card_fails=False)
    wanted = Wanted(
        8, MADE, bench.folder / "cuda-7", bench.folder / "keys", cuda=bench.folder / "wheels-7"
    )
    with pytest.raises(ConfigError, match="not the wheels of a kit"):
        build_kit(wanted, bench.folder / "out", lambda text: None)
    wanted = Wanted(
        8, MADE, bench.folder / "wheels-7", bench.folder / "keys", cuda=bench.folder / "wheels-7"
    )
    with pytest.raises(ConfigError, match="not wheels for a graphics card"):
        build_kit(wanted, bench.folder / "out", lambda text: None)
