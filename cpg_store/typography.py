"""What a whole document's type says about one paragraph: its body, its headings, its words.

It knows nothing of pages or of reading order.
"""

import re
from collections import Counter
from collections.abc import Iterable

from cpg_store.printed import Line

MAX_HEADING_WORDS = 20
_COLOURED_HEADING_WORDS = 14
_HEADING_LEVELS = 4
_MINOR_LEVEL = 9
"""Of a heading in the body's own size: under any that is larger or numbered."""
LARGER = 1.12
"""A heading's type is at least this many times the body's."""
_BOX_TITLE = 0.75
"""A title in light type on a dark ground may be this small beside the body."""
_TITLE_LINES = 4
_DARK, _LIGHT = 0x60, 0xE0
"""Of 255: type darker than the first is black to a reader, lighter than the second white."""

BULLET = re.compile(
    r"^\s*(?:[•▪◦‣●○■□\u2013*\uf0b7\uf0a7\uf0d8-]|\(?[a-z0-9]{1,2}[.)])(?:\s|$)", re.IGNORECASE
)
CAPTION = re.compile(
    r"^\W*(?P<kind>table|figure|fig\.|jadual|rajah)\s+[\dA-Z][\w.:-]*", re.IGNORECASE
)
_NUMBERED = re.compile(r"^\d{1,2}(?:\.\d{1,2}){1,5}\.?\s+\S")
LINK = re.compile(r"://|www\.|@|\.(?:html?|pdf|gov|org|int)\b|\w/\w+/")
_WORD = re.compile(r"[^\W\d_]+")
_COMPOUND = re.compile(r"[^\W\d_]+-[^\W\d_]+")
_BROKEN_WORD = re.compile(r"([^\W\d_]+)[-\u00ad]$")
_BROKEN_LINK = re.compile(r"(?:https?://|www\.)\S*[/_=.-]$")


class Typography:
    """Body size and colour, heading sizes, outline and vocabulary of one document."""

    def __init__(self, lines: list[Line], outline: Iterable[tuple[int, str, int]] = ()) -> None:
        sizes: Counter[float] = Counter()
        fonts: Counter[str] = Counter()
        for line in lines:
            sizes[line.size] += len(line.text)
            fonts[line.font] += len(line.text)
        self.body = sizes.most_common(1)[0][0] if sizes else 0.0
        self._font = fonts.most_common(1)[0][0] if fonts else ""
        larger = sorted((size for size in sizes if size >= self.body * LARGER), reverse=True)
        self._levels = {size: min(rank, _HEADING_LEVELS) for rank, size in enumerate(larger, 1)}
        self._words = {word.casefold() for line in lines for word in _WORD.findall(line.text)[:-1]}
        self._compounds = {
            word.casefold() for line in lines for word in _COMPOUND.findall(line.text)
        }
        self._outline = {
            (number, key): level + 1
            for level, title, number in outline
            if (key := letters(title)) and not title.startswith("_")
        }

    def heading_level(self, paragraph: list[Line], text: str, page: int) -> int:
        """Give a heading's level, or 0 for a paragraph."""
        if len(text.split()) > MAX_HEADING_WORDS or text.endswith((".", ";", ",")):
            return 0
        if (BULLET.match(text) and not text[0].isdigit()) or not re.search(r"[^\W\d_]{2}", text):
            return 0
        if CAPTION.match(text):
            return 0
        outlined = self._outline.get((page, letters(text)), 0)
        level = outlined or min(self._levels.get(line.size, 0) for line in paragraph)
        if level or len(paragraph) > (_TITLE_LINES if self._is_light(paragraph) else 2):
            return level
        return _MINOR_LEVEL if self._stands_out(paragraph, text) else 0

    def _stands_out(self, paragraph: list[Line], text: str) -> bool:
        """Tell a heading of the body's own size: bold, numbered or coloured."""
        if all(line.is_bold and line.size >= self.body for line in paragraph):
            return True
        if any(line.size < self.body * _BOX_TITLE for line in paragraph):
            return False
        if any(line.size < self.body for line in paragraph) and not self._is_light(paragraph):
            return False
        is_other = all(line.font != self._font or not _is_dark(line.colour) for line in paragraph)
        if is_other and _NUMBERED.match(text):
            return True
        return (
            all(not _is_dark(line.colour) for line in paragraph)
            and len(text.split()) <= _COLOURED_HEADING_WORDS
            and text[:1].isupper()
            and not LINK.search(text)
        )

    def _is_light(self, paragraph: list[Line]) -> bool:
        return all(min(_parts(line.colour)) >= _LIGHT for line in paragraph)

    def join(self, texts: list[str]) -> str:
        """Join a paragraph's lines, words broken at a line's end made whole again."""
        joined = ""
        for text in (" ".join(text.split()) for text in texts):
            # A pattern is tried on the last word only: on the whole it would be slow.
            last = joined[joined.rfind(" ") + 1 :]
            broken = _BROKEN_WORD.search(last)
            if broken and text[:1].islower():
                joined = joined[:-1] + ("-" if self._is_compound(broken, text) else "") + text
            elif _BROKEN_LINK.match(last) and text[:1].isalnum():
                joined += text
            else:
                joined = f"{joined} {text}" if joined else text
        return joined

    def _is_compound(self, broken: re.Match[str], following: str) -> bool:
        """True where the hyphen is part of the word: "follow-up", not "recommen-dation"."""
        first, rest = broken[1].casefold(), _WORD.match(following)
        if broken[0].endswith("\u00ad") or rest is None:
            return False
        last = rest[0].casefold()
        if first + last in self._words:
            return False
        return f"{first}-{last}" in self._compounds or {first, last} <= self._words


def shows_change(last: Line, line: Line) -> bool:
    """Tell a change of colour between two lines that a reader would see."""
    return last.colour != line.colour and not (_is_dark(last.colour) and _is_dark(line.colour))


def letters(text: str) -> str:
    """The letters and digits of `text`, by which a heading is known in an outline."""
    return re.sub(r"\W+", "", text).casefold()


def _is_dark(colour: int) -> bool:
    return max(_parts(colour)) < _DARK


def _parts(colour: int) -> tuple[int, int, int]:
    return colour >> 16 & 255, colour >> 8 & 255, colour & 255
