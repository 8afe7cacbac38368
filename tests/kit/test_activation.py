"""Which release is in use changes by a recorded act, and back."""

import shutil
from pathlib import Path

import pytest

from appliance.config import Config, load_config
from appliance.errors import ReleaseError
from appliance.release.shelf import BUILT_IN, DEMONSTRATION
from appliance.wiring import activate_release, read_audit, roll_release_back


@pytest.fixture
def config(home: Path) -> Config:
    other = home / "releases" / "other"
    shutil.copytree(BUILT_IN, other)
    manifest = (other / "release.json").read_text()
    (other / "release.json").write_text(manifest.replace(f'"{DEMONSTRATION}"', '"other"', 1))
    return in_force(home)


def in_force(home: Path) -> Config:
    return load_config({"APPLIANCE_HOME": str(home)}, {})


def kinds(config: Config) -> list[str]:
    with read_audit(config) as log:
        return [one.kind for one in log.entries() if one.kind.startswith("release.")]


def test_a_release_is_activated_and_the_one_before_comes_back(config: Config) -> None:
    assert activate_release(config, "other").name == "other"
    now = in_force(config.home)
    assert now.release == "other"
    assert roll_release_back(now).name == DEMONSTRATION
    assert in_force(config.home).release == DEMONSTRATION
    assert kinds(config) == [
        "release.activate.asked",
        "release.activate.done",
        "release.rollback.asked",
        "release.rollback.done",
    ]


def test_a_damaged_release_is_not_activated(config: Config) -> None:
    with (config.releases_folder / "other" / "model.gguf").open("r+b") as file:
        file.write(b"XXXX")
    with pytest.raises(ReleaseError, match="not the one its manifest declares"):
        activate_release(config, "other")
    assert in_force(config.home).release == DEMONSTRATION
    assert kinds(config) == ["release.activate.asked", "release.activate.failed"]


def test_there_may_be_none_to_go_back_to(config: Config) -> None:
    with pytest.raises(ReleaseError, match="no release was in use before"):
        roll_release_back(config)
