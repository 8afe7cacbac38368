"""The text of pages as one flow: each block where it stands, a sentence broken by a page's end
made whole.

It knows where every character of a part was printed; it knows nothing of sections or pieces.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cpg_store.page import Block, Page


@dataclass(frozen=True)
class Part:
    """A stretch of text, and where in its pages' texts it begins and ends."""

    text: str
    page: Page
    start: int
    last_page: Page
    end: int
    seam: int | None = None
    """Where in `text` the last page begins; None where it is all on one page."""
    is_cut: bool = False
    """True where it does not begin its paragraph."""

    def slice(self, start: int, end: int) -> "Part":
        """Give the part between two places of `text`, without the space at its ends."""
        text = self.text[start:end]
        start += len(text) - len(text.lstrip())
        end = start + len(text.strip())
        page, begins = self._place(start)
        last_page, last = self._place(max(end - 1, start))
        is_whole = page is last_page
        return Part(
            self.text[start:end],
            page,
            begins,
            last_page,
            last + 1,
            None if is_whole or self.seam is None else self.seam - start,
            self.is_cut or start > 0,
        )

    def _place(self, at: int) -> tuple[Page, int]:
        if self.seam is None or at < self.seam:
            return self.page, self.start + at
        # What runs over a page's end goes on at the next one's beginning.
        return self.last_page, at - self.seam


@dataclass(frozen=True)
class Placed:
    """A block and its text's place."""

    block: Block
    part: Part


def flow(pages: Sequence[Page]) -> Iterator[list[Placed]]:
    """Give each page's blocks; the rest of a broken sentence goes with its beginning."""
    laid = [_lay(page) for page in pages]
    for place in range(len(laid)):
        following = laid[place + 1] if place + 1 < len(laid) else []
        last = _last_of_text(laid[place])
        if last is not None and following and _runs_over(laid[place][last], following[0]):
            laid[place][last] = _joined(laid[place][last], following.pop(0))
        yield laid[place]


def _lay(page: Page) -> list[Placed]:
    placed = []
    start = 0
    for block in page.blocks:
        end = start + len(block.text)
        placed.append(Placed(block, Part(block.text, page, start, page, end)))
        start = end + 1
    return placed


def _last_of_text(placed: list[Placed]) -> int | None:
    text = [at for at, each in enumerate(placed) if each.block.kind != "footnote"]
    return text[-1] if text else None


def _runs_over(last: Placed, first: Placed) -> bool:
    return (
        last.block.kind == first.block.kind == "paragraph"
        and last.part.seam is None
        and (last.block.text[-1:].isalnum() or last.block.text.endswith((",", "-", "/")))
        and first.block.text[:1].islower()
    )


def _joined(last: Placed, first: Placed) -> Placed:
    between = "" if last.block.text.endswith("-") else " "
    part = replace(
        last.part,
        text=last.part.text + between + first.part.text,
        last_page=first.part.page,
        end=first.part.end,
        seam=len(last.part.text) + len(between),
    )
    return Placed(last.block, part)
