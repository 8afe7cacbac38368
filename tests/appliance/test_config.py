"""Settings: who wins, and what a wrong one says."""

from pathlib import Path

import pytest

from appliance.config import SETTINGS_FILE, load_config, write_setting
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


def test_a_setting_is_written_and_the_rest_of_the_file_stays(home: Path) -> None:
    environment = write(home, '# ours\npassages = 2 # agreed\nrelease = "file"\n\n# end\n')
    assert write_setting(home, "passages", "5") == 5
    assert write_setting(home, "watch_folder", 'C:\\in "box"\u00e9') == 'C:\\in "box"\u00e9'
    assert write_setting(home, "plain", "true") is True
    text = (home / SETTINGS_FILE).read_text(encoding="utf-8")
    assert text.startswith('# ours\npassages = 5\nrelease = "file"\n\n# end\nwatch_folder = ')
    config = load_config(environment, {})
    assert (config.passages, config.plain, config.release) == (5, True, "file")
    assert config.watch_folder == 'C:\\in "box"\u00e9'
    assert (home / SETTINGS_FILE).stat().st_mode & 0o777 == 0o600
    assert list(home.iterdir()) == [home / SETTINGS_FILE]


def test_a_first_setting_makes_the_file(home: Path) -> None:
    write_setting(home, "risk", "0.05")
    assert (home / SETTINGS_FILE).read_text() == "risk = 0.05\n"
    assert home.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("key", "text", "complaint"),
    [
        ("pasages", "3", "did you mean `passages`"),
        ("user", "amin", "no such setting"),
        ("passages", "many", "`passages`"),
        ("passages", "99", "0 to 50"),
        ("theme", "pink", "dark, light, contrast"),
        ("risk", "nan", "`risk`"),
        ("embedder", "a\x7fb", "cannot be set"),
        ("release", "x", "cannot be set"),
    ],
)
def test_a_setting_that_cannot_be_leaves_the_file_as_it_was(
    home: Path, key: str, text: str, complaint: str
) -> None:
    write(home, 'release = """\nfile"""\n')
    before = (home / SETTINGS_FILE).read_bytes()
    with pytest.raises(ConfigError, match=complaint):
        write_setting(home, key, text)
    assert (home / SETTINGS_FILE).read_bytes() == before
