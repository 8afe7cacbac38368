"""Every word that is shown comes from a catalogue, and each catalogue has them all."""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.config import CHOICES
from appliance.tui.bindings import all_bindings
from appliance.tui.words import CATALOGUES, Words, catalogue

PACKAGE = CATALOGUES.parent
LANGUAGES = CHOICES["language"]
WORDS = re.compile(r"[A-Za-z]{2,} +[a-z]{2,}")
"""Two words: what no key, style or name of a widget looks like."""


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def strings_in(path: Path) -> Iterator[tuple[int, str]]:
    """Of the code: neither docstrings nor styles, nor what an error says, which is the core's."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    told = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            told.add(id(node.value))
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DEFAULT_CSS":
            told.add(id(node.value))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("Error"):
            told |= {id(inner) for inner in ast.walk(node)}
        if isinstance(node, ast.Assert) or (
            isinstance(node, ast.keyword) and node.arg in ("classes", "style")
        ):
            told |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.lineno, node.value


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_lacks_no_string_and_no_field(language: str) -> None:
    english, other = catalogue("en"), catalogue(language)
    assert set(other) == set(english)
    for key, text in english.items():
        assert fields(other[key]) == fields(text), key
        assert other[key].strip(), key


def test_malay_is_not_english() -> None:
    english, malay = catalogue("en"), catalogue("ms")
    same = {key for key in english if english[key] == malay[key] and " " in english[key]}
    assert not same - {"time.minutes", "time.seconds"}


def test_no_literal_is_shown() -> None:
    found = [
        f"{path.name}:{line}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, text in strings_in(path)
        if WORDS.search(text) and text not in ALLOWED and not any(mark in text for mark in "<{&")
    ]
    assert not found


ALLOWED = {
    "; did you mean `",  # of an error
    *("not bold", "not bold dim", "bold reverse"),  # styles
}


def test_every_key_that_is_named_is_there_and_every_string_is_used() -> None:
    known = set(catalogue("en"))
    code = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    named = set(re.findall(r"""say\(\s*["']([a-z_.0-9]+)["']""", code))
    built = set(re.findall(r"""["']([a-z_.]+\.)(?:\{|["'] \+)""", code)) | {"does."}
    assert named - built <= known
    for key in known - named:
        assert f'"{key}"' in code or any(key.startswith(begin) for begin in built), key


def test_every_key_press_is_described_in_every_language() -> None:
    for language in LANGUAGES:
        say = Words(language)
        for binding in all_bindings():
            assert say.knows(f"does.{binding.description}"), binding


def test_ids_of_keys_are_unique() -> None:
    ids = [binding.id for binding in all_bindings()]
    assert len(ids) == len(set(ids)) and len(ids) > 60
