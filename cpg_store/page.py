"""What a document is once read: pages of blocks, whatever its file format was.

Plain data. It knows no PDF, no Markdown and no passage.
"""

import re
from dataclasses import dataclass
from typing import Literal

BlockKind = Literal["heading", "paragraph", "table"]

# Control characters and bidirectional marks are never printed on a page, and they can forge what a
# terminal shows; tab and newline stay, tag characters (U+E0000-E007F) go.
_UNPRINTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)


@dataclass(frozen=True)
class Block:
    """A heading, a paragraph (or list item), or a whole table."""

    kind: BlockKind
    text: str
    level: int = 0
    """For headings, 1 is the outermost; 0 for everything else."""


@dataclass(frozen=True)
class Page:
    """One printed page, or a whole Markdown file."""

    number: int | None
    """Physical page, 1-based; None where the format has no pages."""
    label: str | None
    """The page number as printed on the page, when it has one."""
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Reading:
    """A document as read."""

    pages: tuple[Page, ...]
    title: str | None = None
    """From the file's own metadata."""
    subject: str = ""
    """Subject and keywords from the file's own metadata, joined."""
    scanned_pages: int = 0
    """Pages that hold a picture or drawing but no text, left out of the index."""
    hidden_spans: int = 0
    """Runs of text that no reader can see, dropped."""


def printable(text: str) -> str:
    """Drop characters that are never printed."""
    return _UNPRINTED.sub("", text)
