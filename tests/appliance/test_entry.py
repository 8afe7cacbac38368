"""Entries: canonical text, hash, and which acts of a run were left without an outcome."""

import json
from pathlib import Path

import pytest
import rfc8785

from appliance.core.entry import Entry, Moment, entry_text, read_entry, unanswered

NOON = Moment("2026-01-01T12:00:00.000+00:00", "boot", 7)


def entry(seq: int, kind: str) -> Entry:
    return read_entry(entry_text(seq, NOON, "run", "", kind, {}))


def test_an_entry_is_read_as_it_was_written() -> None:
    text = entry_text(3, NOON, "run", "siti", "act.done", {"b": [1.5, None, "é"], "a": 1})
    found = read_entry(text)
    assert (found.seq, found.at, found.user, found.kind) == (3, NOON.at, "siti", "act.done")
    assert found.body == {"a": 1, "b": [1.5, None, "é"]}
    assert b"\n" not in text


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    one = entry_text(1, NOON, "r", "", "act", {"a": 1, "b": 2})
    other = entry_text(1, NOON, "r", "", "act", {"b": 2, "a": 1})
    assert read_entry(one).hash == read_entry(other).hash


WHOLE = entry_text(1, NOON, "r", "", "act", {"a": 1})


@pytest.mark.parametrize(
    "text",
    [
        *(b"[]", b"{}", b'{"seq": 1}', b"no JSON", b"[" * 100_000),
        WHOLE.replace(b'{"a":1}', b"[1]"),
        WHOLE.replace(b'"act"', b"7"),
        WHOLE.replace(NOON.at.encode(), b"yesterday"),
        WHOLE.replace(b'"' + NOON.at.encode() + b'"', b"5"),
    ],
    ids=range(9),
)
def test_what_is_no_entry_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_entry(text)


@pytest.mark.parametrize("value", [float("nan"), 1 << 60])
def test_a_value_without_a_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        entry_text(1, NOON, "r", "", "act", {"value": value})


@pytest.mark.parametrize(
    ("kinds", "left"),
    [
        (["caption.asked", "caption.answered"], []),
        (["caption.asked"], [1]),
        (["lookup.asked", "lookup.failed", "lookup.asked"], [3]),
        (["caption.asked", "lookup.asked", "lookup.done"], [1]),
        (["guideline.add.asked", "guideline.add.done", "caption.asked"], [3]),
        (["caption.asked", "caption.asked", "caption.answered"], [1]),
        (["caption.answered", "log.opened"], []),
    ],
)
def test_an_act_without_an_outcome_is_found(kinds: list[str], left: list[int]) -> None:
    found = unanswered(entry(seq, kind) for seq, kind in enumerate(kinds, 1))
    assert [one.seq for one in found] == left


@pytest.mark.data
def test_canonical_json_agrees_with_the_vectors(shared: Path) -> None:
    folder = shared / "corpora" / "jcs" / "testdata"
    vectors = sorted((folder / "input").glob("*.json"))
    assert vectors
    for vector in vectors:
        expected = (folder / "output" / vector.name).read_bytes()
        assert rfc8785.dumps(json.loads(vector.read_text(encoding="utf-8"))) == expected, vector
