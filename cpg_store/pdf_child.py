"""The process that parses a PDF: bytes on stdin, one JSON object on stdout.

It alone opens a document with PyMuPDF. It runs under limits on memory, processor time and files,
because a PDF is hostile until proved otherwise; it knows nothing of sections or passages. Its
answer is {"pages": [...], "outline": [...], "metadata": {...}, "hidden_spans": n}, or
{"error": code}. Asked for `picture PAGE SIDE_PX` on its command line, it answers with that page
drawn, as {"png": base64}.
"""

import base64
import json
import os
import re
import resource
import sys
from types import ModuleType
from typing import Any, cast

from cpg_store.hidden import Visibility
from cpg_store.raised import raised

MEMORY_BYTES = 2 << 30
CPU_S = 20
MAX_PAGES = 3000
MAX_CHARACTERS = 20_000_000
MAX_LINES = 3000
"""On one page; the fullest of the guidelines it was tried on has 200."""
MAX_RULES = 4000
"""On one page; a page with more is a drawing, and no table is looked for in it."""

MIN_TABLE_DRAWINGS = 4
"""With fewer, no table is drawn, and where words begin is not asked."""

_BOLD_FLAG, _RAISED_FLAG = 16, 1
_RULE_PT = 2.0
_SIGNS_FONT = re.compile("wingdings|webdings|dingbats", re.IGNORECASE)
_SIGNS = {"\xfc": "✓", "\xfb": "✗", "\xfe": "☑", "o": "☐", "q": "☐", "\xa8": "☐"}
"""What letters stand for in a font of signs; every other is taken for a list's mark."""


class TooLarge(Exception):
    """The document is beyond the limits above."""


def main(arguments: list[str]) -> None:
    """Answer for the one document on stdin."""
    limit(CPU_S)
    # MuPDF may print warnings on file descriptor 1; the answer keeps that channel to itself.
    answer_to = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with answer_to:
        answer_to.write(json.dumps(_answer(sys.stdin.buffer.read(), arguments)).encode())


def limit(cpu_s: int) -> None:
    """Let this process take no more than a document may cost."""
    for resource_kind, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(resource_kind, (value, value))


def open_pdf(content: bytes) -> Any:
    """Open a document, after `limit`; MuPDF's own words about it go nowhere."""
    pymupdf = _pymupdf()
    pymupdf.TOOLS.mupdf_display_errors(False)
    return pymupdf.open(stream=content, filetype="pdf")


def _answer(content: bytes, arguments: list[str]) -> dict[str, Any]:
    try:
        with open_pdf(content) as document:
            if document.needs_pass:
                return {"error": "password"}
            if arguments:
                return _picture(document, int(arguments[1]), int(arguments[2]))
            return _read(document)
    except MemoryError:
        return {"error": "memory"}
    except TooLarge:
        return {"error": "too large"}
    except Exception as problem:  # whatever a native parser raises is a verdict on the file
        return {"error": "damaged", "detail": type(problem).__name__}


def _pymupdf() -> Any:
    # Imported after the limits are set, and in this process only. It is untyped. Its optional
    # layout analysis loads a neural network, for a second, that nothing here asks for.
    sys.modules.setdefault("pymupdf.layout", cast(ModuleType, None))
    import pymupdf

    return pymupdf


def _picture(document: Any, number: int, side_px: int) -> dict[str, Any]:
    if not 1 <= number <= document.page_count:
        return {"error": "no such page"}
    page = document[number - 1]
    zoom = side_px / max(page.rect.width, page.rect.height, 1.0)
    pixels = page.get_pixmap(matrix=_pymupdf().Matrix(zoom, zoom), alpha=False)
    return {"png": base64.b64encode(pixels.tobytes("png")).decode()}


def _read(document: Any) -> dict[str, Any]:
    if document.page_count > MAX_PAGES:
        raise TooLarge
    pages = []
    hidden_spans = characters = 0
    for page in document:
        record, hidden = _read_page(page)
        hidden_spans += hidden
        characters += sum(len(line["text"]) for line in record["lines"])
        if characters > MAX_CHARACTERS or len(record["lines"]) > MAX_LINES:
            raise TooLarge
        pages.append(record)
    return {
        "pages": pages,
        "outline": [[level, title, number] for level, title, number in document.get_toc()],
        "metadata": document.metadata or {},
        "hidden_spans": hidden_spans,
    }


def _read_page(page: Any) -> tuple[dict[str, Any], int]:
    pymupdf = _pymupdf()
    # Ligatures are spelt out, and text off the page is kept in order to be counted.
    flags = pymupdf.TEXT_PRESERVE_WHITESPACE | pymupdf.TEXT_CID_FOR_UNKNOWN_UNICODE
    everywhere = pymupdf.INFINITE_RECT()
    text = page.get_textpage(flags=flags, clip=everywhere)
    blocks = text.extractDICT()["blocks"]
    drawings = page.get_cdrawings()
    words: dict[tuple[int, int], list[float]] = {}
    if len(drawings) >= MIN_TABLE_DRAWINGS:
        for x0, _, _, _, _, block, line, _ in text.extractWORDS():
            words.setdefault((block, line), []).append(x0)
    visible = Visibility(pymupdf, page, drawings)
    lines: list[dict[str, Any]] = []
    hidden = 0
    for number, block in enumerate(blocks):
        for place, line in enumerate(block.get("lines", ())):
            spans = [span for span in line["spans"] if visible.sees(span)]
            hidden += sum(1 for span in line["spans"] if span["text"].strip()) - sum(
                1 for span in spans if span["text"].strip()
            )
            lines += _line(spans, number, words.get((number, place), []))
    record = {
        "number": page.number + 1,
        "label": page.get_label() or None,
        "width": page.rect.width,
        "height": page.rect.height,
        "lines": lines,
        **_drawn(drawings),
        "has_picture": bool(page.get_images() or drawings),
    }
    return record, hidden


def _line(
    spans: list[dict[str, Any]], block: int, word_starts: list[float]
) -> list[dict[str, Any]]:
    """One run of text, as the parent's `printed.Line`; none where it is blank."""
    inked = [span for span in spans if span["text"].strip()]
    if not inked:
        return []
    text = "".join(_text(span, spans) for span in spans)
    boxes = [span["bbox"] for span in inked]
    longest = max(inked, key=lambda span: len(span["text"]))
    return [
        {
            "text": text,
            "size": round(longest["size"], 1),
            "is_bold": all(_is_bold(span) for span in inked),
            "font": longest["font"].rpartition("+")[2],
            "colour": longest["color"],
            "x0": min(box[0] for box in boxes),
            "y0": min(box[1] for box in boxes),
            "x1": max(box[2] for box in boxes),
            "y1": max(box[3] for box in boxes),
            "block": block,
            "word_starts": word_starts if len(word_starts) == len(text.split()) else [],
        }
    ]


def _text(span: dict[str, Any], spans: list[dict[str, Any]]) -> str:
    """A raised figure or letter stays raised: 10⁹ must not read 109. A sign is no letter."""
    text: str = span["text"]
    if _SIGNS_FONT.search(span["font"]):
        return "".join(_SIGNS.get(each, "•") if each.strip() else each for each in text)
    is_raised = span["flags"] & _RAISED_FLAG and len(spans) > 1 and len(text.strip()) <= 4
    return (raised(text) if is_raised else None) or text


def _is_bold(span: dict[str, Any]) -> bool:
    return bool(span["flags"] & _BOLD_FLAG) or "bold" in span["font"].lower()


def _drawn(drawings: list[dict[str, Any]]) -> dict[str, Any]:
    """Give what is drawn: rules (x0, y0, x1, y1), filled areas (with their colour), frames, and
    where strokes slant or bend (the arrows of a chart)."""
    rules: list[list[float]] = []
    fills: list[list[float]] = []
    frames: list[list[float]] = []
    slants: list[list[float]] = []
    for drawing in drawings:
        fill = drawing.get("fill")
        colour = float(sum(round(part * 255) << 8 * place for place, part in enumerate(fill or ())))
        areas = [list(item[1][:4]) for item in drawing["items"] if item[0] == "re"]
        if not areas and fill and len(drawing["items"]) >= 3:
            areas = [list(drawing["rect"])]
        for area in areas:
            if min(area[2] - area[0], area[3] - area[1]) <= _RULE_PT:
                rules.append(area)
            elif fill:
                fills.append([*area, colour])
            else:
                frames.append(area)
        for item in drawing["items"]:
            if item[0] == "l":
                (ax, ay), (bx, by) = item[1], item[2]
                rule = [min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)]
                if min(rule[2] - rule[0], rule[3] - rule[1]) <= _RULE_PT:
                    rules.append(rule)
                else:
                    slants.append(rule)
            elif item[0] in ("c", "qu"):
                slants.append(list(drawing["rect"]))
    if len(rules) + len(fills) + len(frames) + len(slants) > MAX_RULES:
        rules, fills, frames, slants = [], [], [], []
    return {"rules": rules, "fills": fills, "frames": frames, "slants": slants}


if __name__ == "__main__":
    main(sys.argv[1:])
