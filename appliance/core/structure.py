"""The form of a caption, byte by byte: what may be written next, and what must be.

A caption's text is `caption_json`'s: literals that the schema forces, and between them four free
fields. The label is chosen before the writing begins, so a `Place` starts in the first free field.
A free field is one line of UTF-8 without a quote or a backslash, does not begin with a space, and
is closed when it is as long as a field may be. Knows bytes; knows nothing of tokens or models.
"""

import re
from dataclasses import dataclass

from appliance.core.caption import FIELDS, MAX_FIELD_CHARACTERS

STRUCTURE_VERSION = 1
"""Recorded with every caption; another form of it is another number."""
QUOTE = ord('"')
PLAIN_WORDS = re.compile(rb"[A-Za-z0-9 ,.;:()%/+-]+")
CLOSINGS = (*(f'", "{name}": "'.encode() for name in FIELDS[2:]), b'"}')
"""What follows each free field."""


@dataclass(frozen=True)
class Place:
    """How far a caption is written, from the first character of its first free field."""

    field: int = 0
    """Which free field; as many as there are when the caption is whole."""
    closed: int = 0
    """Bytes written of what follows the field; 0 while inside it."""
    characters: int = 0
    """In the field so far."""
    owed: tuple[tuple[int, int], ...] = ()
    """Least and greatest value of each byte that the character begun still needs."""

    @property
    def is_whole(self) -> bool:
        return self.field == len(CLOSINGS)

    @property
    def forced(self) -> bytes:
        """What must come next; empty inside a free field and after the end."""
        if self.is_whole or self.owed:
            return b""
        if self.closed or self.characters == MAX_FIELD_CHARACTERS:
            return CLOSINGS[self.field][self.closed :]
        return b""

    def after(self, written: bytes) -> "Place | None":
        """The place after `written`; None when that may not be written here, or is nothing."""
        characters = self.characters + len(written)
        is_inside = self.characters > 0 and characters <= MAX_FIELD_CHARACTERS
        if is_inside and not (self.closed or self.owed) and PLAIN_WORDS.fullmatch(written):
            return Place(self.field, 0, characters)  # most tokens: at once, not byte by byte
        if written and written == self.forced:
            return Place(self.field + 1)
        place: Place | None = self if written else None
        for byte in written:
            if place is None or place.is_whole:
                return None
            place = place._after(byte)
        return place

    def _after(self, byte: int) -> "Place | None":
        if self.owed:
            (least, greatest), *rest = self.owed
            if not least <= byte <= greatest:
                return None
            return Place(self.field, 0, self.characters, tuple(rest))
        if forced := self.forced:
            return self._closing() if byte == forced[0] else None
        if byte == QUOTE:
            return self._closing() if self.characters else None
        begun = _character(byte)
        if begun is None or (byte == ord(" ") and not self.characters):
            return None
        return Place(self.field, 0, self.characters + 1, begun)

    def _closing(self) -> "Place":
        if self.closed + 1 == len(CLOSINGS[self.field]):
            return Place(self.field + 1)
        return Place(self.field, self.closed + 1, self.characters)


def _character(byte: int) -> tuple[tuple[int, int], ...] | None:
    """Bytes that a UTF-8 character beginning with `byte` still needs (RFC 3629, section 4); None
    when no character of a free field begins so."""
    tail = (0x80, 0xBF)
    if byte < 0x80:
        is_plain = byte >= 0x20 and byte not in (QUOTE, ord("\\"), 0x7F)
        return () if is_plain else None
    if 0xC2 <= byte <= 0xDF:
        return (tail,)
    if 0xE0 <= byte <= 0xEF:
        second = {0xE0: (0xA0, 0xBF), 0xED: (0x80, 0x9F)}.get(byte, tail)
        return (second, tail)
    if 0xF0 <= byte <= 0xF4:
        second = {0xF0: (0x90, 0xBF), 0xF4: (0x80, 0x8F)}.get(byte, tail)
        return (second, tail, tail)
    return None
