"""Settings: who wins, and what a wrong one says."""

from pathlib import Path

import pytest

from appliance.config import SETTINGS_FILE, load_config
from appliance.errors import ConfigError


def write(home: Path, text: str) -> dict[str, str]:
    home.mkdir()
    (home / SETTINGS_FILE).write_text(text, encoding="utf-8")
    return {"APPLIANCE_HOME": str(home)}


def test_a_flag_beats_the_environment_which_beats_the_file(home: Path) -> None:
    environment = write(home, 'release = "file"\nthreads = 1\npassages = 2\n')
    environment |= {"APPLIANCE_RELEASE": "environment", "APPLIANCE_THREADS": "3"}
    config = load_config(environment, {"release": "flag", "threads": None})
    assert (config.release, config.threads, config.passages) == ("flag", 3, 2)


def test_asking_creates_nothing(home: Path) -> None:
    load_config({"APPLIANCE_HOME": str(home)}, {})
    assert not home.exists()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("relaese = 'x'", "did you mean `release`"),
        ("threads = 'two'", "`threads`"),
        ("threads = -1", "0 to 512"),
        ("passages = 99", "0 to 50"),
        ("burned_in_text = 'blur'", "off, report, mask"),
        ("risk = 0.105", "0.01 to 0.3"),
        ("risk = 0.0", "0.01 to 0.3"),
        ("risk = 1", "`risk`"),
        ("risk = nan", "`risk`"),
        ("threads = ", "cannot be read"),
    ],
)
def test_a_wrong_setting_is_named(home: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_config(write(home, text), {})


def test_a_wrong_variable_is_named(home: Path) -> None:
    with pytest.raises(ConfigError, match="APPLIANCE_THREADS"):
        load_config({"APPLIANCE_HOME": str(home), "APPLIANCE_THREADS": "many"}, {})


def test_the_risk_target_is_a_tenth_unless_a_site_says_otherwise(home: Path) -> None:
    assert load_config({"APPLIANCE_HOME": str(home)}, {}).risk == 0.1
    environment = write(home, "risk = 0.05\n")
    assert load_config(environment, {}).risk == 0.05
    assert load_config({**environment, "APPLIANCE_RISK": "0.29"}, {}).risk == 0.29
