"""Label lists: a TOML file of a site's own, or the one the demonstration release answers from.

[[label]]
name = "cataract"
domain = "fundus"
"""

import tomllib
from pathlib import Path

from appliance.core.labels import DOMAINS, Label, LabelSet
from appliance.errors import ConfigError
from appliance.release.manifest import read_release
from appliance.release.shelf import BUILT_IN

MOST_BYTES = 1 << 20
MOST_LABELS = 200
"""Each label is scored as a sequence of its own; llama.cpp holds 256."""
MOST_CHARACTERS = 80


def default_labels() -> LabelSet:
    return read_release(BUILT_IN).card.labels


def read_labels(path: Path) -> LabelSet:
    """Raises: ConfigError naming the file and what is wrong with it."""
    try:
        with path.open("rb") as file:
            encoded = file.read(MOST_BYTES + 1)
        if len(encoded) > MOST_BYTES:
            raise _amiss(path, f"it has more than {MOST_BYTES:,} bytes")
        table = tomllib.loads(encoded.decode("utf-8-sig"))
    except OSError as exc:
        raise _amiss(path, str(exc.strerror)) from exc
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise _amiss(path, str(exc)) from exc
    rows = table.get("label")
    if not isinstance(rows, list) or not 2 <= len(rows) <= MOST_LABELS:
        raise _amiss(path, f"it must have 2 to {MOST_LABELS} [[label]] tables")
    labels = tuple(_label(path, row) for row in rows)
    if len({label.name for label in labels}) != len(labels):
        raise _amiss(path, "a label's name comes twice")
    return LabelSet(labels)


def _label(path: Path, row: object) -> Label:
    name, domain = (row.get(key) if isinstance(row, dict) else None for key in ("name", "domain"))
    if domain not in DOMAINS:
        raise _amiss(path, f"a label's domain is {domain!r}; it must be {', '.join(DOMAINS)}")
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= MOST_CHARACTERS:
        raise _amiss(path, f"a label's name is {name!r}, no name")
    if name != name.strip().lower() or '"' in name or "\\" in name:
        raise _amiss(path, f"a label's name is {name!r}; write it in lower case, without quotes")
    return Label(name, domain)


def _amiss(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"the label list cannot be used ({reason}): {path}",
        'write [[label]] tables with name = "..." and domain = "skin", "fundus" or "chest"',
    )
