"""The chain of entries, as arithmetic."""

from dataclasses import replace

import pytest

from appliance.core.entry import Entry, first_fault, next_entry


def chain(length: int) -> list[Entry]:
    entries: list[Entry] = []
    for number in range(length):
        last = entries[-1] if entries else None
        entries.append(next_entry(last, "2026-01-01T00:00:00+00:00", "act", {"n": number}))
    return entries


def test_a_whole_chain_has_no_fault() -> None:
    assert first_fault(chain(5)) is None
    assert first_fault([]) is None


@pytest.mark.parametrize("place", range(5))
def test_a_changed_entry_is_named(place: int) -> None:
    entries = chain(5)
    entries[place] = replace(entries[place], body={"n": 99})
    assert f"entry {place + 1} was changed" in str(first_fault(entries))


@pytest.mark.parametrize("place", range(4))
def test_a_missing_entry_is_named(place: int) -> None:
    entries = chain(5)
    del entries[place]
    assert f"entry {place + 1} is missing" in str(first_fault(entries))


def test_an_entry_hashed_anew_breaks_the_link_after_it() -> None:
    entries = chain(3)
    entries[1] = next_entry(entries[0], entries[1].at, "act", {"n": 99})
    assert "entry 3 does not follow" in str(first_fault(entries))


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    one = next_entry(None, "t", "act", {"a": 1, "b": [1.5, None, "é"]})
    other = next_entry(None, "t", "act", {"b": [1.5, None, "é"], "a": 1})
    assert one.hash == other.hash
