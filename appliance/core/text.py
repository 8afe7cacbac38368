"""Text made fit to show: no control codes, no reordering marks; shares that are not overdone."""

import re
import unicodedata

ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\n\x1b\x07]{0,2000}(?:\x1b\\|\x07)"  # strings, ended: titles, links
    r"|\x1b[ -/]*[0-~]"
)
"""ECMA-48, 5th edition, sections 5.4 and 8.3: whole sequences, not only their first byte. A string
that never ends is not one: in mangled text U+009D stands for a quotation mark, and what follows
it is the guideline."""


def safe_text(text: str) -> str:
    """`text` without escape sequences, control characters (but newline and tab), format marks
    that reorder or hide (bidi, tags, zero width) and unpaired surrogates."""
    text = ESCAPE_SEQUENCE.sub("", text)
    return "".join(
        character
        for character in text
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
    )


def percent(share: float) -> str:
    """To the nearest hundredth, but neither none nor all where it is only nearly so."""
    if 0 < share < 0.01:
        return "<1 %"
    return ">99 %" if 0.99 < share < 1 else f"{share * 100:.0f} %"


def safe_line(text: str) -> str:
    """As `safe_text`, on one line."""
    return " ".join(safe_text(text).split())
