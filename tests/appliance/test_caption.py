"""The caption's JSON: written, forced, read back."""

import json

import pytest
from stand_ins import CAPTION, LABELS

from appliance.core.caption import (
    MAX_FIELD_CHARACTERS,
    CaptionFormatError,
    caption_json,
    label_prefix,
    parse_caption,
)


def test_a_caption_reads_back_as_written() -> None:
    assert parse_caption(caption_json(CAPTION), LABELS) == CAPTION


def test_the_label_prefix_begins_the_caption() -> None:
    assert caption_json(CAPTION).startswith(label_prefix(CAPTION.label))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"label": "a cold"}, "not in the release's list"),
        ({"key_findings": ""}, "not a sentence"),
        ({"key_findings": 3}, "not a sentence"),
        ({"key_findings": "x" * (MAX_FIELD_CHARACTERS + 1)}, "characters or more"),
        ({"extra": "x"}, "keys"),
    ],
)
def test_what_is_not_a_caption_is_named(change: dict[str, object], complaint: str) -> None:
    value = json.loads(caption_json(CAPTION)) | change
    with pytest.raises(CaptionFormatError, match=complaint):
        parse_caption(json.dumps(value), LABELS)


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"label": "melanoma"', '{"label": 1}'])
def test_half_a_caption_is_refused(text: str) -> None:
    with pytest.raises(CaptionFormatError):
        parse_caption(text, LABELS)


def test_keys_in_another_order_are_refused() -> None:
    value = json.loads(caption_json(CAPTION))
    turned = dict(reversed(value.items()))
    with pytest.raises(CaptionFormatError, match="in order"):
        parse_caption(json.dumps(turned), LABELS)
