"""Keys of a site's own: keys.toml in the home, a binding's id and the keys for it.

"consult.open" = "ctrl+o"
"consult.cancel" = "escape,ctrl+c"
"""

import difflib
import tomllib
from collections.abc import Callable, Collection
from pathlib import Path

from appliance.errors import ConfigError

KEYS_FILE = "keys.toml"


def read_keys(home: Path, ids: Callable[[], Collection[str]]) -> dict[str, str]:
    """Keys by binding id; none without the file. `ids` gives those that there are.

    Raises: ConfigError naming file and id.
    """
    path = home / KEYS_FILE
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigError(
            f"the keys cannot be read ({exc}): {path}", "mend or remove the file"
        ) from exc
    known = ids() if table else ()
    for name, keys in table.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f"; did you mean `{near[0]}`?" if near else ""
            raise ConfigError(
                f"no such binding `{name}` in {path}{meant}", "the ids are in the screen's help"
            )
        if not isinstance(keys, str) or not keys:
            raise ConfigError(f"`{name}` in {path} is {keys!r}", 'give keys in quotes, as "ctrl+o"')
    return table
