"""Scanned pages: their text recognised by RapidOCR, where it is installed, in a child process.

It owns how long that may take. Where recognition fails or takes too long, the pages not yet read
stay what they were: scanned, counted and not indexed. It knows nothing of documents or passages.
"""

import json
from importlib.util import find_spec
from subprocess import TimeoutExpired
from typing import Any

from cpg_store.child import run_child
from cpg_store.page import printable
from cpg_store.printed import Line, PrintedPage

START_S, PAGE_S = 12.0, 6.0
"""The time that loading the models may take, and each page."""
MAX_PAGES = 400


def is_installed() -> bool:
    """Tell whether text can be recognised on this machine (the extra `ocr`)."""
    return find_spec("rapidocr_onnxruntime") is not None


def recognise(content: bytes, pages: set[int]) -> dict[int, PrintedPage]:
    """Read the scanned `pages` (from 1) of a PDF; a page without words is not in the answer."""
    if not pages or not is_installed():
        return {}
    numbers = sorted(pages)[:MAX_PAGES]
    try:
        seconds = START_S + PAGE_S * len(numbers)
        answered = run_child("cpg_store.ocr_child", map(str, numbers), content, seconds).stdout
    except TimeoutExpired as exc:
        answered = exc.stdout or b""
    # One line a page, whole when its newline was written.
    records = [json.loads(line) for line in answered.split(b"\n")[:-1]]
    return {record["number"]: _page(record) for record in records if record["lines"]}


def _page(record: dict[str, Any]) -> PrintedPage:
    return PrintedPage(
        number=record["number"],
        label=None,
        width=record["width"],
        height=record["height"],
        lines=tuple(
            Line(printable(text), size, False, x0, y0, x1, y1, block)
            for block, (text, size, x0, y0, x1, y1) in enumerate(record["lines"])
        ),
        is_recognised=True,
    )
