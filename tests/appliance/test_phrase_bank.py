"""Guessing how a caption goes on from captions written before. Tokens are small numbers here."""

from appliance.edges.phrase_bank import PhraseBank


def test_the_longest_known_end_is_followed() -> None:
    bank = PhraseBank([[1, 2, 3, 4, 5], [6, 9, 2, 3, 7, 8]])
    assert bank.guess([1, 2, 3], 2) == [4, 5]
    assert bank.guess([9, 2, 3], 2) == [4, 5], "of two tokens that are known, the likelier caption"
    assert bank.guess([6, 9, 2, 3], 2) == [7, 8], "of four"


def test_a_guess_ends_with_its_caption() -> None:
    bank = PhraseBank([[1, 2], [3, 4]])
    assert bank.guess([1], 10) == [2]
    assert bank.guess([2], 10) == []


def test_nothing_is_guessed_from_nothing() -> None:
    assert PhraseBank([]).guess([1, 2, 3], 10) == []
    assert PhraseBank([[1, 2]]).guess([], 10) == []
    assert PhraseBank([[1, 2]]).guess([7], 10) == []
    assert PhraseBank([[1, 2]]).guess([1], 0) == []


def test_tokens_are_found_where_tokens_begin() -> None:
    """0x01000000 and 0x00000001 share bytes across the border of two tokens."""
    bank = PhraseBank([[0x01000000, 0x00000001, 5], [0x00000100, 6]])
    assert bank.guess([0x00000100], 1) == [6]
