"""The section a passage stands in: the headings above it, from their levels and their numbers.

It knows nothing of pages or passages.
"""

import re

from cpg_store.grade import is_boxed_recommendation_title, is_recommendation_title

_NUMBERED = re.compile(r"^(?:chapter\s+)?(?P<number>\d{1,2}(?:\.\d{1,2})*)\.?\s", re.IGNORECASE)
_APPENDED = re.compile(
    r"^(?:annex|appendix|references|bibliography|lampiran|rujukan)\b", re.IGNORECASE
)
_REFERENCES = re.compile(
    r"^(?:\d{1,2}\.?\s*)?(?:list of )?(?:references|bibliography|rujukan|bibliografi)\W*$",
    re.IGNORECASE,
)
_BULLETED = re.compile(r"^[\u00b7\u2022\u25aa]")
_LETTERED = re.compile(r"^\(?[a-z][.)]\s")
_ROMAN = re.compile(r"^\(?[ivx]{1,4}[.)]\s")

_CHAPTER_DEPTH = 2
# Deeper than any numbered heading: lettered, roman, bulleted headings, a recommendation box.
_LETTER_DEPTH, _ROMAN_DEPTH, _BULLET_DEPTH, _RECOMMENDATION_DEPTH = 20, 21, 22, 23


class SectionPath:
    """Follows headings down a document."""

    def __init__(self) -> None:
        self._headings: list[tuple[int, str, int]] = []
        """Depth, title, and the drawn box it stands in (0: none)."""

    def enter(self, title: str, level: int, box: int = 0) -> None:
        """Go to the section under this heading."""
        depth = _depth(title, level, box)
        while self._headings and self._headings[-1][0] >= depth:
            self._headings.pop()
        self._headings.append((depth, title, box))

    def is_left_for(self, box: int) -> bool:
        """Tell whether the headings of another box are still open."""
        return bool(self._headings) and self._headings[-1][2] not in (0, box)

    def stay_in(self, box: int) -> None:
        """Leave the headings of any other box than this."""
        while self.is_left_for(box):
            self._headings.pop()

    def turn_page(self, box: int) -> None:
        """Go over the page: a `box` that stands at its head is the one that was open."""
        self._headings = [
            (depth, title, (box or -1) if boxed else 0) for depth, title, boxed in self._headings
        ]

    def close_box(self) -> None:
        """Leave a numbered recommendation box: what follows its grade is outside it."""
        if self.is_recommendation() and re.search(r"\d", self._headings[-1][1]):
            self._headings.pop()

    def is_recommendation(self) -> bool:
        """Tell whether the nearest heading opens a recommendation box."""
        return bool(self._headings) and _opens_recommendation(*self._headings[-1][1:])

    def is_boxed(self) -> bool:
        """Tell whether the nearest heading stands in a drawn box."""
        return bool(self._headings) and self._headings[-1][2] != 0

    def is_references(self) -> bool:
        return any(_REFERENCES.match(title) for _, title, _ in self._headings)

    def titles(self) -> tuple[str, ...]:
        return tuple(title for _, title, _ in self._headings)


def _opens_recommendation(title: str, box: int) -> bool:
    return is_recommendation_title(title) or (box != 0 and is_boxed_recommendation_title(title))


def _depth(title: str, level: int, box: int) -> int:
    """A printed number says more about a heading's depth than its type size or its marks."""
    if _opens_recommendation(title, box):
        return _RECOMMENDATION_DEPTH
    numbered = _NUMBERED.match(title)
    if numbered:
        return numbered["number"].count(".") + _CHAPTER_DEPTH
    if _APPENDED.match(title):
        return min(level, _CHAPTER_DEPTH)
    if _BULLETED.match(title):
        return _BULLET_DEPTH
    # Roman is asked first: "i." is far more often one than the ninth letter.
    if _ROMAN.match(title):
        return _ROMAN_DEPTH
    return _LETTER_DEPTH if _LETTERED.match(title) else level
