"""Every word that the screen shows, in each language: one catalogue a language.

What the model, the guidelines and the appliance's own errors say is shown as it is; a clinical text
is never translated by a machine.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CATALOGUES = Path(__file__).parent / "strings"


def catalogue(language: str) -> dict[str, str]:
    """Its strings by dotted key."""
    with (CATALOGUES / f"{language}.toml").open("rb") as file:
        return dict(_flat(tomllib.load(file)))


class Words:
    """`words("consult.empty")`: the string of that key, its fields filled in."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._strings = catalogue(language)

    def __call__(self, key: str, /, **fields: object) -> str:
        """Raises: KeyError for a key or a field that there is not."""
        return self._strings[key].format(**fields) if fields else self._strings[key]

    def knows(self, key: str) -> bool:
        return key in self._strings


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, str):
            yield prefix + key, value
        else:
            yield from _flat(value, f"{prefix}{key}.")
