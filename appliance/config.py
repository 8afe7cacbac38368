"""Settings: a flag beats `APPLIANCE_*`, which beats settings.toml, which beats the default."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from appliance.core.decision import RISK, RISKS
from appliance.errors import ConfigError

SETTINGS_FILE = "settings.toml"
HOME_VARIABLE = "APPLIANCE_HOME"


@dataclass(frozen=True)
class Config:
    home: Path
    """Everything the appliance keeps lives under it."""
    release: str = "demonstration"
    """Name of the model release in use."""
    guidelines: str = ""
    """Set of guidelines in use, as kit-7; empty: the clinic's own. `appliance guidelines activate`
    changes it."""
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
    atlas_cases: int = 0
    """Nearest reference cases beside a consultation (0 to 50); 0: none, and no warning where they
    disagree with the caption."""
    atlas_encoder: str = ""
    """Folder of a CLIP-type picture and text encoder for the atlas; empty: the release's tower."""
    access: str = "single"
    """single: one person's machine, nobody signs in; users: everybody signs in."""
    idle_lock_s: int = 300
    """Seconds without a key or a command after which a person is signed out (30 to 3600)."""
    keep_cases_days: int = 365
    """Days after which a case is purged; 0 keeps none. The log is not touched by it."""
    second_reader: bool = False
    """Whether a clinician's own impression is asked for before the screen shows the caption; the
    commands, as `appliance caption` and `cases show`, do not ask."""
    language: str = "en"
    """Of the screen: en or ms."""
    theme: str = "dark"
    """Of the screen: dark, light or contrast."""
    plain: bool = False
    """A screen without drawing or colour, for screen readers and slow links."""
    watch_folder: str = ""
    """Folder whose pictures make the screen's worklist; empty: none."""
    user: str = ""
    """Who acts; set by signing in, never by a file or a variable."""
    command: str = ""
    """What the person ran, as `audit list`, without what was given to it; set by the program."""

    @property
    def releases_folder(self) -> Path:
        return self.home / "releases"

    @property
    def index_folder(self) -> Path:
        """Of the guideline set in use."""
        return self.sets_folder / self.guidelines / "index" if self.guidelines else self.own_index

    @property
    def own_index(self) -> Path:
        """Of the clinic's own documents."""
        return self.home / "index"

    @property
    def sets_folder(self) -> Path:
        """Guideline sets that kits brought."""
        return self.home / "guidelines"

    @property
    def atlas_folder(self) -> Path:
        """Atlases that were added, and the indexes made of them."""
        return self.home / "atlas"

    @property
    def log_folder(self) -> Path:
        return self.home / "log"

    @property
    def cases_folder(self) -> Path:
        """Cases: de-identified pixels, paths and notes, which may be purged."""
        return self.home / "cases"

    @property
    def users_folder(self) -> Path:
        return self.home / "users"

    @property
    def worklist_folder(self) -> Path:
        """Pictures that are still to be read: paths, which may name a patient."""
        return self.home / "worklist"

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


SETTINGS = {
    field.name: field.type
    for field in fields(Config)
    if field.name not in ("home", "user", "command")
}

SET_NAME = re.compile(r"kit-[1-9][0-9]{0,15}")
"""Of a guideline set: the kit that brought it."""
KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number with a point, as 0.1",
    str: "a text in quotes",
    bool: "true or false",
}
CHOICES = {
    "burned_in_text": ("off", "report", "mask"),
    "access": ("single", "users"),
    "language": ("en", "ms"),
    "theme": ("dark", "light", "contrast"),
}
PLACES = frozenset({"atlas_encoder", "embedder", "index_server", "watch_folder"})
"""Settings that may name more than a setting should; the log keeps a keyed hash of them."""
PERSONAL = frozenset({"language", "passages", "plain", "theme", "threads", "timeout_s"})
"""Settings that a variable or flag may change where people sign in. The others are the clinic's: by
them one person could purge its cases or stay signed in for an hour."""
RANGES = {
    "passages": (0, 50),
    "atlas_cases": (0, 50),
    "threads": (0, 512),
    "timeout_s": (1, 86_400),
    "idle_lock_s": (30, 3600),
    "keep_cases_days": (0, 36_500),
}


def load_config(environment: Mapping[str, str], flags: Mapping[str, Any]) -> Config:
    """The settings in force. Creates nothing. Raises: ConfigError naming file, key and value."""
    home = _home(environment)
    chosen: dict[str, Any] = _file_settings(home / SETTINGS_FILE)
    is_shared = chosen.get("access") == "users"
    for key in SETTINGS:
        variable = f"APPLIANCE_{key.upper()}"
        if environment.get(variable):
            if is_shared and key not in PERSONAL:
                raise ConfigError(
                    f"{variable} cannot change what the clinic decided: {home / SETTINGS_FILE}",
                    f"unset {variable}",
                )
            chosen[key] = _typed(key, environment[variable], variable)
        if flags.get(key) is not None:
            chosen[key] = flags[key]
    config = Config(home, **chosen)
    for key, (least, most) in RANGES.items():
        value = getattr(config, key)
        if not least <= value <= most:
            raise ConfigError(
                f"`{key}` must be {least} to {most}, not {value}", f"give {least} to {most}"
            )
    for key, choices in CHOICES.items():
        if (value := getattr(config, key)) not in choices:
            known = ", ".join(choices)
            raise ConfigError(f"`{key}` must be one of {known}, not {value!r}", f"give {known}")
    if config.guidelines and not SET_NAME.fullmatch(config.guidelines):
        raise ConfigError(
            f"`guidelines` must be empty or a set's name, not {config.guidelines!r}",
            "see `appliance guidelines sets`",
        )
    if config.risk not in RISKS:
        raise ConfigError(
            f"`risk` must be {RISKS[0]} to {RISKS[-1]} in hundredths, not {config.risk}",
            f"give {RISK} for one picture in ten",
        )
    return config


def write_setting(home: Path, key: str, text: str) -> Any:
    """Put a setting into settings.toml, its other lines and comments as they are; the value that it
    then has. An empty text takes its line out. Written aside and renamed.

    Raises: ConfigError, and the file is as it was, when there is no such setting, the value cannot
    be used, or the file cannot be written.
    """
    from appliance.private_files import make_private_folder, write_private_file

    path = home / SETTINGS_FILE
    if key not in SETTINGS:
        raise _unknown(key, str(path))
    value = _typed(key, text, "what you gave")
    load_config({HOME_VARIABLE: str(home)}, {key: value})
    try:
        present = path.read_text(encoding="utf-8-sig") if path.exists() else ""
        settled = _with_setting(present, key, value)
        others = {k: v for k, v in tomllib.loads(present).items() if k != key}
        if not _says(settled, others if value == "" else {**others, key: value}):
            raise ConfigError(
                f"`{key}` cannot be set to {value!r} in {path}", "change that line in an editor"
            )
        write_private_file(make_private_folder(home) / SETTINGS_FILE, settled.encode())
    except OSError as exc:
        raise ConfigError(
            f"the settings cannot be written ({exc}): {path}",
            "make room, and check the folder's permissions",
        ) from exc
    return value


def _says(text: str, table: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == table
    except tomllib.TOMLDecodeError:
        return False


def _with_setting(present: str, key: str, value: object) -> str:
    # What JSON writes for a text, a number or a truth value is TOML, too (toml.io, v1.0.0).
    line = f"{key} = {json.dumps(value, ensure_ascii=False)}\n" if value != "" else ""
    is_set = re.compile(rf"""^[ \t]*["']?{key}["']?[ \t]*=.*$\n?""", re.MULTILINE)
    if is_set.search(present):
        return is_set.sub(lambda _: line, present, count=1)
    return f"{present.rstrip()}\n{line}".lstrip()


def _home(environment: Mapping[str, str]) -> Path:
    if given := environment.get(HOME_VARIABLE):
        try:
            return Path(given).expanduser().absolute()
        except RuntimeError as exc:
            raise ConfigError(f"{HOME_VARIABLE} is {given!r}: {exc}", "give a folder") from exc
    from platformdirs import user_data_path

    return user_data_path("appliance")


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Empty where there is no such file. Raises: ConfigError that names `what` it holds."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigError(
            f"the {what} cannot be read ({exc}): {path}", "mend or remove the file"
        ) from exc


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not known; empty when none is near."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean `{near[0]}`?" if near else ""


def _file_settings(path: Path) -> dict[str, Any]:
    table = read_toml(path, "settings")
    for key, value in table.items():
        if key not in SETTINGS:
            raise _unknown(key, str(path))
        if type(value) is not SETTINGS[key]:
            raise _wrong_type(key, value, str(path))
    return table


def _unknown(key: str, where: str) -> ConfigError:
    return ConfigError(
        f"no such setting `{key}` in {where}{did_you_mean(key, SETTINGS)}",
        "known: " + ", ".join(SETTINGS),
    )


def _typed(key: str, text: str, where: str) -> Any:
    kind = SETTINGS[key]
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text) if kind in (int, float) else text
    except (ValueError, KeyError) as exc:
        raise _wrong_type(key, text, where) from exc


def _wrong_type(key: str, value: object, where: str) -> ConfigError:
    return ConfigError(f"`{key}` in {where} is {value!r}", f"give {KINDS[SETTINGS[key]]}")
