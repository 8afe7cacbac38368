"""What a document is once read: pages of blocks, whatever its file format was.

Plain data. It knows no PDF, no Markdown and no passage.
"""

import re
from dataclasses import dataclass
from typing import Literal

BlockKind = Literal["heading", "paragraph", "table", "figure", "footnote"]

# Control characters and bidirectional marks are never printed on a page, and they can forge what a
# terminal shows; tab and newline stay, tag characters (U+E0000-E007F) go.
_UNPRINTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


@dataclass(frozen=True)
class Block:
    """A heading, a paragraph (or list item), a footnote, or a whole table or figure."""

    kind: BlockKind
    text: str
    level: int = 0
    """For headings, 1 is the outermost; 0 for everything else."""
    box: int = 0
    """Blocks of one page with the same number stand in one drawn box; 0 is outside any."""
    head_rows: int = 0
    """For tables, how many of its rows are its head."""


@dataclass(frozen=True)
class Page:
    """One printed page, or a whole Markdown or HTML file."""

    number: int | None
    """Physical page, 1-based; None where the format has no pages."""
    label: str | None
    """The page number as printed on the page, when it has one."""
    blocks: tuple[Block, ...]
    is_recognised: bool = False
    """True where the text was recognised in a scan."""

    @property
    def text(self) -> str:
        """All that is printed, one block after the other; passages count characters in it."""
        return "\n".join(block.text for block in self.blocks)


@dataclass(frozen=True)
class Reading:
    """A document as read."""

    pages: tuple[Page, ...]
    title: str | None = None
    """From the file's own metadata."""
    subject: str = ""
    """Subject and keywords from the file's own metadata, joined."""
    running: str = ""
    """Lines that recur at the head or foot of its pages, each once."""
    aside: str = ""
    """What the file says of itself without printing it (comments); never a passage."""
    scanned_pages: int = 0
    """Pages that hold a picture or drawing but no text, left out of the index."""
    hidden_spans: int = 0
    """Runs of text that no reader can see, dropped."""


def printable(text: str) -> str:
    """Drop characters that are never printed."""
    return _UNPRINTED.sub("", text)
