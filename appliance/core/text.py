"""Text made safe to show: no control codes, no reordering marks."""

import re
import unicodedata

ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]).*?(?:\x1b\\|\x07|\x9c|$)"  # strings: titles, links
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
"""ECMA-48, 5th edition, section 5.4 and 8.3: whole sequences, not only their first byte."""


def safe_text(text: str) -> str:
    """`text` without escape sequences, control characters (but newline and tab), format marks
    that reorder or hide (bidi, tags, zero width) and unpaired surrogates."""
    text = ESCAPE_SEQUENCE.sub("", text)
    return "".join(
        character
        for character in text
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
    )


def safe_line(text: str) -> str:
    """As `safe_text`, on one line."""
    return " ".join(safe_text(text).split())
