"""Reading HTML: headings, paragraphs, list items and whole tables, as a browser would show them.

Comments, scripts, styles and hidden elements are not shown, so they are dropped, and counted where
they hold words. It runs on the standard library's parser, which opens no reference and never
fails; it knows nothing of pages: HTML has none.
"""

import re
from html.parser import HTMLParser

from cpg_store.page import Block, Page, Reading, printable

_UNSHOWN = re.compile("script|style|template|noscript|head|svg|math|iframe|object")
_VOID = re.compile("area|base|br|col|embed|hr|img|input|link|meta|source|track|wbr")
_BREAKING = re.compile(
    "p|div|section|article|main|header|footer|nav|aside|ul|ol|dl|dt|dd|blockquote|figure|figcaption"
    "|address|details|summary|form|fieldset|pre|hr|br"
)
_HIDDEN_STYLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0(?:\.0*)?\s*(?:;|$)",
    re.IGNORECASE,
)
MAX_DEPTH = 400
"""Elements inside each other; deeper ones are read as if beside."""


def read_html(text: str) -> Reading:
    """Read an HTML document as one page without a number."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    reader.end_block()
    title = " ".join(printable(reader.title).split()) or None
    return Reading(
        pages=(Page(None, None, tuple(reader.blocks)),),
        title=title,
        aside=printable("\n".join(reader.aside)),
        hidden_spans=reader.hidden_spans,
    )


class _Reader(HTMLParser):
    """Gathers blocks while the parser walks through the elements."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self.title = ""
        self.aside: list[str] = []
        self.hidden_spans = 0
        self._open: list[tuple[str, bool]] = []
        """Elements not yet closed, and whether each, or one around it, is hidden."""
        self._text: list[str] = []
        self._rows: list[list[str]] | None = None
        self._tables = 0
        self._head_rows = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "br" and self._rows is not None:
            self._text.append(" ")
        elif _BREAKING.fullmatch(tag) or tag in ("li", "table") or _level(tag):
            self._break()
        if tag == "table":
            self._tables += 1
            if self._tables == 1:
                self._rows = []
                self._head_rows = 0
        elif tag == "tr" and self._rows is not None and self._tables == 1:
            self._rows.append([])
        elif tag in ("td", "th") and self._rows is not None and self._tables == 1:
            self._text = []
        elif tag == "li" and self._rows is None:
            self._text = ["- "]
        if _VOID.fullmatch(tag) or len(self._open) >= MAX_DEPTH:
            return
        hides = (
            bool(_UNSHOWN.fullmatch(tag))
            or "hidden" in named
            or named.get("aria-hidden") == "true"
            or bool(_HIDDEN_STYLE.search(named.get("style") or ""))
        )
        self._open.append((tag, hides or self._is_hidden()))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._rows is not None and self._tables == 1:
            if self._rows:
                self._rows[-1].append(_line("".join(self._text)))
            self._text = []
        elif tag == "thead" and self._rows is not None:
            self._head_rows = len(self._rows)
        elif tag == "table":
            self._end_table()
        elif _level(tag):
            self._end_heading(_level(tag))
        elif _BREAKING.fullmatch(tag) or tag == "li":
            self._break()
        if any(tag == name for name, _ in self._open):
            while self._open.pop()[0] != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "title":
            self.title += data
        elif self._is_hidden():
            is_text = data.strip() and not any(
                name in ("script", "style", "head") for name, _ in self._open
            )
            self.hidden_spans += bool(is_text)
        else:
            self._text.append(data)

    def handle_comment(self, data: str) -> None:
        self.aside.append(data)
        self.hidden_spans += bool(data.strip())

    def end_block(self) -> None:
        """Make a paragraph of the text gathered."""
        text = _line("".join(self._text))
        self._text = []
        if text.strip("- "):
            self.blocks.append(Block("paragraph", text))

    def _break(self) -> None:
        if self._rows is None:
            self.end_block()
        else:
            self._text.append(" ")

    def _end_heading(self, level: int) -> None:
        if self._rows is not None:
            return
        text = _line("".join(self._text))
        self._text = []
        if text:
            self.blocks.append(Block("heading", text, level))

    def _end_table(self) -> None:
        self._tables = max(self._tables - 1, 0)
        if self._tables or self._rows is None:
            return
        rows, self._rows, self._text = [row for row in self._rows if any(row)], None, []
        if rows:
            text = "\n".join(f"| {' | '.join(row)} |" for row in rows)
            self.blocks.append(Block("table", text, head_rows=max(self._head_rows, 1)))

    def _is_hidden(self) -> bool:
        return bool(self._open) and self._open[-1][1]


def _level(tag: str) -> int:
    return int(tag[1]) if re.fullmatch("h[1-6]", tag) else 0


def _line(text: str) -> str:
    return " ".join(printable(text).split())
