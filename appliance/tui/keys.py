"""Keys of a site's own: keys.toml in the home, a binding's id and the keys for it.

"consult.open" = "ctrl+o"
"consult.stop" = "escape,ctrl+c"
"""

from collections.abc import Callable, Collection
from pathlib import Path

from appliance.config import did_you_mean, read_toml
from appliance.errors import ConfigError

KEYS_FILE = "keys.toml"


def read_keys(home: Path, ids: Callable[[], Collection[str]]) -> dict[str, str]:
    """Keys by binding id; none without the file. `ids` gives those that there are.

    Raises: ConfigError naming file and id.
    """
    path = home / KEYS_FILE
    table = read_toml(path, "keys")
    known = ids() if table else ()
    for name, keys in table.items():
        if name not in known:
            raise ConfigError(
                f"no such binding `{name}` in {path}{did_you_mean(name, known)}",
                "the ids are in the screen's help",
            )
        if not isinstance(keys, str) or not keys:
            raise ConfigError(f"`{name}` in {path} is {keys!r}", 'give keys in quotes, as "ctrl+o"')
    return table
