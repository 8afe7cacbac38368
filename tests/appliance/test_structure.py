"""The form of a caption, byte by byte."""

import hashlib
import json

import pytest

from appliance.core.caption import (
    FIELDS,
    MAX_FIELD_CHARACTERS,
    Caption,
    caption_json,
    label_prefix,
)
from appliance.core.structure import CLOSINGS, STRUCTURE_VERSION, Place

WHOLE = Caption("cataract", "fundus photograph", "retina", "trüb, 0.5 µm 眼", "refer; see 🩺 again")


def body(caption: Caption = WHOLE) -> bytes:
    """The caption's text from its first free field on."""
    return caption_json(caption)[len(label_prefix(caption.label)) :].encode()


def after(written: bytes) -> Place:
    place = Place().after(written)
    assert place is not None, written
    return place


def test_a_caption_as_it_is_written_is_whole_at_its_last_byte_and_not_before() -> None:
    written = body()
    assert after(written).is_whole
    for end in range(1, len(written)):
        assert not after(written[:end]).is_whole


def test_however_the_bytes_are_cut_the_place_is_the_same() -> None:
    written = body()
    place = Place()
    for byte in written:
        place_then = place.after(bytes([byte]))
        assert place_then is not None
        place = place_then
    assert place == after(written)


def test_after_a_fields_quote_the_next_key_is_forced() -> None:
    place = after(b'dermoscopy"')
    assert place.forced == b', "anatomical_region": "'
    assert after(b'dermoscopy"' + place.forced).forced == b""
    assert after(b'a", "anatomical_region": "b", "key_findings": "c", ').forced.startswith(b'"clin')


def test_the_last_field_closes_the_object_and_nothing_may_follow() -> None:
    place = after(body()[:-2])
    assert place.after(b'"') is not None and place.after(b'"}') is not None
    assert place.after(b'", ') is None
    assert after(body()).after(b" ") is None
    assert after(body()).forced == b""


@pytest.mark.parametrize(
    "written",
    [b'"', b" lesion", b"a\\", b"a\n", b"a\x00", b"a\x7f", b'a","', b'a", "key', b""],
)
def test_what_a_caption_cannot_begin_with_is_refused(written: bytes) -> None:
    assert Place().after(written) is None


@pytest.mark.parametrize(
    "sequence",
    b"\x80|\xc0\x80|\xc1\xbf|\xe0\x80\x80|\xed\xa0\x80|\xf0\x80\x80\x80|\xf4\x90\x80\x80|"
    b'\xf5\x80\x80\x80|\xff|\xe2\x28|\xe2"|\xe2\x82 '.split(b"|"),
)
def test_what_python_does_not_read_as_utf8_is_refused(sequence: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        sequence.decode()
    assert Place().after(sequence) is None


@pytest.mark.parametrize("character", ["é", "߿", "ࠀ", "퟿", "€", "\U00010000", "\U0010ffff"])
def test_every_length_of_character_counts_as_one(character: str) -> None:
    assert after(character.encode()) == Place(characters=1)


@pytest.mark.parametrize("character", ["a", "眼"])
def test_a_field_that_is_as_long_as_it_may_be_is_closed(character: str) -> None:
    full = after(character.encode() * MAX_FIELD_CHARACTERS)
    assert full.forced == CLOSINGS[0]
    assert full.after(b"a") is None and full.after(character.encode()[:1]) is None
    assert after(character.encode() * (MAX_FIELD_CHARACTERS - 1)).forced == b""


def test_whatever_is_written_by_the_rules_is_json_with_the_captions_keys() -> None:
    """Always the shortest way to the end, from the middle of any caption."""
    written = body()
    for end in range(1, len(written), 3):
        text, place = written[:end], after(written[:end])
        while not place.is_whole:
            step = place.forced or next(
                bytes([byte]) for byte in (*b'"x', 0x80, 0xA9, 0x9F) if place.after(bytes([byte]))
            )
            text, place = text + step, after(text + step)
        value = json.loads(label_prefix("cataract").encode() + text)
        assert tuple(value) == tuple(json.loads(caption_json(WHOLE)))


def test_a_form_that_changed_has_another_version() -> None:
    """The record names the version: of another form, put another number and its digest here."""
    form = repr((FIELDS, MAX_FIELD_CHARACTERS, CLOSINGS)).encode()
    assert (STRUCTURE_VERSION, hashlib.sha256(form).hexdigest()[:16]) == (1, "266bb74000e1c839")
