"""The process that parses a PDF: bytes on stdin, one JSON object on stdout.

It alone opens a document with PyMuPDF. It runs under limits on memory, processor time and files,
because a PDF is hostile until proved otherwise; it knows nothing of sections or passages. Its
answer is {"pages": [...], "metadata": {...}, "hidden_spans": n} or {"error": code}.

Text nobody can see is dropped here, where colour and position are still known: invisible render
mode, full transparency, under 2 points, off the page, or light on an equally light ground.
"""

import json
import os
import resource
import sys
from types import ModuleType
from typing import Any, cast

MEMORY_BYTES = 2 << 30
CPU_S = 20
MAX_PAGES = 3000
MAX_CHARACTERS = 20_000_000
MIN_SIZE_PT = 2.0
LIGHT = 200
"""Grey level, of 255, from which text is compared with the ground it lies on."""

_RASTER_SIDE_PX = 800
_FILLED_OR_STROKED = 16 | 32
_BOLD_FLAG = 16
_RULE_PT = 2.0


class TooLarge(Exception):
    """The document is beyond the limits above."""


def main() -> None:
    """Answer for the one document on stdin."""
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    # MuPDF may print warnings on file descriptor 1; the answer keeps that channel to itself.
    answer_to = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with answer_to:
        answer_to.write(json.dumps(_answer(sys.stdin.buffer.read())).encode())


def _answer(content: bytes) -> dict[str, Any]:
    pymupdf = _pymupdf()
    pymupdf.TOOLS.mupdf_display_errors(False)
    try:
        with pymupdf.open(stream=content, filetype="pdf") as document:
            if document.needs_pass:
                return {"error": "password"}
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


def _read(document: Any) -> dict[str, Any]:
    if document.page_count > MAX_PAGES:
        raise TooLarge
    pages = []
    hidden_spans = characters = 0
    for page in document:
        record, hidden = _read_page(page)
        hidden_spans += hidden
        characters += sum(len(line["text"]) for line in record["lines"])
        if characters > MAX_CHARACTERS:
            raise TooLarge
        pages.append(record)
    return {"pages": pages, "metadata": document.metadata or {}, "hidden_spans": hidden_spans}


def _read_page(page: Any) -> tuple[dict[str, Any], int]:
    pymupdf = _pymupdf()
    # Ligatures are spelt out, and text off the page is kept in order to be counted.
    flags = pymupdf.TEXT_PRESERVE_WHITESPACE | pymupdf.TEXT_CID_FOR_UNKNOWN_UNICODE
    everywhere = pymupdf.INFINITE_RECT()
    blocks = page.get_text("dict", flags=flags, clip=everywhere)["blocks"]
    visible = _Visibility(page)
    lines = []
    hidden = 0
    for number, block in enumerate(blocks):
        for line in block.get("lines", ()):
            spans = [span for span in line["spans"] if visible.sees(span)]
            hidden += sum(1 for span in line["spans"] if span["text"].strip()) - sum(
                1 for span in spans if span["text"].strip()
            )
            lines += _line(spans, number)
    record = {
        "number": page.number + 1,
        "label": page.get_label() or None,
        "width": page.rect.width,
        "height": page.rect.height,
        "lines": lines,
        "rules": _rules(page),
        "has_picture": bool(page.get_images() or page.get_cdrawings()),
    }
    return record, hidden


def _line(spans: list[dict[str, Any]], block: int) -> list[dict[str, Any]]:
    text = "".join(span["text"] for span in spans)
    if not text.strip():
        return []
    inked = [span for span in spans if span["text"].strip()]
    longest = max(inked, key=lambda span: len(span["text"]))
    boxes = [span["bbox"] for span in inked]
    return [
        {
            "text": text,
            "size": round(longest["size"], 1),
            "is_bold": all(_is_bold(span) for span in inked),
            "x0": min(box[0] for box in boxes),
            "y0": min(box[1] for box in boxes),
            "x1": max(box[2] for box in boxes),
            "y1": max(box[3] for box in boxes),
            "block": block,
        }
    ]


def _is_bold(span: dict[str, Any]) -> bool:
    return bool(span["flags"] & _BOLD_FLAG) or "bold" in span["font"].lower()


def _rules(page: Any) -> list[list[float]]:
    """Give the drawn horizontal and vertical rules and box edges, as x0, y0, x1, y1."""
    rules: list[list[float]] = []
    for drawing in page.get_cdrawings():
        for item in drawing["items"]:
            if item[0] == "l":
                (ax, ay), (bx, by) = item[1], item[2]
                rules.append([min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)])
            elif item[0] == "re":
                rules += _edges(*item[1][:4])
    return [rule for rule in rules if min(rule[2] - rule[0], rule[3] - rule[1]) <= _RULE_PT]


def _edges(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    if min(x1 - x0, y1 - y0) <= _RULE_PT:
        return [[x0, y0, x1, y1]]
    return [[x0, y0, x1, y0], [x0, y1, x1, y1], [x0, y0, x0, y1], [x1, y0, x1, y1]]


class _Visibility:
    """Says which spans of one page a reader can see; draws the page only if it must."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self._raster: Any = None

    def sees(self, span: dict[str, Any]) -> bool:
        x0, y0, x1, y1 = span["bbox"]
        centre = ((x0 + x1) / 2, (y0 + y1) / 2)
        if span["size"] < MIN_SIZE_PT or centre not in self._page.rect:
            return False
        if span.get("alpha", 255) < 16 or not span["char_flags"] & _FILLED_OR_STROKED:
            return False
        grey = _grey(span["color"])
        return grey < LIGHT or self._stands_out(span["bbox"], grey)

    def _stands_out(self, box: tuple[float, ...], grey: int) -> bool:
        """True unless most of the drawn box has the text's own colour."""
        pymupdf = _pymupdf()
        rect = self._page.rect
        if self._raster is None:
            scale = min(1.0, _RASTER_SIDE_PX / max(rect.width, rect.height))
            self._raster = self._page.get_pixmap(
                matrix=pymupdf.Matrix(scale, scale), colorspace=pymupdf.csGRAY, alpha=False
            )
        raster = self._raster
        zoom = raster.width / rect.width
        left, top, right, bottom = (int(edge * zoom) for edge in box)
        rows = range(max(top, 0), min(bottom + 1, raster.height))
        samples = b"".join(
            raster.samples[row * raster.stride + max(left, 0) : row * raster.stride + right + 1]
            for row in rows
        )
        alike = sum(abs(sample - grey) <= 24 for sample in samples)
        return alike * 2 < len(samples)


def _grey(colour: int) -> int:
    red, green, blue = colour >> 16 & 255, colour >> 8 & 255, colour & 255
    return (299 * red + 587 * green + 114 * blue) // 1000


if __name__ == "__main__":
    main()
