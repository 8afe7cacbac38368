"""The rule book of treatments, from TOML: the project's own and the clinic's."""

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from appliance.config import read_toml
from appliance.core.naming import WITHHELD, plain
from appliance.core.treatment import SEVERITIES, Rule, RuleBook, Stance
from appliance.errors import ConfigError

OWN_RULES = Path(__file__).with_suffix(".toml")
_LISTS = ("labels", "treatments", "when", "unless")
_TEXTS = ("stance", "severity", "quote", "source")


def read_rules(folder: Path) -> RuleBook:
    """The project's rules, and those in `folder`'s *.toml, whose words add to the vocabulary.

    Raises: ConfigError naming file, rule and value.
    """
    treatments: dict[str, tuple[str, ...]] = {}
    signs: dict[str, tuple[str, ...]] = {}
    rules: list[Rule] = []
    for path in (OWN_RULES, *sorted(folder.glob("*.toml"))):
        table = read_toml(path, "rules")
        _add_words(treatments, _section(table, "treatments", dict, path), path)
        _add_words(signs, _section(table, "signs", dict, path), path)
        for number, values in enumerate(_section(table, "rules", list, path), 1):
            where = f"rule {number} in {path}"
            if not isinstance(values, dict):
                raise ConfigError(f"it is {values!r}: {where}", "write it under [[rules]]")
            rules.append(_rule(values, treatments, signs, where))
    return RuleBook(treatments, signs, tuple(rules))


def _section(table: dict[str, Any], name: str, kind: type, path: Path) -> Any:
    found = table.get(name, kind())
    if not isinstance(found, kind):
        heading = f"[[{name}]]" if kind is list else f"[{name}]"
        raise ConfigError(f"`{name}` in {path} is {found!r}", f"write it under {heading}")
    return found


def _add_words(vocabulary: dict[str, tuple[str, ...]], added: dict[str, Any], path: Path) -> None:
    """A word that names two things would be taken from one of them, and its rules go unheard."""
    name_of = {plain(word): name for name, words in vocabulary.items() for word in words}
    for key, words in added.items():
        if not _is_texts(words):
            raise ConfigError(f"`{key}` in {path} is {words!r}", "give a list of words in quotes")
        lower = tuple(word.casefold() for word in words)
        for word in lower:
            if (name := name_of.setdefault(plain(word), key)) != key:
                raise ConfigError(
                    f"`{word}` of `{key}` in {path} names `{name}` already",
                    f"take it out, or add to `{name}` instead of `{key}`",
                )
        vocabulary[key] = tuple(dict.fromkeys((*vocabulary.get(key, ()), *lower)))


def _rule(
    values: dict[str, Any],
    treatments: dict[str, tuple[str, ...]],
    signs: dict[str, tuple[str, ...]],
    where: str,
) -> Rule:
    known = [field.name for field in fields(Rule)]
    for key in values:
        if key not in known:
            raise ConfigError(f"no such key `{key}`: {where}", "known: " + ", ".join(known))
    for key in (*_TEXTS, "labels", "treatments"):
        if key not in values:
            raise ConfigError(f"`{key}` is missing: {where}", "give it, as the rules above do")
    for key in known:
        fits = _is_texts if key in _LISTS else _is_text
        if key in values and not fits(values[key]):
            raise ConfigError(f"`{key}` is {values[key]!r}: {where}", "give text in quotes")
    for key, choices in (("stance", get_args(Stance)), ("severity", SEVERITIES)):
        if values[key] not in choices:
            raise ConfigError(
                f"`{key}` is {values[key]!r}: {where}", "give one of " + ", ".join(choices)
            )
    named = [name.removeprefix(WITHHELD) for name in values["treatments"]]
    unknown = [name for name in named if name not in treatments]
    unknown += [
        sign for key in ("when", "unless") for sign in values.get(key, ()) if sign not in signs
    ]
    if unknown:
        raise ConfigError(
            f"no words are given for `{unknown[0]}`: {where}",
            "add it under [treatments] or [signs]",
        )
    lists: dict[str, Any] = {key: tuple(values.get(key, ())) for key in _LISTS}
    return Rule(**lists, **{key: values[key] for key in _TEXTS})


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))
