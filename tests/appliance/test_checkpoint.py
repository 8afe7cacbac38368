"""Checkpoints: the C2SP forms, the signature, the code for paper."""

import base64

import pytest

from appliance.core.checkpoint import (
    Checkpoint,
    checkpoint_text,
    is_signed,
    key_id,
    read_checkpoint,
    read_code,
    read_note,
    short_code,
    signed_note,
    verifier_key,
)
from appliance.edges.audit_keys import SigningKey, is_signature

KEY = SigningKey(bytes(range(32)))
CHECKPOINT = Checkpoint("clinic-appliance/0123456789abcdef", 1234, bytes(range(32)))
NOTE = signed_note(checkpoint_text(CHECKPOINT), CHECKPOINT.origin, KEY.public, KEY.sign)

# The example of c2sp.org/signed-note.
PUBLISHED_KEY = "AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
PUBLISHED_NOTE = (
    "This is an example message.\n\n\N{EM DASH} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq"
    "6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)


def test_the_published_note_opens_under_its_key() -> None:
    public = base64.b64decode(PUBLISHED_KEY)[1:]
    assert verifier_key("example.com/foo", public) == f"example.com/foo+530d903a+{PUBLISHED_KEY}"
    assert is_signed(PUBLISHED_NOTE, "example.com/foo", public, is_signature)
    assert not is_signed(
        PUBLISHED_NOTE.replace("This", "That"), "example.com/foo", public, is_signature
    )


def test_a_checkpoint_is_read_as_it_was_signed() -> None:
    assert read_checkpoint(NOTE) == CHECKPOINT
    assert is_signed(NOTE, CHECKPOINT.origin, KEY.public, is_signature)


@pytest.mark.parametrize(
    "change", [("1234", "1235"), ("AAEC", "BAEC"), ("0123456789abcdef", "0123456789abcdee")]
)
def test_a_changed_checkpoint_is_not_signed(change: tuple[str, str]) -> None:
    text, _, signature = NOTE.rpartition("\n\n")
    changed = text.replace(*change) + "\n\n" + signature
    assert changed != NOTE
    assert not is_signed(changed, CHECKPOINT.origin, KEY.public, is_signature)


def test_another_key_of_the_same_name_is_not_the_signer() -> None:
    other = SigningKey(bytes(32))
    assert not is_signed(NOTE, CHECKPOINT.origin, other.public, is_signature)
    assert key_id(CHECKPOINT.origin, other.public) != key_id(CHECKPOINT.origin, KEY.public)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "no note",
        checkpoint_text(CHECKPOINT),
        NOTE.rstrip("\n"),
        NOTE.replace("\N{EM DASH}", "-"),
        NOTE.replace("\n1234\n", "\n01234\n"),
        NOTE.replace("\n1234\n", "\n0\n"),
        NOTE.replace("\n1234\n", "\n-4\n"),
        NOTE.replace("AAECAw", "AAEC"),
    ],
)
def test_what_is_no_checkpoint_is_refused(note: str) -> None:
    with pytest.raises(ValueError):
        read_note(note)
        read_checkpoint(note)


def test_a_code_is_read_as_a_person_writes_it() -> None:
    code = short_code(CHECKPOINT)
    assert read_code(code) == (1234, code)
    assert (
        read_code(f"  {code.lower().replace('-', ' - ').replace('1234 - ', '1234-')} ")[1] == code
    )
    assert read_code(code.replace("0", "o"))[1] == code
    assert len(code) == len("1234-ABCDE-ABCDE-ABCDE-ABCDE-ABCDE")


def test_a_slip_of_the_pen_is_seen() -> None:
    code = short_code(CHECKPOINT)
    seen = 0
    for place in range(5, len(code)):
        if code[place] != "-":
            wrong = code[:place] + ("7" if code[place] != "7" else "8") + code[place + 1 :]
            try:
                read_code(wrong)
            except ValueError:
                seen += 1
    assert seen >= 23  # 31 of 32 are


def test_codes_of_different_logs_differ() -> None:
    other = Checkpoint(CHECKPOINT.origin, 1234, bytes(31) + b"\x01")
    assert short_code(other) != short_code(CHECKPOINT)
