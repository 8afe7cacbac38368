"""Reading a PDF: a child process parses it, and every way that can fail has a typed error.

It owns the verdict on the file. It never parses a byte of PDF itself, and leaves what the lines
mean to `layout`.
"""

import base64
import json
from subprocess import TimeoutExpired
from typing import Any

from cpg_store.child import run_child
from cpg_store.errors import PasswordRequired, ScannedDocument, UnreadableDocument
from cpg_store.layout import arrange
from cpg_store.ocr import recognise
from cpg_store.page import Reading, printable
from cpg_store.printed import Line, PrintedPage, Rule
from cpg_store.running import running_words

WALL_S = 30.0
PICTURE_PX = 1600

_ANOTHER_COPY = "get another copy of the document, or print it to a new PDF on another computer"
_SPLIT_IT = "split the document into smaller files and add them one by one"


def read_pdf(content: bytes, name: str) -> Reading:
    """Read the PDF in `content`; `name` is what its errors call it.

    Raises: UnreadableDocument, PasswordRequired, ScannedDocument.
    """
    answer = _ask_child(content, name)
    if "error" in answer:
        raise _refusal(answer["error"], name)
    pages = [_printed_page(record) for record in answer["pages"]]
    scanned = {
        page.number
        for page, record in zip(pages, answer["pages"], strict=True)
        if record["has_picture"] and not page.lines
    }
    recognised = recognise(content, scanned)
    pages = [recognised.get(page.number, page) for page in pages]
    scanned -= recognised.keys()
    if not any(page.lines for page in pages):
        raise _no_text(len(pages), len(scanned), name)
    metadata = {key: printable(str(value or "")) for key, value in answer["metadata"].items()}
    outline = [(level, printable(title), number) for level, title, number in answer["outline"]]
    return Reading(
        pages=arrange(pages, outline),
        title=metadata.get("title", "").strip() or None,
        subject=metadata.get("subject", ""),
        running=running_words(pages),
        scanned_pages=len(scanned),
        hidden_spans=answer["hidden_spans"],
    )


def page_picture(content: bytes, page: int, side_px: int = PICTURE_PX) -> bytes:
    """Draw one page (from 1) of the PDF in `content`, its longer side `side_px`, as a PNG.

    Raises: UnreadableDocument.
    """
    answer = _ask_child(content, f"page {page}", "picture", str(page), str(side_px))
    if "error" in answer:
        raise _refusal(answer["error"], f"page {page}")
    return base64.b64decode(answer["png"])


def _ask_child(content: bytes, name: str, *arguments: str) -> dict[str, Any]:
    """Run the child on `content`; its death is a verdict on the file, never ours."""
    try:
        child = run_child("cpg_store.pdf_child", arguments, content, WALL_S)
    except TimeoutExpired as exc:
        message = f"reading the document took longer than {WALL_S:.0f} s: {name}"
        raise UnreadableDocument(message, _SPLIT_IT) from exc
    if child.returncode != 0:
        raise _death(child.returncode, name)
    try:
        answer: dict[str, Any] = json.loads(child.stdout)
    except ValueError as exc:
        raise UnreadableDocument(f"the document cannot be read: {name}", _ANOTHER_COPY) from exc
    return answer


def _death(returncode: int, name: str) -> UnreadableDocument:
    how = f"signal {-returncode}" if returncode < 0 else f"exit status {returncode}"
    return UnreadableDocument(
        f"the reader was stopped by its limits or failed ({how}): {name}", _ANOTHER_COPY
    )


def _refusal(code: str, name: str) -> UnreadableDocument:
    if code == "password":
        return PasswordRequired(
            f"the document needs a password: {name}", "save a copy without the password and add it"
        )
    if code == "no such page":
        return UnreadableDocument(f"the document has no such page: {name}", "see its page count")
    if code in ("memory", "too large"):
        return UnreadableDocument(f"the document is too large to read safely: {name}", _SPLIT_IT)
    return UnreadableDocument(f"the document is damaged or is not a PDF: {name}", _ANOTHER_COPY)


def _no_text(pages: int, scanned_pages: int, name: str) -> UnreadableDocument:
    if not scanned_pages:
        return UnreadableDocument(f"the document's pages are empty: {name}", _ANOTHER_COPY)
    return ScannedDocument(
        f"scanned, not indexed: {pages} page{'s' if pages != 1 else ''}: {name}",
        "add the publisher's PDF with text in it, or install the extra `ocr` (text recognition)",
    )


def _printed_page(record: dict[str, Any]) -> PrintedPage:
    lines = (
        Line(
            **{
                **line,
                "text": printable(line["text"]),
                "word_starts": tuple(line["word_starts"]),
            }
        )
        for line in record["lines"]
    )
    return PrintedPage(
        number=record["number"],
        label=record["label"],
        width=record["width"],
        height=record["height"],
        lines=tuple(line for line in lines if line.text.strip()),
        rules=tuple(map(_rule, record["rules"])),
        fills=tuple((_rule(area), int(area[4])) for area in record["fills"]),
        frames=tuple(map(_rule, record["frames"])),
        slants=tuple(map(_rule, record["slants"])),
    )


def _rule(edges: list[float]) -> Rule:
    return edges[0], edges[1], edges[2], edges[3]
