"""Settings: a flag beats `APPLIANCE_*`, which beats settings.toml, which beats the default."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from appliance.core.decision import RISK, RISKS
from appliance.errors import ConfigError

SETTINGS_FILE = "settings.toml"
HOME_VARIABLE = "APPLIANCE_HOME"
MOST_THREADS = 512
BURNED_TEXT = ("off", "report", "mask")


@dataclass(frozen=True)
class Config:
    home: Path
    """Everything the appliance keeps lives under it."""
    release: str = "demonstration"
    """Name of the model release in use."""
    passages: int = 3
    """Guideline passages shown with a caption (0 to 50)."""
    threads: int = 0
    """Processor threads for the model; 0 takes as many as suit the release."""
    encoder: str = ""
    """What turns a picture into soft tokens: ggml, onnx or onnx-int8, as far as the release carries
    them; empty: the one it was measured with."""
    timeout_s: int = 600
    """Longest wait for the model's answer to one picture, in seconds."""
    risk: float = RISK
    """Share of pictures whose set of labels may lack the true one (0.01 to 0.30, in hundredths)."""
    burned_in_text: str = "off"
    """What is done about text in the pixels: off, report (count it) or mask (paint it over)."""
    embedder: str = ""
    """Folder with model.onnx and tokenizer.json of a sentence model; empty: the installed one."""
    index_server: str = ""
    """Address of a Chroma server that keeps the guideline index, as http://host:port; empty: the
    index lies in this home."""

    @property
    def releases_folder(self) -> Path:
        return self.home / "releases"

    @property
    def index_folder(self) -> Path:
        return self.home / "index"

    @property
    def log_folder(self) -> Path:
        return self.home / "log"

    @property
    def measuring_folder(self) -> Path:
        """Answers to a site's own pictures, kept so that a stopped measurement goes on."""
        return self.home / "measuring"

    @property
    def kept_folder(self) -> Path:
        """Readings of pictures seen before; may be deleted at any time."""
        return self.home / "kept"

    @property
    def faults_file(self) -> Path:
        """Where an unforeseen error is written in full."""
        return self.home / "faults.log"


SETTINGS = {field.name: field.type for field in fields(Config) if field.name != "home"}

KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number with a point, as 0.1",
    str: "a text in quotes",
}


def load_config(environment: Mapping[str, str], flags: Mapping[str, Any]) -> Config:
    """The settings in force. Creates nothing. Raises: ConfigError naming file, key and value."""
    home = _home(environment)
    chosen: dict[str, Any] = _file_settings(home / SETTINGS_FILE)
    for key in SETTINGS:
        variable = f"APPLIANCE_{key.upper()}"
        if environment.get(variable):
            chosen[key] = _typed(key, environment[variable], variable)
        if flags.get(key) is not None:
            chosen[key] = flags[key]
    config = Config(home, **chosen)
    if not 0 <= config.passages <= 50:
        raise ConfigError(f"`passages` must be 0 to 50, not {config.passages}", "give 0 to 50")
    if not 0 <= config.threads <= MOST_THREADS:
        raise ConfigError(
            f"`threads` must be 0 to {MOST_THREADS}, not {config.threads}",
            "0 takes as many as suit the release",
        )
    if config.timeout_s < 1:
        raise ConfigError(f"`timeout_s` must be at least 1, not {config.timeout_s}", "600 is usual")
    if config.burned_in_text not in BURNED_TEXT:
        raise ConfigError(
            f"`burned_in_text` must be one of {', '.join(BURNED_TEXT)}, "
            f"not {config.burned_in_text!r}",
            "mask paints text in the pixels over before the model sees them",
        )
    if config.risk not in RISKS:
        raise ConfigError(
            f"`risk` must be {RISKS[0]} to {RISKS[-1]} in hundredths, not {config.risk}",
            f"give {RISK} for one picture in ten",
        )
    return config


def _home(environment: Mapping[str, str]) -> Path:
    if given := environment.get(HOME_VARIABLE):
        try:
            return Path(given).expanduser().absolute()
        except RuntimeError as exc:
            raise ConfigError(f"{HOME_VARIABLE} is {given!r}: {exc}", "give a folder") from exc
    from platformdirs import user_data_path

    return user_data_path("appliance")


def _file_settings(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigError(
            f"the settings cannot be read ({exc}): {path}", "mend or remove the file"
        ) from exc
    for key, value in table.items():
        if key not in SETTINGS:
            near = difflib.get_close_matches(key, SETTINGS, 1)
            meant = f"; did you mean `{near[0]}`?" if near else ""
            raise ConfigError(
                f"no such setting `{key}` in {path}{meant}", "known: " + ", ".join(SETTINGS)
            )
        if type(value) is not SETTINGS[key]:
            raise _wrong_type(key, value, str(path))
    return table


def _typed(key: str, text: str, where: str) -> Any:
    kind = SETTINGS[key]
    try:
        return kind(text) if kind in (int, float) else text
    except ValueError as exc:
        raise _wrong_type(key, text, where) from exc


def _wrong_type(key: str, value: object, where: str) -> ConfigError:
    return ConfigError(f"`{key}` in {where} is {value!r}", f"give {KINDS[SETTINGS[key]]}")
